//! What the process wall itself is made of.

use casemate_sys::probe::landlock::{Absence, Landlock};
use casemate_sys::probe::namespaces::{Kind, Namespaces};
use casemate_sys::probe::procfs::ProcMount;
use casemate_sys::probe::seccomp::{Filter, Notifier};
use casemate_sys::probe::userns::UserNamespace;
use casemate_sys::probe::{Attempt, Survey, errno_name, filesystems, kernel};
use rustix::io::Errno;

use super::{Check, Finding};

const NEWER: &str = "boot Linux 5.13 or later";
const UNFILTERED: &str =
    "boot Linux 5.13 or later; in a container, use a seccomp profile that allows the call";

pub(super) fn checks(survey: &Survey) -> Vec<Check> {
    let calls = &survey.descriptors;
    vec![
        kernel(&survey.kernel).needed("kernel", "the wall needs Linux 5.13 or later"),
        machine(&survey.kernel)
            .needed("architecture", "the list of allowed calls is per processor"),
        user_namespace(&survey.userns).needed("user-namespaces", "a wall without root"),
        namespaces(&survey.namespaces).needed(
            "namespaces",
            "own mounts, processes, network, host name, clocks",
        ),
        procfs(&survey.procfs).needed("proc", "a /proc that shows the sandbox only"),
        mount_api(&survey.mount_api).needed("mount-api", "the view of files, read-only as a whole"),
        tmpfs(&survey.tmpfs).needed("tmpfs", "fresh /tmp and homes with a size limit"),
        overlay(&survey.overlay).wanted("overlayfs", "--root with writes that vanish"),
        landlock(&survey.landlock)
            .needed("landlock", "a second wall around files, TCP and signals"),
        filter(&survey.filter).needed("seccomp", "the list of allowed calls"),
        notifier(&survey.notifier).wanted(
            "seccomp-notify",
            "deciding about connections; Unix sockets by path",
        ),
        call(calls.clone3, UNFILTERED).needed("clone3", "starting the sandbox in one step"),
        call(calls.pidfd_open, UNFILTERED).needed("pidfd", "signals that can't hit a stranger"),
        call(calls.pidfd_getfd, GETFD)
            .wanted("pidfd-getfd", "connecting a sandbox's own socket for it"),
        call(calls.close_range, UNFILTERED)
            .needed("close-range", "no descriptor of the caller leaks in"),
        call(calls.openat2, UNFILTERED).needed("openat2", "paths that can't leave their root"),
        call(
            survey.unix_diag,
            "boot a kernel with CONFIG_UNIX_DIAG (module unix_diag: modprobe it)",
        )
        .wanted(
            "unix-diag",
            "telling the sandbox's Unix sockets from the host's",
        ),
    ]
}

const GETFD: &str =
    "Linux 5.6 or later; kernel.yama.ptrace_scope below 2; a container profile that allows it";

fn kernel(kernel: &kernel::Kernel) -> Finding {
    match kernel.is_new_enough() {
        true => Finding::ok(&kernel.release),
        false => Finding::missing(&kernel.release, NEWER),
    }
}

fn machine(kernel: &kernel::Kernel) -> Finding {
    match kernel.machine == "x86_64" {
        true => Finding::ok(&kernel.machine),
        false => Finding::missing(&kernel.machine, "run it on x86_64"),
    }
}

fn user_namespace(found: &UserNamespace) -> Finding {
    let steps = [
        (found.create, "unshare"),
        (found.map, "uid_map"),
        (found.mount, "mount"),
    ];
    let Some((attempt, step)) = steps.into_iter().find(|(attempt, _)| !attempt.worked()) else {
        return Finding::ok("work, capabilities count");
    };
    match &found.blocker {
        Some(blocker) => {
            Finding::missing(format!("{attempt} at {step}: {blocker}"), blocker.remedy())
        }
        None => Finding::missing(format!("{attempt} at {step}"), "run casemate doctor again"),
    }
}

fn namespaces(found: &Namespaces) -> Finding {
    let name = |(kind, _): &(Kind, Attempt)| kind.name();
    let Some((kind, attempt)) = found.refused().next() else {
        let names: Vec<&str> = found.0.iter().map(name).collect();
        return Finding::ok(names.join(" "));
    };
    if attempt == Attempt::NotReached {
        return Finding::not_reached(kind.name());
    }
    let refused: Vec<&str> = found.refused().map(|refused| name(&refused)).collect();
    let value = format!("no {} ({attempt})", refused.join(" "));
    Finding::missing(value, namespace_remedy(kind, attempt))
}

fn namespace_remedy(kind: Kind, attempt: Attempt) -> String {
    match attempt {
        Attempt::Refused(Errno::NOSPC) => {
            format!(
                "as root: sysctl -w user.max_{}_namespaces=15000",
                kind.name()
            )
        }
        Attempt::Refused(Errno::INVAL) => {
            let option = match kind {
                Kind::Mount => "NAMESPACES".to_owned(),
                Kind::Cgroup => "CGROUPS".to_owned(),
                other => format!("{}_NS", other.name().to_uppercase()),
            };
            format!("boot a kernel with CONFIG_{option}=y")
        }
        _ => "in a container, use a seccomp profile that allows unshare and clone3".to_owned(),
    }
}

fn procfs(found: &ProcMount) -> Finding {
    match found.mount {
        Attempt::Worked => Finding::ok("mounts afresh"),
        Attempt::NotReached => Finding::not_reached("mount"),
        Attempt::Refused(Errno::PERM) => Finding::missing(
            format!("EPERM: {}", masks(&found.masks)),
            "start the container with --security-opt systempaths=unconfined (Podman: \
             --security-opt unmask=ALL; Kubernetes: procMount: Unmasked)",
        ),
        Attempt::Refused(errno) => Finding::missing(errno_name(errno), UNFILTERED),
    }
}

fn masks(points: &[String]) -> String {
    match points {
        [] => "the caller's /proc is not wholly visible".to_owned(),
        [one] => format!("{one} is masked"),
        [one, rest @ ..] => format!("{one} and {} more are masked", rest.len()),
    }
}

fn mount_api(found: &filesystems::MountApi) -> Finding {
    let steps = [
        ("fsopen", found.fsopen),
        ("open_tree", found.open_tree),
        ("mount_setattr", found.read_only),
        ("move_mount", found.move_mount),
    ];
    all_of(&steps, UNFILTERED)
}

fn tmpfs(found: &filesystems::Tmpfs) -> Finding {
    let steps = [
        ("mounts", found.mount),
        ("size holds", found.size),
        ("inodes hold", found.inodes),
    ];
    all_of(&steps, "boot a kernel with CONFIG_TMPFS=y")
}

fn overlay(found: &filesystems::Overlay) -> Finding {
    let steps = [
        ("mounts", found.mount),
        ("copies up", found.copy_up),
        ("deletes", found.delete),
    ];
    let remedy = match found.mount {
        Attempt::Refused(Errno::NODEV) => {
            "load the module (as root: modprobe overlay), or boot a kernel with CONFIG_OVERLAY_FS"
        }
        _ => UNFILTERED,
    };
    all_of(&steps, remedy)
}

/// All steps, or the first that failed.
fn all_of(steps: &[(&str, Attempt)], remedy: &str) -> Finding {
    match steps.iter().find(|(_, attempt)| !attempt.worked()) {
        None => Finding::ok(
            steps
                .iter()
                .map(|(name, _)| *name)
                .collect::<Vec<_>>()
                .join(", "),
        ),
        Some((name, Attempt::NotReached)) => Finding::not_reached(name),
        Some((name, attempt)) => Finding::missing(format!("{name}: {attempt}"), remedy),
    }
}

fn landlock(found: &Landlock) -> Finding {
    let abi = match found.abi {
        Ok(abi) => abi,
        Err(absence) => return no_landlock(absence),
    };
    if !found.holds.worked() {
        let value = format!("ABI {abi}, but a rule set does not hold ({})", found.holds);
        return Finding::missing(value, "in a container, allow landlock_restrict_self");
    }
    let lacks: Vec<&str> = found.lacks().collect();
    // The audit flags of ABI 7 only change what the log says.
    if abi >= 6 {
        return Finding::ok(format!("ABI {abi}"));
    }
    Finding::weak(
        format!("ABI {abi} without {}", lacks.join(", ")),
        "Linux 6.12 or later has them all",
    )
}

fn no_landlock(absence: Absence) -> Finding {
    match absence {
        Absence::NotBuilt => Finding::missing(
            "ENOSYS: not built",
            "boot a kernel with CONFIG_SECURITY_LANDLOCK=y; in a container, use a seccomp profile \
             that allows landlock_create_ruleset",
        ),
        Absence::Disabled => Finding::missing(
            "EOPNOTSUPP: built, not enabled",
            "add landlock to lsm= on the kernel's command line (the present list is in \
             /sys/kernel/security/lsm), and reboot",
        ),
        Absence::Refused(errno) => Finding::missing(errno_name(errno), UNFILTERED),
        Absence::Unknown => Finding::missing("not reached", UNFILTERED),
    }
}

fn filter(found: &Filter) -> Finding {
    match (found.holds, found.present) {
        (Attempt::Worked, Some(present @ 1..)) => {
            Finding::ok(format!("filters, {present} already on this process"))
        }
        (Attempt::Worked, _) => Finding::ok("filters"),
        (attempt, _) => Finding::missing(
            attempt.to_string(),
            "boot a kernel with CONFIG_SECCOMP_FILTER=y; in a container, allow seccomp",
        ),
    }
}

fn notifier(found: &Notifier) -> Finding {
    for (step, attempt) in [
        ("listener", found.listen),
        ("add descriptor", found.add_fd),
        ("answer", found.answer),
    ] {
        if !attempt.worked() {
            return Finding::missing(format!("{step}: {attempt}"), notifier_remedy(attempt));
        }
    }
    let optional = [
        ("sync wake-up", found.sync_wake_up),
        ("killable wait", found.wait_killable),
    ];
    let lacks = optional.iter().filter(|(_, attempt)| !attempt.worked());
    let lacks: Vec<&str> = lacks.map(|(name, _)| *name).collect();
    match lacks.is_empty() {
        true => Finding::ok("answers, adds descriptors, sync wake-up, killable wait"),
        false => Finding::weak(
            format!("answers, adds descriptors; without {}", lacks.join(", ")),
            "Linux 6.6 or later has both",
        ),
    }
}

fn notifier_remedy(attempt: Attempt) -> &'static str {
    match attempt {
        Attempt::Refused(Errno::BUSY) => {
            "a listener lies further out (the kernel allows one): start casemate outside it"
        }
        _ => {
            "boot Linux 5.13 or later with CONFIG_SECCOMP_FILTER=y; without it, Unix sockets by \
              path are refused"
        }
    }
}

/// One call, and what to do where it fails.
fn call(attempt: Attempt, remedy: &str) -> Finding {
    match attempt {
        Attempt::Worked => Finding::ok("works"),
        Attempt::NotReached => Finding::not_reached("call"),
        Attempt::Refused(errno) => Finding::missing(errno_name(errno), remedy),
    }
}
