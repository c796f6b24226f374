//! What the process gives up between compiling and running: everything that would let a guest which
//! has broken out of Wasm execute code of its own.
//!
//! Two layers, since memory can be changed in two ways. The filter refuses to make memory executable,
//! to execute a file, and to write into a process by ptrace(2). Landlock refuses to open for writing
//! what isn't below a writable folder: `/proc/self/mem` above all, which writes to executable memory
//! as a debugger does (proc(5)).

use super::job::Folder;
use casemate_core::error::{Error, Result};
use casemate_sys::landlock::{Abi, FileRights, Ports, Ruleset};
use casemate_sys::{Errno, seccomp};
use rustix::fd::AsFd;
use rustix::fs::{Mode, OFlags};
use std::path::Path;

/// Gives it up for good, for this thread and all that it starts; there are no others yet. Without
/// no_new_privs, it can't.
pub(super) fn give_up(folders: &[Folder]) -> Result<()> {
    const STEP: &str = "refuse all further code";
    let fail = |errno: Errno| Error::errno(STEP, errno.raw_os_error());
    // Without Landlock, the wall was told to do without it, and has said so.
    if let Ok(abi) = Abi::current() {
        let rules = Ruleset::new(abi, Ports::default(), true).map_err(fail)?;
        let writable = folders.iter().filter(|folder| folder.writable);
        let writable = writable.map(|folder| (&*folder.path, FileRights::WRITE));
        let all = [(Path::new("/"), FileRights::READ)];
        for (path, rights) in all.into_iter().chain(writable) {
            let opened = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
            let allowed = opened.and_then(|opened| rules.allow(opened.as_fd(), rights));
            allowed.map_err(|errno| fail(errno).on(path.display()))?;
        }
        rules.restrict_self().map_err(fail)?;
    }
    seccomp::install(&seccomp::NO_NEW_CODE, false)
        .map(drop)
        .map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, OpenOptions};

    fn folder(path: &Path, writable: bool) -> Folder {
        Folder {
            path: path.into(),
            name: "data".into(),
            writable,
        }
    }

    #[test]
    fn only_writable_folders_are_written() {
        if Abi::current().is_err() {
            return println!("skipped: no Landlock here");
        }
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        fs::create_dir(path("open")).unwrap();
        fs::create_dir(path("closed")).unwrap();
        fs::write(path("closed/file"), "kept").unwrap();
        let folders = [folder(&path("open"), true), folder(&path("closed"), false)];
        // Both layers are a thread's own.
        let thread = || {
            casemate_sys::privilege::no_new_privileges().unwrap();
            give_up(&folders).unwrap();
            let written = |path: &Path| OpenOptions::new().write(true).open(path).map(drop);
            let refused = |path: &Path| written(path).unwrap_err().kind();
            let denied = std::io::ErrorKind::PermissionDenied;
            for memory in ["/proc/self/mem", "/proc/thread-self/mem", "/dev/null"] {
                assert_eq!(refused(Path::new(memory)), denied, "{memory}");
            }
            assert_eq!(refused(&path("closed/file")), denied);
            assert_eq!(fs::read_to_string(path("closed/file")).unwrap(), "kept");
            fs::write(path("open/file"), "new").unwrap();
        };
        std::thread::scope(|scope| scope.spawn(thread).join().unwrap());
        assert_eq!(fs::read_to_string(path("open/file")).unwrap(), "new");
    }
}
