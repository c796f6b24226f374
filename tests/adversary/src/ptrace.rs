//! Taking over a process outside one's own tree. Inside that is init, the only one with a life
//! of its own: whoever is init holds its descriptors and its place in the wall.

use std::fs;
use std::io::{Read as _, Write as _};

use crate::attempt::{Attempt, Stop, Verdict, attempt};
use crate::call::{Step, blocked, inconclusive, sys};
use crate::stage;

pub(crate) const ATTEMPTS: &[Attempt] = &[
    attempt!(attach_init, "attach to init with PTRACE_ATTACH"),
    attempt!(seize_init, "attach to init with PTRACE_SEIZE"),
    attempt!(seize_host, "attach to a process of the host"),
    attempt!(
        vm_read_init,
        "read the memory of init with process_vm_readv"
    ),
    attempt!(
        vm_write_init,
        "write the memory of init with process_vm_writev"
    ),
    attempt!(
        pidfd_getfd_init,
        "take a descriptor of init with pidfd_getfd"
    ),
    attempt!(
        pidfd_getfd_host,
        "take a descriptor of a process of the host"
    ),
    attempt!(kcmp_init, "compare oneself with init through kcmp"),
    attempt!(
        robust_list_init,
        "ask for a pointer of init's with get_robust_list"
    ),
    attempt!(move_pages_init, "ask where the pages of init lie"),
    attempt!(prlimit_init, "set a limit of init"),
    attempt!(
        circle_of_tracers,
        "wait for each other's end, so that neither can be ended"
    ),
];

fn request(request: u32, pid: i32, call: &str) -> Verdict {
    let null = std::ptr::null_mut::<libc::c_void>();
    sys!(libc::ptrace(request, pid, null, null)).attack(call)?;
    let mut status = 0;
    if request == libc::PTRACE_ATTACH {
        // Detaching takes a stopped process.
        sys!(libc::waitpid(pid, &mut status, libc::__WALL)).prepare("waitpid")?;
        sys!(libc::ptrace(libc::PTRACE_DETACH, pid, null, null)).prepare("detach")?;
    }
    Ok(format!("process {pid} is traced"))
}

/// ptrace(2), the old way, which stops the process.
fn attach_init() -> Verdict {
    request(libc::PTRACE_ATTACH, stage::init(), "PTRACE_ATTACH")
}

/// ptrace(2), the new way. The tracing ends with this process.
fn seize_init() -> Verdict {
    request(libc::PTRACE_SEIZE, stage::init(), "PTRACE_SEIZE")
}

/// The same against the caller's own processes.
fn seize_host() -> Verdict {
    request(libc::PTRACE_SEIZE, stage::victim()?, "PTRACE_SEIZE")
}

/// An address of init's, or one that is mapped nowhere: then EFAULT tells that access was granted.
fn address_in_init() -> usize {
    let maps = fs::read_to_string(format!("/proc/{}/maps", stage::init())).unwrap_or_default();
    let first = maps.split('-').next().unwrap_or_default();
    usize::from_str_radix(first, 16).unwrap_or(4096)
}

fn judge(call: &str, result: std::io::Result<i64>) -> Verdict {
    match result {
        Ok(length) => Ok(format!("{call}: {length} bytes")),
        Err(error) if error.raw_os_error() == Some(libc::EFAULT) => Ok(format!(
            "{call}: access was granted, only the address was wrong"
        )),
        Err(error) => Err(error).attack(call),
    }
}

/// process_vm_readv(2).
fn vm_read_init() -> Verdict {
    let mut bytes = [0u8; 16];
    let local = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: 16,
    };
    let remote = libc::iovec {
        iov_base: address_in_init() as *mut _,
        iov_len: 16,
    };
    judge(
        "process_vm_readv",
        sys!(libc::process_vm_readv(
            stage::init(),
            &local,
            1,
            &remote,
            1,
            0
        )),
    )
}

/// process_vm_writev(2), to an address that is never mapped: nothing is harmed.
fn vm_write_init() -> Verdict {
    let local = libc::iovec {
        iov_base: b"x".as_ptr() as *mut _,
        iov_len: 1,
    };
    let remote = libc::iovec {
        iov_base: 8 as *mut _,
        iov_len: 1,
    };
    judge(
        "process_vm_writev",
        sys!(libc::process_vm_writev(
            stage::init(),
            &local,
            1,
            &remote,
            1,
            0
        )),
    )
}

fn take_descriptor(pid: i32) -> Verdict {
    let pidfd = sys!(libc::syscall(libc::SYS_pidfd_open, pid, 0)).attack("pidfd_open")?;
    let mut last = Stop::Inconclusive("no descriptor was tried".to_owned());
    for number in 0..8 {
        match sys!(libc::syscall(libc::SYS_pidfd_getfd, pidfd, number, 0)).attack("pidfd_getfd") {
            Ok(fd) => return Ok(format!("descriptor {number} of {pid} is now {fd}")),
            Err(stop) => last = stop,
        }
    }
    Err(last)
}

/// pidfd_getfd(2): the open files of another without its memory.
fn pidfd_getfd_init() -> Verdict {
    take_descriptor(stage::init())
}

/// The same against the caller's own processes.
fn pidfd_getfd_host() -> Verdict {
    take_descriptor(stage::victim()?)
}

/// kcmp(2) orders kernel pointers, which helps exploits to aim.
fn kcmp_init() -> Verdict {
    const KCMP_VM: i32 = 1;
    let (own, init) = (std::process::id() as i32, stage::init());
    let order = sys!(libc::syscall(libc::SYS_kcmp, own, init, KCMP_VM, 0, 0)).attack("kcmp")?;
    Ok(format!("kcmp answered {order}"))
}

/// get_robust_list(2) asks for the right to trace, and tells an address.
fn robust_list_init() -> Verdict {
    let (mut head, mut length) = (0usize, 0usize);
    let call = libc::SYS_get_robust_list;
    sys!(libc::syscall(call, stage::init(), &mut head, &mut length)).attack("get_robust_list")?;
    if length == 0 {
        return blocked("get_robust_list: no answer");
    }
    Ok(format!("the list of init is at {head:#x}"))
}

/// move_pages(2) with nowhere to move to only asks, which takes the right to trace as well.
fn move_pages_init() -> Verdict {
    let pages = [address_in_init()];
    let mut status = [0i32];
    let (call, none) = (libc::SYS_move_pages, std::ptr::null::<i32>());
    sys!(libc::syscall(
        call,
        stage::init(),
        1,
        pages.as_ptr(),
        none,
        status.as_mut_ptr(),
        0
    ))
    .attack("move_pages")?;
    Ok(format!("the page's status is {}", status[0]))
}

/// prlimit(2) asks for the same user only: init could be starved of descriptors. The limit that
/// is set here is the one it has.
fn prlimit_init() -> Verdict {
    let mut limit: libc::rlimit64 = unsafe { std::mem::zeroed() };
    let (init, resource) = (stage::init(), libc::RLIMIT_NOFILE);
    let null = std::ptr::null_mut();
    sys!(libc::prlimit64(
        init,
        resource,
        std::ptr::null(),
        &mut limit
    ))
    .attack("prlimit")?;
    sys!(libc::prlimit64(init, resource, &limit, null)).attack("prlimit")?;
    if limit.rlim_max == 0 {
        return inconclusive("init has no limit");
    }
    Ok(format!(
        "the limit of {} open files was set anew",
        limit.rlim_cur
    ))
}

/// Traces a process whose end is then held up until this one lets it go.
fn hold_up(pid: i32) -> std::io::Result<i64> {
    let null = std::ptr::null_mut::<libc::c_void>();
    sys!(libc::ptrace(
        libc::PTRACE_SEIZE,
        pid,
        null,
        libc::PTRACE_O_TRACEEXIT
    ))
}

/// PTRACE_O_TRACEEXIT in both directions. Killed, the two would stay for ever; here a thread that
/// nobody traces does one half, and lets go by ending.
fn circle_of_tracers() -> Verdict {
    let own = std::process::id() as i32;
    // Without Yama there is no such option, and no need of it.
    let _ = sys!(libc::prctl(
        libc::PR_SET_PTRACER,
        libc::PR_SET_PTRACER_ANY,
        0,
        0,
        0
    ));
    let (told, tell) = std::io::pipe().prepare("pipe")?;
    let (wait, go) = std::io::pipe().prepare("pipe")?;
    // SAFETY: this process has one thread, and the child makes system calls only.
    let child = sys!(libc::fork()).prepare("fork")? as i32;
    if child == 0 {
        drop((told, go));
        let result = [u8::from(hold_up(own).is_ok())];
        let _ = (&tell).write(&result);
        let _ = (&wait).read(&mut [0]);
        // SAFETY: nothing is left to be done.
        unsafe { libc::_exit(0) };
    }
    drop((tell, wait));
    let mut first = [0];
    (&told).read_exact(&mut first).prepare("read")?;
    let both = match first {
        [1] => std::thread::spawn(move || hold_up(child)).join().unwrap(),
        _ => Err(std::io::Error::last_os_error()),
    };
    drop(go);
    let mut status = 0;
    sys!(libc::waitpid(child, &mut status, 0)).prepare("waitpid")?;
    match first {
        [1] => {
            both.attack("PTRACE_SEIZE")?;
            Ok("each holds up the other's end".into())
        }
        _ => inconclusive("nobody may trace with PTRACE_O_TRACEEXIT"),
    }
}
