//! A program that is started by one which has threads and goes on: the agent's commands.
//!
//! The child is a plain copy (fork(2)), not one that shares memory like vfork(2)'s: between
//! becoming another user and execve(2), that user may stop it, and would stop the parent with
//! it. After the copy another thread's locks stay taken for ever, so that the child only makes
//! system calls; all it needs is laid out before.
//!
//! What goes wrong in the child is told through a pipe, which execve(2) closes.

use super::{Clone, clone, exit_now};
use crate::{Errno, check};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use rustix::pipe::PipeFlags;
use std::ffi::CString;

/// A program, and what the process becomes before it runs it.
pub struct Command<'a> {
    /// The places where the program may be; the first that can be executed is.
    pub places: Vec<CString>,
    /// The arguments, the program's name first.
    pub args: Vec<CString>,
    /// The environment: `NAME=value`.
    pub env: Vec<CString>,
    /// The folder it starts in, found as the user that it runs as.
    pub folder: CString,
    /// Standard input, output and error.
    pub streams: [BorrowedFd<'a>; 3],
    /// Whether standard input becomes the controlling terminal of its new session.
    pub terminal: bool,
    /// Whom it runs as; the caller's user if absent.
    pub user: Option<User<'a>>,
}

/// A user and all of its groups.
#[derive(Debug, Clone, Copy)]
pub struct User<'a> {
    /// The user.
    pub uid: u32,
    /// The group of files that it makes.
    pub gid: u32,
    /// The supplementary groups.
    pub groups: &'a [u32],
}

/// A child that is on its way to its program.
pub struct Started {
    /// Its id.
    pub pid: i32,
    /// A descriptor that stays with this very process, readable once it has ended.
    pub pidfd: OwnedFd,
    /// Tells whether the program runs.
    pub news: News,
}

/// The pipe that execve(2) closes; it doesn't block.
pub struct News(OwnedFd);

/// A step that a child failed at. It has ended, and is there to be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// Which.
    pub step: Step,
    /// Why.
    pub errno: Errno,
}

/// What a child does, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// A session of its own, and its terminal.
    Session = 1,
    /// Standard input, output and error.
    Streams,
    /// Descriptors of the parent's.
    Descriptors,
    /// Groups and user.
    User,
    /// The folder.
    Folder,
    /// The program.
    Program,
}

impl AsFd for News {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for News {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// What is read here is the news of the child that writes there.
pub(super) fn pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
}

impl From<OwnedFd> for News {
    fn from(pipe: OwnedFd) -> Self {
        Self(pipe)
    }
}

impl News {
    /// `None` if the program runs; EAGAIN if it isn't known yet.
    pub fn read(&self) -> Result<Option<Failure>, Errno> {
        let mut told = [0u8; 5];
        if rustix::io::read(&self.0, &mut told)? == 0 {
            return Ok(None);
        }
        let [step, errno @ ..] = told;
        let step = match step {
            1 => Step::Session,
            2 => Step::Streams,
            3 => Step::Descriptors,
            4 => Step::User,
            5 => Step::Folder,
            _ => Step::Program,
        };
        let errno = Errno::from_raw_os_error(i32::from_ne_bytes(errno));
        Ok(Some(Failure { step, errno }))
    }
}

impl Command<'_> {
    /// Starts it: a new session, default signals, mask 022, nice 0, middling in line for the
    /// disk, ahead of the parent when memory runs out, and with no descriptor but its streams.
    ///
    /// The caller's streams are above 2; EINVAL otherwise.
    pub fn start(&self) -> Result<Started, Errno> {
        if self.places.is_empty() || self.streams.iter().any(|s| s.as_raw_fd() <= 2) {
            return Err(Errno::INVAL);
        }
        let (read, write) = pipe()?;
        let laid_out = self.lay_out();
        match clone(0, None)? {
            Clone::Parent(child) => Ok(Started {
                pid: child.pid,
                pidfd: child.pidfd,
                news: News(read),
            }),
            Clone::Child => self.become_program(&laid_out, write.as_fd()),
        }
    }

    pub(super) fn lay_out(&self) -> LaidOut {
        LaidOut {
            args: super::pointers(&self.args),
            env: super::pointers(&self.env),
        }
    }

    /// In the child, whose news are told here.
    pub(super) fn become_program(&self, laid_out: &LaidOut, news: BorrowedFd<'_>) -> ! {
        let failure = self.run(laid_out);
        let [a, b, c, d] = failure.errno.raw_os_error().to_ne_bytes();
        // Fits into an empty pipe; without a reader there is nobody to tell.
        let _ = rustix::io::write(news, &[failure.step as u8, a, b, c, d]);
        exit_now(127)
    }

    /// In the child. Returns only if it failed.
    fn run(&self, laid_out: &LaidOut) -> Failure {
        let at = |step| move |errno| Failure { step, errno };
        let steps = || {
            rustix::process::setsid().map_err(at(Step::Session))?;
            self.streams().map_err(at(Step::Streams))?;
            if self.terminal {
                rustix::process::ioctl_tiocsctty(self.streams[0]).map_err(at(Step::Session))?;
            }
            be_ordinary();
            super::close_on_exec_from(3).map_err(at(Step::Descriptors))?;
            if let Some(user) = &self.user {
                user.become_it().map_err(at(Step::User))?;
            }
            rustix::process::chdir(&self.folder).map_err(at(Step::Folder))
        };
        match steps() {
            Ok(()) => at(Step::Program)(self.execute(laid_out)),
            Err(failure) => failure,
        }
    }

    fn streams(&self) -> Result<(), Errno> {
        for (stream, number) in self.streams.iter().zip(0..) {
            // SAFETY: replaces a standard stream of this process, which is a copy that owns
            // nothing.
            check(unsafe { libc::dup2(stream.as_raw_fd(), number) }.into())?;
        }
        Ok(())
    }

    /// Tries each place as execvp(3) does: one that is absent or closed doesn't hide the next,
    /// but if all fail, "not permitted" says more than "not found".
    fn execute(&self, laid_out: &LaidOut) -> Errno {
        let mut worst = Errno::NOENT;
        for place in &self.places {
            let (args, env) = (laid_out.args.as_ptr(), laid_out.env.as_ptr());
            // SAFETY: both arrays hold pointers to C strings that outlive the call, and end in
            // null.
            let result = unsafe { libc::execve(place.as_ptr(), args, env) };
            match check(result.into()) {
                Err(Errno::ACCESS) => worst = Errno::ACCESS,
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(errno) => return errno,
                Ok(_) => return Errno::IO,
            }
        }
        worst
    }
}

/// What execve(2) takes, laid out by the parent.
pub(super) struct LaidOut {
    args: Vec<*const libc::c_char>,
    env: Vec<*const libc::c_char>,
}

impl User<'_> {
    /// System calls and not the C library's functions of the same names, which would have all
    /// threads follow.
    fn become_it(&self) -> Result<(), Errno> {
        let Self { uid, gid, groups } = *self;
        // SAFETY: plain system calls; the list has as many groups as is said.
        unsafe {
            check(libc::syscall(
                libc::SYS_setgroups,
                groups.len(),
                groups.as_ptr(),
            ))?;
            check(libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
            check(libc::syscall(libc::SYS_setresuid, uid, uid, uid))?;
        }
        Ok(())
    }
}

/// What a command expects of its process, whatever the parent's is like. Nothing here is a
/// wall, so that a kernel which refuses is obeyed.
fn be_ordinary() {
    const WHO_PROCESS: libc::c_int = 1;
    const BEST_EFFORT_4: libc::c_int = 2 << 13 | 4;
    /// The kernel's `struct sigaction`: handler, flags, restorer, mask.
    const DEFAULT: [u64; 4] = [0; 4];
    let own = c"/proc/self/oom_score_adj";
    // Of a process that hides its memory, and its copies, this file is root's.
    if let Ok(file) = rustix::fs::open(
        own,
        rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    ) {
        let _ = rustix::io::write(&file, b"100");
    }
    // SAFETY: plain system calls on this process: its place in line for disk and processor, its
    // mask for new files, its signals; zeroes are SIG_DFL, and an empty set is valid.
    unsafe {
        libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, BEST_EFFORT_4);
        libc::syscall(libc::SYS_setpriority, libc::PRIO_PROCESS, 0, 0);
        libc::umask(0o022);
        // The C library keeps two signals to itself, and doesn't touch them if asked.
        for signal in 1..=64 {
            let (default, size) = (DEFAULT.as_ptr(), size_of::<u64>());
            let before = std::ptr::null_mut::<u64>();
            libc::syscall(libc::SYS_rt_sigaction, signal, default, before, size);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, poll};
    use std::fs::File;
    use std::io::Read;

    fn c(text: &str) -> CString {
        CString::new(text).unwrap()
    }

    /// Runs it with its output in a pipe.
    fn output(places: &[&str], args: &[&str], folder: &str) -> Result<String, Failure> {
        let null = File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .unwrap();
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
        let command = Command {
            places: places.iter().map(|p| c(p)).collect(),
            args: args.iter().map(|a| c(a)).collect(),
            env: vec![c("A=1"), c("PATH=/usr/bin:/bin")],
            folder: c(folder),
            streams: [null.as_fd(), write.as_fd(), write.as_fd()],
            terminal: false,
            user: None,
        };
        let started = command.start().unwrap();
        drop(write);
        let mut waited = [PollFd::new(&started.news, PollFlags::IN)];
        poll(&mut waited, None).unwrap();
        let failure = started.news.read().unwrap();
        let mut text = String::new();
        File::from(read).read_to_string(&mut text).unwrap();
        let options = rustix::process::WaitIdOptions::EXITED;
        rustix::process::waitid(
            rustix::process::WaitId::PidFd(started.pidfd.as_fd()),
            options,
        )
        .unwrap();
        failure.map_or(Ok(text), Err)
    }

    fn shell(script: &str) -> String {
        output(&["/bin/sh"], &["sh", "-c", script], "/").unwrap()
    }

    #[test]
    fn it_has_its_environment_folder_and_session() {
        assert_eq!(shell("echo $A; pwd; umask"), "1\n/\n0022\n");
        assert_eq!(
            shell("test \"$(cut -d' ' -f6 /proc/$$/stat)\" = $$ && echo leads"),
            "leads\n"
        );
    }

    #[test]
    fn it_has_no_descriptor_of_ours() {
        let _ours = File::open("/dev/null").unwrap();
        let kept = File::open("/dev/null").unwrap();
        rustix::io::fcntl_setfd(&kept, rustix::io::FdFlags::empty()).unwrap();
        assert_eq!(shell("ls /proc/$$/fd"), "0\n1\n2\n");
    }

    #[test]
    fn it_is_ordinary() {
        assert_eq!(shell("cat /proc/$$/oom_score_adj"), "100\n");
        let ignored = shell("grep -E 'Sig(Ign|Blk)' /proc/self/status");
        assert!(
            ignored
                .lines()
                .all(|line| line.ends_with("0000000000000000")),
            "{ignored}"
        );
    }

    #[test]
    fn a_failure_names_its_step() {
        let missing = Failure {
            step: Step::Program,
            errno: Errno::NOENT,
        };
        assert_eq!(
            output(&["/nowhere/a", "/nowhere/b"], &["a"], "/"),
            Err(missing)
        );
        let closed = Failure {
            step: Step::Program,
            errno: Errno::ACCESS,
        };
        assert_eq!(
            output(&["/etc/passwd", "/nowhere/b"], &["a"], "/"),
            Err(closed)
        );
        let folder = Failure {
            step: Step::Folder,
            errno: Errno::NOENT,
        };
        assert_eq!(output(&["/bin/sh"], &["sh"], "/nowhere"), Err(folder));
    }

    #[test]
    fn a_place_that_fails_does_not_hide_the_next() {
        let text = output(
            &["/nowhere/sh", "/etc/passwd", "/bin/sh"],
            &["sh", "-c", "echo ok"],
            "/",
        );
        assert_eq!(text.as_deref(), Ok("ok\n"));
    }
}
