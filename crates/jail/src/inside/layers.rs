//! Mounting a folder of the host's with the sandbox's own writes above it.
//!
//! overlayfs takes paths. The new root is on /proc at this moment, so that is the path of the writes;
//! and a mount that is in no tree yet is put beside them until the overlay has its own copy.

use super::view::PLAIN;
use crate::layers::{Layered, WRITES};
use casemate_sys::Errno;
use casemate_sys::mount::Detached;
use rustix::fd::BorrowedFd;
use rustix::fs::{Mode, mkdirat};
use rustix::mount::{UnmountFlags, unmount};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Makes the overlay. `lower` is the host's folder, if it comes with other owners.
pub(super) fn mount(
    root: BorrowedFd<'_>,
    layered: &Layered,
    lower: Option<Detached>,
) -> Result<Detached, Errno> {
    let writes = Path::new(WRITES.trim_start_matches('/'));
    let name = layered.path.to_string_lossy().replace('/', "-");
    let own = writes.join(name.trim_start_matches('-'));
    make(root, writes)?;
    make(root, &own)?;
    for part in ["upper", "work", "above", "lower"] {
        make(root, &own.join(part))?;
    }
    let own = |part: &str| Path::new("/proc").join(&own).join(part);
    // By its own path, a caller's folder would be told to everybody inside (proc(5), mountinfo).
    let above = layered.skeleton.as_ref();
    let above = above
        .map(|path| Detached::copy(rustix::fs::CWD, path))
        .transpose()?;
    let placed: Vec<(Detached, PathBuf)> = [(above, own("above")), (lower, own("lower"))]
        .into_iter()
        .filter_map(|(mount, place)| Some((mount?, place)))
        .collect();
    for (mount, place) in &placed {
        mount.attach(rustix::fs::CWD, place)?;
    }
    let has_lower = placed.iter().any(|(_, place)| place.ends_with("lower"));
    let below = Some(layered.path.clone()).filter(|_| !has_lower);
    let folders = placed.iter().map(|(_, place)| place.clone()).chain(below);
    let folders: Vec<String> = folders.map(|path| escaped(&path)).collect();
    let (upper, work) = (own("upper"), own("work"));
    let (folders, upper, work) = (folders.join(":"), escaped(&upper), escaped(&work));
    let options = [
        ("lowerdir", folders.as_str()),
        ("upperdir", upper.as_str()),
        ("workdir", work.as_str()),
        ("userxattr", ""),
    ];
    let mount = Detached::new("overlay", &options, PLAIN);
    for (_, place) in &placed {
        unmount(place, UnmountFlags::DETACH)?;
    }
    mount
}

fn make(root: BorrowedFd<'_>, path: &Path) -> Result<(), Errno> {
    match mkdirat(root, path, Mode::from_raw_mode(0o755)) {
        Err(Errno::EXIST) => Ok(()),
        result => result,
    }
}

/// A colon would end the path, and a backslash hides what comes after it.
fn escaped(path: &Path) -> String {
    let text = String::from_utf8_lossy(path.as_os_str().as_bytes());
    text.replace('\\', "\\\\").replace(':', "\\:")
}
