//! Seccomp: a filter, and the notifier that asks a supervisor about a call.
//!
//! `seccomp(2)`, `seccomp_unotify(2)`. The trapped call is `getppid(2)`: it can't fail by
//! itself, takes no argument, and nothing here needs it.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::{Attempt, child};

/// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP` of linux/seccomp.h.
const SYNC_WAKE_UP: u64 = 1;
/// What the supervisor hands to the target through the descriptor that it adds.
const TOKEN: u8 = b'k';

/// A plain filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// A filter was installed and changed what a call answers.
    pub holds: Attempt,
    /// Filters that already lie on this process; `None` if the kernel doesn't count them.
    pub present: Option<u32>,
}

/// The notifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notifier {
    /// Installing a listener (Linux 5.0; `EBUSY` where one lies further out).
    pub listen: Attempt,
    /// A call was received, answered, and the target saw the answer.
    pub answer: Attempt,
    /// A descriptor was added to the target, which read from it (Linux 5.9).
    pub add_fd: Attempt,
    /// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP` (Linux 6.6): four times faster hand-over.
    pub sync_wake_up: Attempt,
    /// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV` (Linux 5.19): a signal doesn't restart the call.
    pub wait_killable: Attempt,
}

/// Installs a filter in a child and makes the call that it refuses.
pub fn filter() -> Filter {
    let steps = child::attempt::<1>(child::LIMIT, |slots| {
        let refused = libc::SECCOMP_RET_ERRNO | libc::ENOTNAM as u32;
        let installed = install(refused, 0).and_then(|_| match trapped() {
            Err(Errno::NOTNAM) => Ok(()),
            Err(other) => Err(other),
            Ok(_) => Err(Errno::OPNOTSUPP),
        });
        slots.note(0, installed);
    });
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    Filter {
        holds: steps.at(0),
        present: field(&status, "Seccomp_filters:"),
    }
}

/// Installs a listener, forks a target under it, and serves the target's one call.
pub fn notifier() -> Notifier {
    const LISTEN: usize = 0;
    const ANSWER: usize = 1;
    const ADD_FD: usize = 2;
    const SYNC: usize = 3;
    const KILLABLE: usize = 4;
    let steps = child::attempt::<5>(child::LIMIT, |slots| {
        let Ok((reader, writer)) = pipe_with(PipeFlags::CLOEXEC) else {
            return;
        };
        let killable = listener(libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV);
        let listener = match slots.note(KILLABLE, killable) {
            Some(listener) => Ok(listener),
            None => listener(0),
        };
        let Some(listener) = slots.note(LISTEN, listener) else {
            return;
        };
        slots.note(SYNC, sync_wake_up(&listener));
        let Ok(target) = child::fork(|| {
            slots.note(ANSWER, target());
        }) else {
            return;
        };
        let wrote = rustix::io::write(&writer, &[TOKEN]);
        slots.note(ADD_FD, wrote.and_then(|_| serve(&listener, &reader)));
        // A target that was not served gets its answer when the listener is closed.
        drop(listener);
        let _ = child::reap(target);
    });
    Notifier {
        listen: steps.at(LISTEN),
        answer: steps.at(ANSWER),
        add_fd: steps.at(ADD_FD),
        sync_wake_up: steps.at(SYNC),
        wait_killable: steps.at(KILLABLE),
    }
}

/// The `Seccomp:` mode in the text of `/proc/self/status`: 0 none, 1 strict, 2 filter.
pub(super) fn mode(status: &str) -> Option<u32> {
    field(status, "Seccomp:")
}

fn field(status: &str, name: &str) -> Option<u32> {
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().parse().ok()
}

/// The target's half: the answer is the number of a descriptor that holds the token.
fn target() -> Result<(), Errno> {
    let answered = trapped()?;
    // SAFETY: the supervisor opened this descriptor for us and nothing else here owns it; were
    // the number not a descriptor of ours, reading from it fails.
    let mut added = unsafe { File::from_raw_fd(answered) };
    let mut token = [0];
    let read = added.read_exact(&mut token);
    (read.is_ok() && token[0] == TOKEN)
        .then_some(())
        .ok_or(Errno::BADF)
}

fn trapped() -> Result<i32, Errno> {
    // SAFETY: getppid takes no argument and touches no memory.
    child::checked(unsafe { libc::syscall(libc::SYS_getppid) })
}

fn listener(extra: libc::c_ulong) -> Result<OwnedFd, Errno> {
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | extra;
    let raw: RawFd = install(libc::SECCOMP_RET_USER_NOTIF, flags)?;
    // SAFETY: the kernel just made this descriptor for us; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// Lets `action` befall getppid in this process and what it forks.
fn install(action: u32, flags: libc::c_ulong) -> Result<i32, Errno> {
    rustix::thread::set_no_new_privs(true)?;
    let getppid = u32::try_from(libc::SYS_getppid).map_err(|_| Errno::INVAL)?;
    let mut program = [
        // The number of the call, at offset 0 of struct seccomp_data.
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, getppid, 1),
        step(libc::BPF_RET | libc::BPF_K, action, 0),
        step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0),
    ];
    let program = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    let set = libc::SECCOMP_SET_MODE_FILTER;
    // SAFETY: `program` names its own instructions by length, and both outlive the call.
    child::checked(unsafe { libc::syscall(libc::SYS_seccomp, set, flags, &raw const program) })
}

/// One instruction; `skip` is how far a comparison that fails jumps.
fn step(code: u32, operand: u32, skip: u8) -> libc::sock_filter {
    libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: skip,
        k: operand,
    }
}

fn sync_wake_up(listener: &OwnedFd) -> Result<(), Errno> {
    let fd = listener.as_raw_fd();
    // SAFETY: this request takes its flags by value.
    child::checked(
        unsafe { libc::ioctl(fd, libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, SYNC_WAKE_UP) }.into(),
    )
    .map(drop)
}

/// The supervisor's half: receive the call, add `gift` to the target, answer with its number.
fn serve(listener: &OwnedFd, gift: &OwnedFd) -> Result<(), Errno> {
    // SAFETY: all zeroes is a valid value of this plain structure, and the one that is asked for.
    let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    request(listener, libc::SECCOMP_IOCTL_NOTIF_RECV, &mut call)?;
    let mut add = libc::seccomp_notif_addfd {
        id: call.id,
        flags: 0,
        srcfd: gift.as_raw_fd().unsigned_abs(),
        newfd: 0,
        newfd_flags: libc::O_CLOEXEC as u32,
    };
    let added = request(listener, libc::SECCOMP_IOCTL_NOTIF_ADDFD, &mut add)?;
    let mut answer = libc::seccomp_notif_resp {
        id: call.id,
        val: added.into(),
        error: 0,
        flags: 0,
    };
    request(listener, libc::SECCOMP_IOCTL_NOTIF_SEND, &mut answer).map(drop)
}

fn request<T>(listener: &OwnedFd, request: libc::Ioctl, argument: &mut T) -> Result<i32, Errno> {
    let (fd, at) = (listener.as_raw_fd(), std::ptr::from_mut(argument));
    // SAFETY: each caller passes the plain structure that its request is defined for, and the
    // kernel reads or writes exactly that.
    child::checked(unsafe { libc::ioctl(fd, request, at) }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_tells_mode_and_count() {
        let status = "Name:\tcat\nNoNewPrivs:\t0\nSeccomp:\t2\nSeccomp_filters:\t3\n";
        assert_eq!(mode(status), Some(2));
        assert_eq!(field(status, "Seccomp_filters:"), Some(3));
        assert_eq!(field("Seccomp:\t0\n", "Seccomp_filters:"), None);
    }
}
