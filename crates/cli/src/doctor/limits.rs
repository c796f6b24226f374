//! What limits can be held with.

use casemate_sys::probe::cgroup::place::Hierarchy;
use casemate_sys::probe::cgroup::{Cgroups, Limit, Resource};
use casemate_sys::probe::{Attempt, Survey, errno_name};
use rustix::io::Errno;

use super::{Check, Finding};

/// How an unprivileged user gets a group of its own.
const DELEGATE: &str = "start it with `systemd-run --user --scope -p Delegate=yes casemate …`, or \
                        let root delegate a group; until then rlimits and the supervisor's own \
                        accounting";

pub(super) fn checks(survey: &Survey) -> Vec<Check> {
    let cgroups = &survey.cgroups;
    let mut checks = vec![hierarchy(cgroups.hierarchy).wanted("cgroup", "limits on a whole tree")];
    checks.extend(cgroups.limits.iter().map(|(resource, limit)| {
        let (name, detail) = match resource {
            Resource::Memory => ("memory-limit", "--memory for the whole tree"),
            Resource::Pids => ("pids-limit", "--pids, against fork bombs"),
            Resource::Cpu => ("cpu-limit", "--cpus"),
        };
        held(*limit, *resource).wanted(name, detail)
    }));
    checks.push(kill(cgroups).wanted("cgroup-kill", "ending the whole tree at once"));
    checks
}

fn hierarchy(hierarchy: Hierarchy) -> Finding {
    match hierarchy {
        Hierarchy::V2 => Finding::ok("version 2"),
        Hierarchy::V1 => Finding::ok("version 1"),
        Hierarchy::Hybrid => Finding::ok("version 1 beside a version 2 tree"),
        Hierarchy::None => Finding::missing(
            "none mounted",
            "as root: mount -t cgroup2 none /sys/fs/cgroup",
        ),
    }
}

fn held(limit: Limit, resource: Resource) -> Finding {
    match limit {
        Limit::Held { version } => Finding::ok(format!("held by version {version}")),
        Limit::Delegated => Finding::ok("delegated, version 2"),
        Limit::Closed { version, errno } => {
            let value = format!("version {version}: {}", errno_name(errno));
            Finding::weak(value, closed(version, errno))
        }
        Limit::Absent => Finding::weak(
            "no controller",
            format!(
                "enable `{}` for this group (systemd: Delegate=yes; the kernel's command line must \
                 not have cgroup_disable={0})",
                resource.controller()
            ),
        ),
    }
}

fn closed(version: u8, errno: Errno) -> String {
    match (version, errno) {
        (_, Errno::ROFS) => "mount /sys/fs/cgroup writable (a container: --cgroupns=private with \
                             a writable mount)"
            .to_owned(),
        (1, _) => "version 1 can't be delegated safely: run it as root, or boot with \
                   systemd.unified_cgroup_hierarchy=1; until then rlimits and the supervisor's own \
                   accounting"
            .to_owned(),
        _ => DELEGATE.to_owned(),
    }
}

fn kill(cgroups: &Cgroups) -> Finding {
    const INSTEAD: &str = "until then the end of the pid namespace's init ends the tree";
    match cgroups.kill {
        Attempt::Worked => Finding::ok("works"),
        // A group was made, and it has no such file; or there is no version 2 at all.
        Attempt::Refused(Errno::NOENT) => Finding::weak(
            "none",
            format!("needs a version 2 tree and Linux 5.14; {INSTEAD}"),
        ),
        other => Finding::weak(
            other.to_string(),
            format!("needs a version 2 group of this user's own; {INSTEAD}"),
        ),
    }
}
