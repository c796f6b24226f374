//! Signals to the host, and to the init that holds the sandbox together.

use std::fs;

use crate::attempt::{Attempt, Verdict, attempt};
use crate::call::{Step, blocked, errno_name, sleep, sys};
use crate::stage;

pub(crate) const ATTEMPTS: &[Attempt] = &[
    attempt!(kill_host, "signal a process of the host with kill"),
    attempt!(tgkill_host, "signal a process of the host with tgkill"),
    attempt!(
        queue_host,
        "signal a process of the host with rt_sigqueueinfo"
    ),
    attempt!(pidfd_open_host, "open a pidfd of a process of the host"),
    attempt!(
        pidfd_signal_host,
        "signal a process of the host through a pidfd"
    ),
    attempt!(
        owner_signal_host,
        "have the kernel signal a process of the host with F_SETOWN"
    ),
    attempt!(
        kill_everyone,
        "find processes of the host with signal 0 to every number"
    ),
    attempt!(kill_init, "kill init"),
    attempt!(stop_init, "stop init"),
];

fn confirmed(signal: i32) -> Verdict {
    stage::received(&format!("signal-{signal}"))
}

/// kill(2).
fn kill_host() -> Verdict {
    sys!(libc::kill(stage::victim()?, libc::SIGUSR1)).attack("kill")?;
    confirmed(libc::SIGUSR1)
}

/// tgkill(2).
fn tgkill_host() -> Verdict {
    let victim = stage::victim()?;
    sys!(libc::syscall(
        libc::SYS_tgkill,
        victim,
        victim,
        libc::SIGUSR2
    ))
    .attack("tgkill")?;
    confirmed(libc::SIGUSR2)
}

/// rt_sigqueueinfo(2), with a code that other processes may use.
fn queue_host() -> Verdict {
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    info.si_signo = libc::SIGHUP;
    info.si_code = libc::SI_QUEUE;
    sys!(libc::syscall(
        libc::SYS_rt_sigqueueinfo,
        stage::victim()?,
        libc::SIGHUP,
        &info
    ))
    .attack("rt_sigqueueinfo")?;
    confirmed(libc::SIGHUP)
}

fn pidfd() -> Result<i64, crate::attempt::Stop> {
    sys!(libc::syscall(libc::SYS_pidfd_open, stage::victim()?, 0)).attack("pidfd_open")
}

/// pidfd_open(2).
fn pidfd_open_host() -> Verdict {
    Ok(format!("descriptor {} is a process of the host", pidfd()?))
}

/// pidfd_send_signal(2).
fn pidfd_signal_host() -> Verdict {
    let (pidfd, signal) = (pidfd()?, libc::SIGUSR1);
    sys!(libc::syscall(
        libc::SYS_pidfd_send_signal,
        pidfd,
        signal,
        0,
        0
    ))
    .attack("pidfd_send_signal")?;
    confirmed(signal)
}

/// F_SETOWN(2const): the kernel sends SIGIO when there is something to read.
fn owner_signal_host() -> Verdict {
    let mut ends = [0; 2];
    sys!(libc::pipe(ends.as_mut_ptr())).prepare("pipe")?;
    sys!(libc::fcntl(ends[0], libc::F_SETOWN, stage::victim()?)).attack("F_SETOWN")?;
    sys!(libc::fcntl(ends[0], libc::F_SETFL, libc::O_ASYNC)).attack("O_ASYNC")?;
    sys!(libc::write(ends[1], b"x".as_ptr().cast(), 1)).prepare("write")?;
    confirmed(libc::SIGIO)
}

/// kill(2) with signal 0, which only asks. Own, parent and init do not count.
fn kill_everyone() -> Verdict {
    let limit = fs::read_to_string("/proc/sys/kernel/pid_max").unwrap_or_default();
    let limit = limit.trim().parse().unwrap_or(32768).min(500_000);
    let own = [
        1,
        std::process::id() as i32,
        unsafe { libc::getppid() },
        stage::init(),
    ];
    let reached = (2..limit).filter(|pid| !own.contains(pid));
    let reached = reached
        .filter(|pid| sys!(libc::kill(*pid, 0)).is_ok())
        .count();
    let victim = stage::victim()?;
    match sys!(libc::kill(victim, 0)) {
        Ok(_) => Ok(format!(
            "{victim}, of {reached} processes that could be signalled"
        )),
        Err(error) => blocked(format!(
            "kill: {}, {reached} others inside",
            errno_name(&error)
        )),
    }
}

fn state(pid: i32) -> Option<char> {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    status.rsplit(") ").next()?.chars().next()
}

/// pid_namespaces(7): the kernel protects init from its own children.
fn kill_init() -> Verdict {
    let init = stage::init();
    sys!(libc::kill(init, libc::SIGKILL)).attack("kill")?;
    sleep(100);
    match state(init) {
        // A /proc that hides init doesn't tell, but kill does (ESRCH).
        None if sys!(libc::kill(init, 0)).attack("kill").is_ok() => {
            blocked("kill: init ignored it")
        }
        None | Some('Z' | 'X') => Ok("init is dead".to_owned()),
        Some(state) => blocked(format!("kill: init ignored it and is in state {state}")),
    }
}

/// A stopped init reaps nobody and obeys nobody.
fn stop_init() -> Verdict {
    let init = stage::init();
    sys!(libc::kill(init, libc::SIGSTOP)).attack("kill")?;
    sleep(100);
    let found = state(init);
    let _ = sys!(libc::kill(init, libc::SIGCONT));
    match found {
        Some('T') => Ok("init was stopped".to_owned()),
        Some(state) => blocked(format!("kill: init ignored it and is in state {state}")),
        None => blocked("kill: the state of init cannot be seen"),
    }
}
