//! All probes for real, as whoever runs the tests and, where that is root, as nobody special.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::*;

/// A user that no machine is likely to have given anything to.
const STRANGER: u32 = 64321;

/// Facts that hold on every Linux that the wall supports, for every user, in any container.
#[test]
fn facts_that_hold_everywhere() {
    let _alone = alone();
    let survey = Survey::take();
    assert!(survey.kernel.version.is_some(), "{:?}", survey.kernel);
    // Either user namespaces work or the obstacle has a name.
    let userns = &survey.userns;
    assert_eq!(
        userns.mount.worked(),
        userns.blocker.is_none(),
        "{userns:?}"
    );
    if userns.mount.worked() {
        // What a working user namespace brings.
        let mount = survey.namespaces.0[0];
        assert_eq!(mount, (namespaces::Kind::Mount, Attempt::Worked));
        assert!(survey.tmpfs.mount.worked(), "{:?}", survey.tmpfs);
    }
    // Where filters can be installed at all, they hold.
    assert_ne!(survey.filter.holds, Attempt::Refused(Errno::OPNOTSUPP));
    assert_ne!(survey.landlock.abi, Err(landlock::Absence::Unknown));
    if survey.notifier.answer.worked() {
        assert!(survey.notifier.listen.worked() && survey.notifier.add_fd.worked());
    }
    if survey.cgroups.hierarchy == cgroup::place::Hierarchy::None {
        let absent = |(_, limit): &(_, _)| *limit == cgroup::Limit::Absent;
        assert!(survey.cgroups.limits.iter().all(absent));
    }
    // Each probe has its own bound; together they stay within a busy machine's patience.
    assert!(survey.took < Duration::from_secs(20), "{:?}", survey.took);
}

#[test]
fn nothing_is_left_behind() {
    let _alone = alone();
    let before = traces();
    Survey::take();
    assert_eq!(traces(), before);
}

/// The mounts of this process, and the groups whose names say that this process made them.
fn traces() -> (String, Vec<PathBuf>) {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let mounts = read("/proc/self/mountinfo");
    let place = cgroup::place::Place::find(&mounts, &read("/proc/self/cgroup"));
    let own = format!("{}{}-", cgroup::PREFIX, std::process::id());
    let groups = place.all().filter_map(|folder| folder.read_dir().ok());
    let paths = groups.flatten().flatten().map(|entry| entry.path());
    let is_own = |path: &PathBuf| path.to_string_lossy().contains(&own);
    (mounts, paths.filter(is_own).collect())
}

/// Keeps the surveys of one process apart.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn facts_hold_for_an_unprivileged_user_too() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can become another user; the other tests cover this one");
        return;
    }
    let again = Command::new("/proc/self/exe")
        .args(["--exact", "probe::tests::facts_that_hold_everywhere"])
        .uid(STRANGER)
        .gid(STRANGER)
        .current_dir("/")
        .output();
    match again {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(
                output.status.success() && text.contains("1 passed"),
                "{text}"
            );
        }
        Err(error) => eprintln!("skipped: user {STRANGER} may not run this test: {error}"),
    }
}
