//! The supervisor's end of user notification (seccomp_unotify(2)).
//!
//! A call about which something is decided never continues on its own: the arguments are in memory
//! that another thread of the program may change after it was looked at. It is answered by a
//! result, and if something is to be done, the supervisor does it. What is let go on is a call of
//! which the supervisor only wants to know ([`Action::Note`](super::Action::Note)), and knows it
//! from registers.

use crate::{Errno, check};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// `struct seccomp_notif`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Notification {
    /// Names this call until it is answered.
    pub id: u64,
    /// The thread that made it, in the supervisor's pid namespace.
    pub pid: u32,
    flags: u32,
    /// The call.
    pub call: Request,
}

/// `struct seccomp_data`: a system call as the filter sees it.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Request {
    /// The call's number.
    pub nr: i32,
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    /// Where the call was made.
    pub instruction_pointer: u64,
    /// Its arguments.
    pub args: [u64; 6],
}

/// `struct seccomp_notif_resp`.
#[repr(C)]
struct Response {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// `struct seccomp_notif_addfd`.
#[repr(C)]
struct AddFd {
    id: u64,
    flags: u32,
    source: u32,
    target: u32,
    target_flags: u32,
}

const RECV: libc::Ioctl = 0xc050_2100;
const SEND: libc::Ioctl = 0xc018_2101;
const ID_VALID: libc::Ioctl = 0x4008_2102;
const ADD_FD: libc::Ioctl = 0x4018_2103;
const SET_FLAGS: libc::Ioctl = 0x4008_2104;

/// Reads calls and answers them.
pub struct Listener(OwnedFd);

impl From<OwnedFd> for Listener {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Listener {
    /// Asks the kernel to run the answered thread on the same CPU at once (Linux 6.6), which
    /// makes an answer three times as fast. An older kernel says no, which is fine.
    pub fn wake_synchronously(&self) {
        // SAFETY: takes a number in place of a pointer.
        unsafe { libc::ioctl(self.0.as_raw_fd(), SET_FLAGS, 1u64) };
    }

    /// The next call; `None` if the thread was killed before it could be read.
    pub fn receive(&self) -> Result<Option<Notification>, Errno> {
        let mut notification = Notification::default();
        // SAFETY: notification is a zeroed seccomp_notif, as the kernel wants it.
        match check(unsafe { libc::ioctl(self.0.as_raw_fd(), RECV, &raw mut notification) }.into())
        {
            Ok(_) => Ok(Some(notification)),
            Err(Errno::NOENT | Errno::INTR) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// True if the call still waits for an answer, and so its pid still names its thread.
    pub fn is_valid(&self, id: u64) -> bool {
        // SAFETY: the kernel reads one u64.
        check(unsafe { libc::ioctl(self.0.as_raw_fd(), ID_VALID, &raw const id) }.into()).is_ok()
    }

    /// Puts a copy of a descriptor of ours in the place of the caller's own number `target`
    /// (Linux 5.9, SECCOMP_ADDFD_FLAG_SETFD), as dup2(2) would in the caller: what the number
    /// named before is closed there, and lives on if something else leads to it
    /// ([`crate::sole`]). The caller is still inside its call; [`answer`](Self::answer) follows.
    ///
    /// The replacement itself is atomic: another thread of the program sees the old file or the
    /// new one. Between it and the answer other threads can use the new file, and if the program
    /// meanwhile opened something else as `target`, that is what it loses; both only concern the
    /// program. NOENT says that the caller is gone. (The kernel can do both at once,
    /// SECCOMP_ADDFD_FLAG_SEND; but then the call returns the number, and connect(2) has to
    /// return 0.)
    pub fn install(
        &self,
        id: u64,
        source: BorrowedFd<'_>,
        target: i32,
        close_on_exec: bool,
    ) -> Result<(), Errno> {
        const SET_FD: u32 = 1;
        let target_flags = if close_on_exec { libc::O_CLOEXEC } else { 0 };
        let add = AddFd {
            id,
            flags: SET_FD,
            source: source.as_raw_fd() as u32,
            target: target as u32,
            target_flags: target_flags as u32,
        };
        // SAFETY: add is a whole seccomp_notif_addfd.
        let added =
            check(unsafe { libc::ioctl(self.0.as_raw_fd(), ADD_FD, &raw const add) }.into())?;
        if added == libc::c_long::from(target) {
            Ok(())
        } else {
            Err(Errno::IO)
        }
    }

    /// Lets a call be made after all (SECCOMP_USER_NOTIF_FLAG_CONTINUE, Linux 5.5): only one of
    /// which nothing was decided, and nothing read but registers.
    pub fn let_go_on(&self, id: u64) {
        const CONTINUE: u32 = 1;
        let response = Response {
            id,
            value: 0,
            error: 0,
            flags: CONTINUE,
        };
        // SAFETY: response is a whole seccomp_notif_resp.
        unsafe { libc::ioctl(self.0.as_raw_fd(), SEND, &raw const response) };
    }

    /// Answers a call with a result. A thread that was killed meanwhile needs no answer.
    pub fn answer(&self, id: u64, result: Result<i64, Errno>) {
        let response = match result {
            Ok(value) => Response {
                id,
                value,
                error: 0,
                flags: 0,
            },
            Err(errno) => Response {
                id,
                value: 0,
                error: -errno.raw_os_error(),
                flags: 0,
            },
        };
        // SAFETY: response is a whole seccomp_notif_resp.
        unsafe { libc::ioctl(self.0.as_raw_fd(), SEND, &raw const response) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::Channel;
    use crate::probe::child;
    use crate::seccomp::{Instruction, install};
    use rustix::fd::FromRawFd;
    use rustix::net::{AddressFamily, SocketType, socket};
    use std::net::{TcpListener, TcpStream};

    /// One call is asked for, the rest allowed.
    fn program(call: libc::c_long) -> [Instruction; 4] {
        let op = |code, k, jf| Instruction { code, jt: 0, jf, k };
        [
            op(0x20, 0, 0),
            op(0x15, call as u32, 1),
            op(0x06, libc::SECCOMP_RET_USER_NOTIF, 0),
            op(0x06, libc::SECCOMP_RET_ALLOW, 0),
        ]
    }

    /// The program's side: a connect(2) to nowhere, and then what the number names.
    fn connects_and_greets(socket: i32) -> bool {
        let nowhere = rustix::net::SocketAddrV4::new([203, 0, 113, 1].into(), 1);
        // SAFETY: the number is a socket that this forked process alone uses.
        let socket = unsafe { OwnedFd::from_raw_fd(socket) };
        let connected = rustix::net::connect(&socket, &nowhere).is_ok();
        let flags = rustix::io::fcntl_getfd(&socket).unwrap();
        connected
            && flags.contains(rustix::io::FdFlags::CLOEXEC)
            && rustix::io::write(&socket, b"hello") == Ok(5)
    }

    #[test]
    fn a_connected_socket_takes_the_place_of_the_programs_own() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let (ours, theirs) = Channel::pair().unwrap();
        let target = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        let number = target.as_raw_fd();
        let child = child::fork(|| {
            rustix::thread::set_no_new_privs(true).unwrap();
            let listener = install(&program(libc::SYS_connect), true).unwrap().unwrap();
            theirs.send(b"l", &[listener.as_fd()]).unwrap();
            drop(listener);
            let fine = connects_and_greets(number);
            crate::process::exit_now(if fine { 0 } else { 1 });
        })
        .unwrap();
        let listener = Listener::from(ours.receive().unwrap().unwrap().fds.remove(0));
        let call = listener.receive().unwrap().unwrap();
        assert_eq!(call.call.args[0] as i32, number);
        let connected = TcpStream::connect(server.local_addr().unwrap()).unwrap();
        listener
            .install(call.id, connected.as_fd(), number, true)
            .unwrap();
        listener.answer(call.id, Ok(0));
        let (mut accepted, _) = server.accept().unwrap();
        drop(connected);
        let mut text = String::new();
        std::io::Read::read_to_string(&mut accepted, &mut text).unwrap();
        assert_eq!(text, "hello");
        assert_eq!(child::reap(child).unwrap().exit_status(), Some(0));
        // The caller is gone, and nothing is installed anywhere.
        let again = listener.install(call.id, accepted.as_fd(), number, true);
        assert_eq!(again, Err(Errno::NOENT));
    }

    #[test]
    fn a_call_that_is_only_told_of_is_made() {
        let (ours, theirs) = Channel::pair().unwrap();
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        let child = child::fork(|| {
            rustix::thread::set_no_new_privs(true).unwrap();
            let filter = program(libc::SYS_setsockopt);
            let listener = install(&filter, true).unwrap().unwrap();
            theirs.send(b"l", &[listener.as_fd()]).unwrap();
            drop(listener);
            rustix::net::sockopt::set_ip_ttl(&socket, 33).unwrap();
            let ttl = rustix::net::sockopt::ip_ttl(&socket);
            crate::process::exit_now(if ttl == Ok(33) { 0 } else { 1 });
        })
        .unwrap();
        let listener = Listener::from(ours.receive().unwrap().unwrap().fds.remove(0));
        let call = listener.receive().unwrap().unwrap();
        let told = [libc::IPPROTO_IP, libc::IP_TTL].map(|number| number as u64);
        assert_eq!(call.call.args[1..3], told);
        listener.let_go_on(call.id);
        assert_eq!(child::reap(child).unwrap().exit_status(), Some(0));
    }
}
