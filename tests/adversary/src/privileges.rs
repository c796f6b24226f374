//! Calls that only a privileged process may make. Each is made so that it changes nothing: with
//! the value that is set already, or with an argument that is refused after the check of rights.

use std::io;

use crate::attempt::{Attempt, CAP_SYS_RESOURCE, Stop, Verdict, attempt};
use crate::call::{Step, blocked, c, open, sys};
use crate::stage;

pub(crate) const ATTEMPTS: &[Attempt] = &[
    attempt!(set_host_name, "set the host name").root(),
    attempt!(adjust_clock, "adjust the clock").root(),
    attempt!(read_kernel_log, "read the kernel's log").root(),
    attempt!(reboot, "reboot the machine").root(),
    attempt!(swap, "add swap space").root(),
    attempt!(accounting, "write process accounting to a file").root(),
    attempt!(load_module, "load a module into the kernel")
        .root()
        .kernel("modules"),
    attempt!(load_module_file, "load a module from a file")
        .root()
        .kernel("modules"),
    attempt!(load_kernel, "load another kernel")
        .root()
        .kernel("kexec"),
    attempt!(load_kernel_file, "load another kernel from a file")
        .root()
        .kernel("kexec"),
    attempt!(port_access, "gain access to all I/O ports")
        .root()
        .kernel("iopl"),
    attempt!(disk_quota, "ask for the disk quota of another user")
        .root()
        .kernel("quota"),
    attempt!(
        real_time,
        "outrun every other process with a real-time priority"
    )
    .root(),
    attempt!(raise_limits, "raise a hard limit").capability(CAP_SYS_RESOURCE),
];

/// Crossed unless refused for want of rights: any other error comes after that check.
fn passes_check(call: &str, result: io::Result<i64>) -> Verdict {
    match result {
        Ok(_) => Ok(format!("{call} succeeded")),
        Err(error) => match error.raw_os_error() {
            Some(libc::EPERM | libc::ENOSYS | libc::EACCES) => Err(error).attack(call),
            _ => Ok(format!("{call} passed the check of rights ({error})")),
        },
    }
}

/// sethostname(2), to the name it has.
fn set_host_name() -> Verdict {
    let mut name: libc::utsname = unsafe { std::mem::zeroed() };
    sys!(libc::uname(&mut name)).prepare("uname")?;
    let length = unsafe { libc::strlen(name.nodename.as_ptr()) };
    sys!(libc::sethostname(name.nodename.as_ptr(), length)).attack("sethostname")?;
    Ok("the name was set".to_owned())
}

/// adjtimex(2), to the tick it has.
fn adjust_clock() -> Verdict {
    let mut clock: libc::timex = unsafe { std::mem::zeroed() };
    sys!(libc::adjtimex(&mut clock)).attack("adjtimex")?;
    clock.modes = libc::ADJ_TICK;
    sys!(libc::adjtimex(&mut clock)).attack("adjtimex")?;
    Ok("the tick was set".to_owned())
}

/// syslog(2): addresses and other tenants' mishaps.
fn read_kernel_log() -> Verdict {
    const READ_ALL: i32 = 3;
    let mut bytes = vec![0u8; 4096];
    match sys!(libc::klogctl(READ_ALL, bytes.as_mut_ptr().cast(), 4096)).attack("syslog")? {
        0 => blocked("the log is empty"),
        length => Ok(format!("{length} bytes read")),
    }
}

/// reboot(2) with a wrong magic number, which is looked at after the rights.
fn reboot() -> Verdict {
    passes_check("reboot", sys!(libc::syscall(libc::SYS_reboot, 0, 0, 0, 0)))
}

/// swapon(2) of a file that does not exist.
fn swap() -> Verdict {
    let path = c("/nonexistent/swap");
    passes_check(
        "swapon",
        sys!(libc::syscall(libc::SYS_swapon, path.as_ptr(), 0)),
    )
}

/// acct(2) to a file that does not exist.
fn accounting() -> Verdict {
    let path = c("/nonexistent/accounting");
    passes_check("acct", sys!(libc::syscall(libc::SYS_acct, path.as_ptr())))
}

/// init_module(2) of nothing.
fn load_module() -> Verdict {
    let empty = c("");
    passes_check(
        "init_module",
        sys!(libc::syscall(libc::SYS_init_module, 0, 0, empty.as_ptr())),
    )
}

/// finit_module(2) of a descriptor that is not open.
fn load_module_file() -> Verdict {
    let empty = c("");
    passes_check(
        "finit_module",
        sys!(libc::syscall(libc::SYS_finit_module, -1, empty.as_ptr(), 0)),
    )
}

/// kexec_load(2) with flags that do not exist.
fn load_kernel() -> Verdict {
    passes_check(
        "kexec_load",
        sys!(libc::syscall(libc::SYS_kexec_load, 0, 0, 0, 0xffff)),
    )
}

/// kexec_file_load(2) with flags that do not exist.
fn load_kernel_file() -> Verdict {
    let call = libc::SYS_kexec_file_load;
    passes_check(
        "kexec_file_load",
        sys!(libc::syscall(call, -1, -1, 0, 0, 0xffff)),
    )
}

/// iopl(2). The level ends with this process.
fn port_access() -> Verdict {
    sys!(libc::syscall(libc::SYS_iopl, 3)).attack("iopl")?;
    Ok("the level is 3".to_owned())
}

/// quotactl(2), Q_GETQUOTA of another user, by the call of 2021 that takes a descriptor.
fn disk_quota() -> Verdict {
    const GET_USER_QUOTA: u32 = 0x80_0007 << 8;
    let directory = open(stage::workspace("")?, libc::O_RDONLY).prepare("open")?;
    let (call, mut answer) = (libc::SYS_quotactl_fd, [0u64; 16]);
    let result = sys!(libc::syscall(
        call,
        directory,
        GET_USER_QUOTA,
        12345,
        &mut answer
    ));
    passes_check("quotactl_fd", result)
}

/// sched(7): with one such process a processor has no time for anyone else. It ends at once.
fn real_time() -> Verdict {
    let parameters = libc::sched_param { sched_priority: 1 };
    sys!(libc::sched_setscheduler(0, libc::SCHED_FIFO, &parameters))
        .attack("sched_setscheduler")?;
    Ok("the priority is real-time".to_owned())
}

/// setrlimit(2) above the hard limit: limits that can be lifted are none.
fn raise_limits() -> Verdict {
    let mut last = Stop::Inconclusive("no limit is set".to_owned());
    for resource in [libc::RLIMIT_NOFILE, libc::RLIMIT_NPROC, libc::RLIMIT_CORE] {
        let mut limit: libc::rlimit64 = unsafe { std::mem::zeroed() };
        sys!(libc::getrlimit64(resource, &mut limit)).prepare("getrlimit")?;
        if limit.rlim_max == libc::RLIM64_INFINITY {
            continue;
        }
        limit.rlim_max += 1;
        match sys!(libc::setrlimit64(resource, &limit)).attack("setrlimit") {
            Ok(_) => return Ok(format!("limit {resource} is now {}", limit.rlim_max)),
            Err(stop) => last = stop,
        }
    }
    Err(last)
}
