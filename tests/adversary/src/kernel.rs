//! Interfaces of the kernel that exploits are built from, and that programs do without.

use crate::attempt::{Attempt, Verdict, attempt};
use crate::call::{Step, c, sys};
use crate::stage;

pub(crate) const ATTEMPTS: &[Attempt] = &[
    attempt!(bpf_map, "make a BPF map").root(),
    attempt!(bpf_program, "load a BPF program").root(),
    attempt!(performance_event, "count events of one's own process"),
    attempt!(
        performance_event_host,
        "count events of a process of the host"
    ),
    attempt!(
        fault_handler,
        "handle one's own page faults with userfaultfd"
    ),
    attempt!(fanotify_group, "watch files with fanotify"),
];

/// bpf(2), BPF_MAP_CREATE of an array.
fn bpf_map() -> Verdict {
    const ARRAY: u32 = 2;
    let attributes = [ARRAY, 4, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    let fd = sys!(libc::syscall(libc::SYS_bpf, 0, &attributes, 48)).attack("bpf")?;
    Ok(format!("descriptor {fd} is a map"))
}

/// bpf(2), BPF_PROG_LOAD of "return 0" for a socket.
fn bpf_program() -> Verdict {
    const SOCKET_FILTER: u64 = 1;
    let (instructions, license) = ([0xb7u64, 0x95], c("GPL"));
    let head = SOCKET_FILTER | (instructions.len() as u64) << 32;
    let attributes = [
        head,
        instructions.as_ptr() as u64,
        license.as_ptr() as u64,
        0,
        0,
        0,
    ];
    let fd = sys!(libc::syscall(libc::SYS_bpf, 5, &attributes, 48)).attack("bpf")?;
    Ok(format!("descriptor {fd} is a program"))
}

/// The clock of a processor, with kernel and hypervisor left out; perf_event_open(2).
fn count_events(pid: i32) -> Verdict {
    const SOFTWARE_AND_SIZE: u64 = 1 | 112 << 32;
    const EXCLUDE_KERNEL_AND_HYPERVISOR: u64 = 1 << 5 | 1 << 6;
    let mut attributes = [0u64; 14];
    attributes[0] = SOFTWARE_AND_SIZE;
    attributes[5] = EXCLUDE_KERNEL_AND_HYPERVISOR;
    let fd = sys!(libc::syscall(
        libc::SYS_perf_event_open,
        &attributes,
        pid,
        -1,
        -1,
        0
    ))
    .attack("perf_event_open")?;
    Ok(format!("descriptor {fd} counts"))
}

/// Precise timing, and a long line of local root exploits.
fn performance_event() -> Verdict {
    count_events(0)
}

/// The same aimed outside.
fn performance_event_host() -> Verdict {
    count_events(stage::victim()?)
}

/// userfaultfd(2): stops the kernel in the middle of a copy, which wins races.
fn fault_handler() -> Verdict {
    const USER_MODE_ONLY: i32 = 1;
    let flags = libc::O_CLOEXEC | USER_MODE_ONLY;
    let fd = sys!(libc::syscall(libc::SYS_userfaultfd, flags)).attack("userfaultfd")?;
    Ok(format!("descriptor {fd} handles faults"))
}

/// fanotify(7), in the form that needs no privilege since Linux 5.13.
fn fanotify_group() -> Verdict {
    const REPORT_FID: u32 = 0x200;
    let fd =
        sys!(libc::fanotify_init(REPORT_FID, libc::O_RDONLY as u32)).attack("fanotify_init")?;
    let (mask, path) = (libc::FAN_OPEN, c(stage::workspace("")?));
    let (add, at) = (libc::FAN_MARK_ADD, libc::AT_FDCWD);
    sys!(libc::fanotify_mark(fd as i32, add, mask, at, path.as_ptr())).attack("fanotify_mark")?;
    Ok("the workspace is watched".to_owned())
}
