//! User namespaces: may this user make one, and does it carry capabilities?
//!
//! A namespace that can be made and yet can't mount is how AppArmor's restriction shows itself,
//! so the probe goes as far as a mount. [`blocker()`] then names what stands in the way.
//! `user_namespaces(7)`, `unshare(2)`.

use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use super::{Attempt, child};

mod blocker;

pub use blocker::Blocker;
use blocker::Facts;

const CREATE: usize = 0;
const MAP: usize = 1;
const MOUNT: usize = 2;

/// How far a new user namespace carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserNamespace {
    /// `unshare(CLONE_NEWUSER)`.
    pub create: Attempt,
    /// Mapping the caller's own user and group into it.
    pub map: Attempt,
    /// Mounting a tmpfs in a mount namespace that it owns, which takes a capability that counts.
    pub mount: Attempt,
    /// What stands in the way, if something does.
    pub blocker: Option<Blocker>,
}

/// Makes a user namespace in a child, maps the caller into it and mounts a tmpfs there.
pub fn probe() -> UserNamespace {
    let ids = Ids::own();
    let steps = child::attempt::<3>(child::LIMIT, |slots| {
        let created = slots.note(CREATE, unshare(libc::CLONE_NEWUSER));
        let mapped = created.and_then(|()| slots.note(MAP, ids.map()));
        if mapped.is_some() {
            slots.note(
                MOUNT,
                unshare(libc::CLONE_NEWNS).and_then(|()| cover_root()),
            );
        }
    });
    let [create, map, mount] = [CREATE, MAP, MOUNT].map(|at| steps.at(at));
    let refused = [create, map, mount].into_iter().find_map(Attempt::errno);
    let blocker = refused.map(|errno| Facts::gather().judge(create, errno));
    UserNamespace {
        create,
        map,
        mount,
        blocker,
    }
}

/// What keeps this user from a user namespace that works, or `None` when one does.
pub fn blocker() -> Option<Blocker> {
    probe().blocker
}

/// In a child: enters a new user namespace with the caller mapped, and `others` beside it.
pub(crate) fn enter(others: libc::c_int) -> Result<(), Errno> {
    let ids = Ids::own();
    unshare(libc::CLONE_NEWUSER)?;
    ids.map()?;
    if others & libc::CLONE_NEWNS == 0 {
        return unshare(others);
    }
    unshare(others)?;
    // Nothing that a probe mounts may travel back to the host.
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
}

/// In a child: leaves the namespaces of these kinds for new ones.
pub(super) fn unshare(flags: libc::c_int) -> Result<(), Errno> {
    // SAFETY: unshare changes the namespaces of this forked child and touches no memory.
    child::checked(unsafe { libc::unshare(flags) }.into()).map(drop)
}

fn cover_root() -> Result<(), Errno> {
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )?;
    mount("tmpfs", "/", "tmpfs", MountFlags::empty(), c"size=64k")
}

/// The caller's user and group, read before the namespace hides them.
struct Ids {
    user: u32,
    group: u32,
}

impl Ids {
    fn own() -> Self {
        Ids {
            user: rustix::process::geteuid().as_raw(),
            group: rustix::process::getegid().as_raw(),
        }
    }

    fn map(&self) -> Result<(), Errno> {
        let write = |file: &str, text: String| {
            let wrote = std::fs::write(format!("/proc/self/{file}"), text);
            wrote.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
        };
        // The files belong to root while the process may not be dumped.
        set_dumpable_behavior(DumpableBehavior::Dumpable)?;
        write("setgroups", "deny".to_owned())?;
        write("uid_map", format!("{0} {0} 1", self.user))?;
        write("gid_map", format!("{0} {0} 1", self.group))
    }
}
