//! What a process gives up for good: capabilities, new privileges, its keyring.

use crate::{Errno, check};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    configure_capability_in_ambient_set, set_capabilities, set_capabilities_secure_bits,
};

/// Empties the sets that count for this process, which will execute nothing.
pub fn drop_capabilities() -> Result<(), Errno> {
    keep(CapabilitySet::empty())
}

/// The same, but for the right to signal processes of other users of this user namespace.
pub fn keep_kill() -> Result<(), Errno> {
    keep(CapabilitySet::KILL)
}

fn keep(kept: CapabilitySet) -> Result<(), Errno> {
    set_capabilities(
        None,
        CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: CapabilitySet::empty(),
        },
    )
}

/// Empties every capability set, the bounding set included, and locks root's special treatment
/// out, so that no later execve(2) brings one back (capabilities(7)).
pub fn drop_capabilities_for_good() -> Result<(), Errno> {
    keep_for_good(CapabilitySet::empty())
}

/// The same, but for the right to make namespaces, which this process keeps for itself.
pub fn keep_namespaces_for_good() -> Result<(), Errno> {
    keep_for_good(CapabilitySet::SYS_ADMIN)
}

fn keep_for_good(kept: CapabilitySet) -> Result<(), Errno> {
    let bits = CapabilitiesSecureBits::NO_ROOT
        | CapabilitiesSecureBits::NO_ROOT_LOCKED
        | CapabilitiesSecureBits::NO_SETUID_FIXUP
        | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
        | CapabilitiesSecureBits::KEEP_CAPS_LOCKED
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED;
    set_capabilities_secure_bits(bits)?;
    drop_from_bounding_set(CapabilitySet::empty())?;
    clear_ambient_capability_set()?;
    keep(kept)
}

/// Lets a program that is executed next keep every capability of this process (capabilities(7),
/// the ambient set). For a program of ours in a user namespace of its own: its user isn't root
/// there, and would lose them.
pub fn hand_on_capabilities() -> Result<(), Errno> {
    let own = rustix::thread::capabilities(None)?.permitted;
    set_capabilities(
        None,
        CapabilitySets {
            effective: own,
            permitted: own,
            inheritable: own,
        },
    )?;
    for capability in own.iter() {
        configure_capability_in_ambient_set(capability, true)?;
    }
    Ok(())
}

/// What root of a sandbox may do beyond others: with files whatever their mode says, with their
/// owners, with users, and with processes of others. All of it ends at the user namespace: what
/// isn't one of its users' is out of reach.
const ROOTS: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::NET_BIND_SERVICE);

/// Keeps what root of a sandbox may do, in the bounding set too, so that no later execve(2) brings
/// more (capabilities(7)). Nothing is inherited by programs that aren't root's.
pub fn keep_roots_capabilities() -> Result<(), Errno> {
    drop_from_bounding_set(ROOTS)?;
    clear_ambient_capability_set()?;
    keep(ROOTS)
}

/// Takes all but these out of the bounding set.
fn drop_from_bounding_set(kept: CapabilitySet) -> Result<(), Errno> {
    for capability in 0..64 {
        if kept.bits() & 1 << capability != 0 {
            continue;
        }
        // SAFETY: takes a number; EINVAL is the end of the kernel's list.
        match check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) }.into()) {
            Ok(_) => {}
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// No program executed from here on gains privileges by set-id bits or file capabilities.
pub fn no_new_privileges() -> Result<(), Errno> {
    rustix::thread::set_no_new_privs(true)
}

/// Replaces the session keyring by an empty one (keyctl(2), KEYCTL_JOIN_SESSION_KEYRING).
///
/// A kernel without keyrings has nothing to replace, which is success.
pub fn fresh_session_keyring() -> Result<(), Errno> {
    const JOIN_SESSION_KEYRING: libc::c_int = 1;
    let none = std::ptr::null::<libc::c_char>();
    // SAFETY: a null name asks for an anonymous keyring.
    match check(unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, none) }) {
        Ok(_) | Err(Errno::NOSYS) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Hides this process's memory, environment and descriptors from others of the same user
/// (PR_SET_DUMPABLE in prctl(2)).
pub fn undumpable() -> Result<(), Errno> {
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
}

/// The opposite of [`undumpable`]: for a moment in which this process writes to its own files in
/// /proc, which belong to nobody inside as long as it is hidden.
pub fn dumpable() -> Result<(), Errno> {
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)
}

/// Becomes a user and group without supplementary groups, and keeps its capabilities
/// (setresuid(2)). The caller has one thread: the system calls change only that.
pub fn become_user(uid: u32, gid: u32) -> Result<(), Errno> {
    // SAFETY: plain system calls; a count of 0 makes the list pointer unused.
    unsafe {
        check(libc::syscall(
            libc::SYS_setgroups,
            0,
            std::ptr::null::<libc::gid_t>(),
        ))?;
        check(libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
        check(libc::syscall(libc::SYS_setresuid, uid, uid, uid))?;
    }
    Ok(())
}
