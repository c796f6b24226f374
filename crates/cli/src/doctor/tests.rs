use std::time::Duration;

use casemate_sys::probe::cgroup::place::Hierarchy;
use casemate_sys::probe::cgroup::{Cgroups, Limit, Resource};
use casemate_sys::probe::kernel::{Kernel, Version};
use casemate_sys::probe::kvm::Kvm;
use casemate_sys::probe::landlock::{Absence, Landlock};
use casemate_sys::probe::namespaces::{Kind, Namespaces};
use casemate_sys::probe::userns::{Blocker, UserNamespace};
use casemate_sys::probe::{Attempt, descriptors, filesystems, nftables, procfs, seccomp};
use casemate_sys::probe::{userfaultfd, yama};
use rustix::io::Errno;

use super::*;

const YES: Attempt = Attempt::Worked;
const EPERM: Attempt = Attempt::Refused(Errno::PERM);

/// A machine on which everything works.
fn healthy() -> Survey {
    Survey {
        kernel: Kernel {
            release: "6.18.0".to_owned(),
            version: Version::parse("6.18.0"),
            machine: "x86_64".to_owned(),
        },
        userns: UserNamespace {
            create: YES,
            map: YES,
            mount: YES,
            blocker: None,
        },
        namespaces: Namespaces(Kind::ALL.map(|kind| (kind, YES))),
        procfs: procfs::ProcMount {
            mount: YES,
            masks: Vec::new(),
        },
        mount_api: filesystems::MountApi {
            open_tree: YES,
            read_only: YES,
            move_mount: YES,
            fsopen: YES,
        },
        tmpfs: filesystems::Tmpfs {
            mount: YES,
            size: YES,
            inodes: YES,
        },
        overlay: filesystems::Overlay {
            mount: YES,
            copy_up: YES,
            delete: YES,
        },
        landlock: Landlock {
            abi: Ok(7),
            holds: YES,
        },
        filter: seccomp::Filter {
            holds: YES,
            present: Some(0),
        },
        notifier: seccomp::Notifier {
            listen: YES,
            answer: YES,
            add_fd: YES,
            sync_wake_up: YES,
            wait_killable: YES,
        },
        descriptors: descriptors::Descriptors {
            clone3: YES,
            pidfd_open: YES,
            pidfd_getfd: YES,
            close_range: YES,
            openat2: YES,
        },
        unix_diag: YES,
        cgroups: Cgroups {
            hierarchy: Hierarchy::V2,
            limits: Resource::ALL.map(|resource| (resource, Limit::Delegated)),
            kill: YES,
        },
        nftables: nftables::Nftables {
            loopback: YES,
            table: YES,
            chain: YES,
            tproxy: YES,
            reject: YES,
            ipv6: YES,
        },
        kvm: Kvm::Native { rate: 2_000_000 },
        userfaultfd: userfaultfd::Userfaultfd {
            user_faults: YES,
            kernel_faults: YES,
            device: YES,
            fills: YES,
            tracks_writes: true,
        },
        pagemap_scan: YES,
        yama: yama::Scope::None,
        took: Duration::ZERO,
    }
}

/// The line of one check.
fn line(survey: &Survey, name: &str) -> String {
    let report = Report::of(survey);
    let check = report.checks.iter().find(|check| check.name == name);
    check.expect("a check of that name").to_string()
}

#[test]
fn a_healthy_machine_is_ready_and_needs_no_remedy() {
    let report = Report::of(&healthy());
    assert!(report.ready);
    for check in &report.checks {
        assert_eq!(
            (check.status, &check.remedy),
            (Status::Ok, &None),
            "{check}"
        );
    }
    let last = report.to_string();
    assert!(
        last.ends_with("\nready: the process wall can run whole"),
        "{last}"
    );
}

#[test]
fn names_are_unique_and_one_word() {
    let report = Report::of(&healthy());
    let mut names: Vec<&str> = report.checks.iter().map(|check| check.name).collect();
    assert!(
        names
            .iter()
            .all(|name| name.len() <= 15 && !name.contains(' '))
    );
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), report.checks.len());
}

#[test]
fn apparmors_restriction_is_named_with_its_remedy() {
    let mut survey = healthy();
    survey.userns.mount = EPERM;
    survey.userns.blocker = Some(Blocker::AppArmorRestriction);
    let report = Report::of(&survey);
    assert!(!report.ready);
    let text = report.to_string();
    assert!(
        text.ends_with("not ready: the process wall needs user-namespaces"),
        "{text}"
    );
    let line = line(&survey, "user-namespaces");
    assert!(
        line.starts_with("missing  user-namespaces EPERM at mount: AppArmor"),
        "{line}"
    );
    assert!(
        line.contains("sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"),
        "{line}"
    );
}

#[test]
fn what_stands_on_a_failure_is_not_called_a_cause() {
    let mut survey = healthy();
    survey.userns.create = EPERM;
    survey.userns.mount = Attempt::NotReached;
    survey.userns.blocker = Some(Blocker::Seccomp);
    survey.procfs.mount = Attempt::NotReached;
    survey.tmpfs.mount = Attempt::NotReached;
    let text = Report::of(&survey).to_string();
    assert!(text.ends_with("needs user-namespaces"), "{text}");
    let proc = line(&survey, "proc");
    assert!(proc.ends_with("first make user-namespaces work"), "{proc}");
}

#[test]
fn what_the_wall_can_do_without_leaves_it_ready() {
    let mut survey = healthy();
    survey.kvm = Kvm::Absent;
    survey.overlay.mount = Attempt::Refused(Errno::NODEV);
    survey.notifier.listen = Attempt::Refused(Errno::BUSY);
    survey.nftables.table = Attempt::Refused(Errno::OPNOTSUPP);
    survey.cgroups.hierarchy = Hierarchy::None;
    survey.cgroups.limits = Resource::ALL.map(|resource| (resource, Limit::Absent));
    let report = Report::of(&survey);
    assert!(report.ready);
    let unwell = report
        .checks
        .iter()
        .filter(|check| check.status != Status::Ok);
    assert!(unwell.clone().count() >= 8);
    for check in unwell {
        assert!(check.remedy.is_some(), "{check}");
    }
}

#[test]
fn a_fence_is_as_strong_as_the_part_that_fails_first() {
    let mut survey = healthy();
    survey.nftables.ipv6 = Attempt::Refused(Errno::OPNOTSUPP);
    let weak = line(&survey, "nftables");
    assert!(weak.contains("; IPv6: "), "{weak}");
    survey.nftables.tproxy = Attempt::Refused(Errno::NOENT);
    survey.nftables.reject = Attempt::NotReached;
    let missing = line(&survey, "nftables");
    assert!(
        missing.starts_with("missing  nftables        tproxy: "),
        "{missing}"
    );
    assert!(missing.ends_with("CONFIG_NFT_TPROXY"), "{missing}");
    survey.nftables.loopback = Attempt::Refused(Errno::PERM);
    assert!(line(&survey, "nftables").contains("loopback: "));
}

#[test]
fn a_kernel_that_is_too_old_is_not_ready() {
    let mut survey = healthy();
    survey.kernel.release = "5.10.0-30-amd64".to_owned();
    survey.kernel.version = Version::parse(&survey.kernel.release);
    assert!(!Report::of(&survey).ready);
}

#[test]
fn landlock_is_graded_by_its_abi() {
    let mut survey = healthy();
    survey.landlock.abi = Ok(2);
    let weak = line(&survey, "landlock");
    assert!(
        weak.starts_with("weak     landlock        ABI 2 without truncate, TCP"),
        "{weak}"
    );
    assert!(Report::of(&survey).ready);
    for (absence, remedy) in [
        (Absence::NotBuilt, "CONFIG_SECURITY_LANDLOCK=y"),
        (Absence::Disabled, "lsm="),
    ] {
        survey.landlock.abi = Err(absence);
        assert!(line(&survey, "landlock").contains(remedy));
        assert!(!Report::of(&survey).ready);
    }
}

#[test]
fn a_masked_proc_is_named() {
    let mut survey = healthy();
    survey.procfs.mount = EPERM;
    survey.procfs.masks = vec!["/proc/kcore".to_owned(), "/proc/keys".to_owned()];
    let line = line(&survey, "proc");
    assert!(
        line.contains("EPERM: /proc/kcore and 1 more are masked"),
        "{line}"
    );
}

#[test]
fn kvm_says_what_it_is_worth() {
    let mut survey = healthy();
    assert!(line(&survey, "kvm").contains("native, 2000 M guest instructions/s"));
    survey.kvm = Kvm::Emulated { rate: 2_757 };
    let emulated = line(&survey, "kvm");
    assert!(
        emulated.starts_with("weak     kvm             emulated, 2.8 M"),
        "{emulated}"
    );
}

#[test]
fn machines_are_weak_where_they_are_translated() {
    let mut survey = healthy();
    survey.kvm = Kvm::Absent;
    let translated = line(&survey, "machines");
    let here = casemate_vm::qemu::Qemu::find().is_ok();
    match here {
        true => assert!(translated.starts_with("weak     machines        QEMU, which translates")),
        false => assert!(translated.contains("qemu-system-x86"), "{translated}"),
    }
}

#[test]
fn the_json_has_the_documented_shape() {
    let json = serde_json::to_value(Report::of(&healthy())).expect("plain data");
    assert_eq!(json["ready"], true);
    let first = json["checks"][0].as_object().expect("an object");
    let mut keys: Vec<&str> = first.keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["detail", "name", "remedy", "status", "value"]);
    assert_eq!(first["status"], "ok");
    assert!(first["remedy"].is_null());
}
