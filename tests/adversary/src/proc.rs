//! What /proc and /sys give away, and what can be set through them.

use std::fs;

use crate::attempt::{Attempt, CAP_SYS_RESOURCE, Verdict, attempt};
use crate::call::{Step, blocked, open};
use crate::stage;

pub(crate) const ATTEMPTS: &[Attempt] = &[
    attempt!(see_host_process, "see a process of the caller in /proc"),
    attempt!(
        read_own_environment,
        "find the caller's variables in one's own environment"
    ),
    attempt!(
        read_other_environments,
        "find the caller's variables in any process's environment"
    ),
    attempt!(read_init_maps, "read the memory map of init"),
    attempt!(read_init_memory, "read the memory of init through /proc"),
    attempt!(write_init_memory, "open the memory of init for writing"),
    attempt!(list_init_descriptors, "list the open files of init"),
    attempt!(open_init_program, "open the program of init through /proc"),
    attempt!(write_core_pattern, "open core_pattern for writing").root(),
    attempt!(
        write_sysctl,
        "open settings of the whole kernel for writing"
    )
    .root(),
    attempt!(
        write_oom_score,
        "shield oneself from the out-of-memory killer"
    )
    .capability(CAP_SYS_RESOURCE),
    attempt!(open_sysrq, "open sysrq-trigger for writing")
        .root()
        .kernel("sysrq"),
    attempt!(open_kcore, "read the memory of the kernel in kcore")
        .root()
        .kernel("kcore"),
    attempt!(
        read_kernel_addresses,
        "read addresses of the kernel in kallsyms"
    )
    .root(),
    attempt!(
        read_host_sockets,
        "find names of the host's sockets in /proc/net/unix"
    ),
    attempt!(
        list_host_mounts,
        "see the host's block device as a mount's source"
    ),
    attempt!(write_sys, "open a setting in /sys for writing").root(),
    attempt!(leave_cgroup, "open the root control group to move into").root(),
];

/// The name of this program with the argument that the process outside was started with.
fn see_host_process() -> Verdict {
    for pid in stage::processes() {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if line.windows(8).any(|window| window == b"--victim") {
            return Ok(format!("process {pid} of the host is visible"));
        }
    }
    blocked("no process of the host is visible")
}

fn holds_caller_variable(environment: &[u8]) -> bool {
    let name = stage::CALLER_ONLY.as_bytes();
    environment.windows(name.len()).any(|window| window == name)
}

/// Tokens of the caller's shell are in its environment; environ(7).
fn read_own_environment() -> Verdict {
    if std::env::var_os(stage::CALLER_ONLY).is_none() {
        return blocked("the variable was not passed on");
    }
    Ok("the caller's variable was passed on".to_owned())
}

/// The supervisor and init start with the caller's environment; proc_pid_environ(5).
fn read_other_environments() -> Verdict {
    let own = std::process::id() as i32;
    let parent = unsafe { libc::getppid() };
    for pid in stage::processes()
        .into_iter()
        .filter(|pid| *pid != own && *pid != parent)
    {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        if holds_caller_variable(&environment) {
            return Ok(format!("the environment of process {pid} has it"));
        }
    }
    blocked("no visible process has the variable in a readable environment")
}

fn of_init(file: &str) -> String {
    format!("/proc/{}/{file}", stage::init())
}

/// proc_pid_maps(5): addresses defeat the randomisation of the one trusted process inside.
fn read_init_maps() -> Verdict {
    let maps = fs::read_to_string(of_init("maps")).attack("open maps")?;
    match maps.lines().count() {
        0 => blocked("the map is empty"),
        lines => Ok(format!("{lines} mappings listed")),
    }
}

/// proc_pid_mem(5): ptrace without the call. An address that is not mapped answers EIO, so the
/// opening alone shows that access was granted.
fn read_init_memory() -> Verdict {
    let fd = open(of_init("mem"), libc::O_RDONLY).attack("open mem")?;
    Ok(format!("descriptor {fd} reads the memory of init"))
}

/// The same for writing, which ignores read-only pages.
fn write_init_memory() -> Verdict {
    let fd = open(of_init("mem"), libc::O_RDWR).attack("open mem")?;
    Ok(format!("descriptor {fd} writes the memory of init"))
}

/// proc_pid_fd(5): each link of init's can be opened again.
fn list_init_descriptors() -> Verdict {
    match fs::read_dir(of_init("fd"))
        .attack("opendir fd")?
        .flatten()
        .count()
    {
        0 => blocked("the list is empty"),
        count => Ok(format!("{count} descriptors listed")),
    }
}

/// The first step of CVE-2019-5736, where the runtime's own program was then overwritten.
fn open_init_program() -> Verdict {
    open(of_init("exe"), libc::O_RDONLY).attack("open exe")?;
    Ok("the program of init is open".to_owned())
}

fn open_for_writing(paths: &[&str]) -> Verdict {
    let mut refusals = Vec::new();
    for path in paths {
        match open(path, libc::O_WRONLY).attack(&format!("open {path}")) {
            Ok(_) => return Ok(format!("{path} is open for writing")),
            Err(crate::attempt::Stop::Blocked(why)) => refusals.push(why),
            Err(stop) => return Err(stop),
        }
    }
    blocked(refusals.join(", "))
}

/// core(5): a pipe here runs a program on the host as root. Opened only.
fn write_core_pattern() -> Verdict {
    open_for_writing(&["/proc/sys/kernel/core_pattern"])
}

/// proc_sys(5): settings that no namespace separates. Opened only.
fn write_sysctl() -> Verdict {
    open_for_writing(&[
        "/proc/sys/kernel/panic",
        "/proc/sys/vm/drop_caches",
        "/proc/sys/vm/overcommit_memory",
        "/proc/sys/fs/file-max",
    ])
}

/// proc_pid_oom_score_adj(5): others would be killed in one's place.
fn write_oom_score() -> Verdict {
    fs::write("/proc/self/oom_score_adj", "-1000").attack("write oom_score_adj")?;
    Ok("the score is -1000".to_owned())
}

/// A byte here reboots the machine. Opened only.
fn open_sysrq() -> Verdict {
    open_for_writing(&["/proc/sysrq-trigger"])
}

/// proc_kcore(5).
fn open_kcore() -> Verdict {
    open("/proc/kcore", libc::O_RDONLY).attack("open /proc/kcore")?;
    Ok("/proc/kcore is open".to_owned())
}

/// Addresses are shown as zero to those without CAP_SYSLOG.
fn read_kernel_addresses() -> Verdict {
    let symbols = fs::read_to_string("/proc/kallsyms").attack("open /proc/kallsyms")?;
    let shown = symbols
        .lines()
        .filter(|line| !line.starts_with("0000000000000000"))
        .count();
    if shown < 100 {
        return blocked("addresses are hidden");
    }
    Ok(format!("{shown} addresses shown"))
}

/// The file lists the sockets of the reader's network namespace.
fn read_host_sockets() -> Verdict {
    let name = stage::text("ATTEMPT_ABSTRACT")?;
    let list = fs::read_to_string("/proc/net/unix").attack("open /proc/net/unix")?;
    if list.contains(&name) {
        return Ok(format!("@{name} is listed"));
    }
    blocked("the host's socket is not listed")
}

/// proc_pid_mountinfo(5): a root of `/` on the host's own root device is the whole host.
fn list_host_mounts() -> Verdict {
    let mounts = fs::read_to_string("/proc/self/mountinfo").attack("open mountinfo")?;
    for line in mounts.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let real = line.contains(" - ext4 ")
            || line.contains(" - xfs ")
            || line.contains(" - btrfs ")
            || line.contains(" - overlay ");
        if real && fields.get(3) == Some(&"/") && fields.get(4) == Some(&"/") {
            return Ok(format!("the root is the host's: {line}"));
        }
    }
    blocked("the root is not a whole disk of the host")
}

/// sysfs(5) and its neighbours: no namespace separates these. Opened only.
fn write_sys() -> Verdict {
    open_for_writing(&[
        "/sys/kernel/uevent_helper",
        "/sys/kernel/mm/transparent_hugepage/enabled",
        "/sys/kernel/mm/ksm/run",
        "/sys/power/state",
    ])
}

/// cgroups(7): a process in the root group has no limits. Opened only.
fn leave_cgroup() -> Verdict {
    open_for_writing(&[
        "/sys/fs/cgroup/cgroup.procs",
        "/sys/fs/cgroup/unified/cgroup.procs",
        "/sys/fs/cgroup/pids/cgroup.procs",
        "/sys/fs/cgroup/memory/cgroup.procs",
    ])
}
