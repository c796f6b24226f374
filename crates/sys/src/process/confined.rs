//! A program of somebody else's that is started with as little as it needs: a machine monitor.
//!
//! It gets its three streams, a folder, and nothing of this process's environment, descriptors and
//! terminal; it can't gain privileges by what it executes, and may have to die with this process.
//!
//! The kernel sends that signal when the *thread* ends that made the child (prctl(2),
//! `PR_SET_PDEATHSIG`), and threads of a pool end whenever they like. So all of them are made by
//! one thread, which is there as long as this process.

use crate::Errno;
use crate::seccomp::{NO_HOLES, install};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::Mode;
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, getppid, pidfd_open,
    set_parent_process_death_signal, setrlimit, setsid,
};
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{SyncSender, sync_channel};

/// What to start.
#[derive(Debug)]
pub struct Confined {
    /// The program.
    pub program: PathBuf,
    /// Its arguments, without its name.
    pub args: Vec<OsString>,
    /// The folder it starts in.
    pub folder: PathBuf,
    /// Standard output and error; there is no input.
    pub output: OwnedFd,
    /// See there.
    pub error: OwnedFd,
    /// How many descriptors it may have (getrlimit(2)).
    pub descriptors: u64,
    /// Whether it is killed when this process ends.
    pub dies_with_this: bool,
    /// Whether files stay as whole as they are: see [`NO_HOLES`].
    pub makes_no_holes: bool,
}

/// A process that is this one's child; whoever has this waits for it.
#[derive(Debug)]
pub struct Started {
    /// Its id, until it is waited for.
    pub pid: i32,
    /// Stays with this very process; readable once it has ended (pidfd_open(2)).
    pub pidfd: OwnedFd,
}

impl Confined {
    /// Starts it.
    ///
    /// # Errors
    /// What the kernel says: among others that there is no such program.
    pub fn start(self) -> io::Result<Started> {
        let (answer, answered) = sync_channel(1);
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        parent()?.send((self, answer)).map_err(|_| gone(()))?;
        answered.recv().map_err(|_| gone(()))?
    }

    fn spawn(self) -> io::Result<Started> {
        let own = rustix::process::getpid();
        let Self {
            descriptors,
            dies_with_this,
            makes_no_holes,
            ..
        } = self;
        let mut command = Command::new(self.program);
        command
            .args(self.args)
            .env_clear()
            .current_dir(self.folder)
            .stdin(Stdio::null())
            .stdout(self.output)
            .stderr(self.error);
        let confine = move || {
            setsid()?;
            if dies_with_this {
                set_parent_process_death_signal(Some(Signal::KILL))?;
                // It may have ended just before.
                if getppid() != Some(own) {
                    return Err(Errno::SRCH.into());
                }
            }
            // What it makes is its user's alone.
            rustix::process::umask(Mode::RWXG | Mode::RWXO);
            limit(Resource::Core, 0)?;
            limit(Resource::Nofile, descriptors)?;
            rustix::thread::set_no_new_privs(true)?;
            if makes_no_holes {
                install(&NO_HOLES, false)?;
            }
            super::close_on_exec_from(3)?;
            Ok(())
        };
        // SAFETY: between fork and exec it makes system calls and allocates nothing.
        unsafe { command.pre_exec(confine) };
        let child = command.spawn()?;
        let pid = Pid::from_child(&child);
        let pidfd = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
        // Dropping the standard library's handle neither kills nor waits.
        Ok(Started {
            pid: pid.as_raw_nonzero().get(),
            pidfd,
        })
    }
}

fn limit(what: Resource, most: u64) -> Result<(), Errno> {
    setrlimit(
        what,
        Rlimit {
            current: Some(most),
            maximum: Some(most),
        },
    )
}

type Wanted = (Confined, SyncSender<io::Result<Started>>);

/// The thread that makes them all.
fn parent() -> io::Result<&'static SyncSender<Wanted>> {
    static PARENT: OnceLock<SyncSender<Wanted>> = OnceLock::new();
    if let Some(parent) = PARENT.get() {
        return Ok(parent);
    }
    let (sender, wanted) = sync_channel::<Wanted>(16);
    std::thread::Builder::new()
        .name("parent".to_owned())
        .spawn(move || {
            for (confined, answer) in wanted {
                // Whoever asked waits for it.
                let _ = answer.send(confined.spawn());
            }
        })?;
    // A second one that was made at the same time ends with its sender.
    Ok(PARENT.get_or_init(|| sender))
}

/// How such a process ended, once it has: `Err` is the signal.
///
/// # Errors
/// EAGAIN if it runs; ECHILD if somebody has waited for it.
pub fn reap(pidfd: &OwnedFd) -> Result<Result<i32, i32>, Errno> {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    let status = waitid(WaitId::PidFd(pidfd.as_fd()), options)?.ok_or(Errno::AGAIN)?;
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Ok(Ok(code)),
        (None, Some(signal)) => Ok(Err(signal)),
        (None, None) => Err(Errno::AGAIN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, poll};
    use std::fs::File;
    use std::io::Read;

    fn run(script: &str) -> (String, Result<i32, i32>) {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let confined = Confined {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            folder: "/".into(),
            output: write.try_clone().unwrap(),
            error: write,
            descriptors: 20,
            dies_with_this: true,
            makes_no_holes: false,
        };
        let started = confined.start().unwrap();
        let mut said = String::new();
        File::from(read).read_to_string(&mut said).unwrap();
        poll(&mut [PollFd::new(&started.pidfd, PollFlags::IN)], None).unwrap();
        (said, reap(&started.pidfd).unwrap())
    }

    #[test]
    fn it_has_what_it_was_given_and_nothing_else() {
        use std::os::fd::AsRawFd;
        // A descriptor that a program would inherit.
        let open = rustix::io::dup(File::open("/").unwrap()).unwrap();
        let (said, status) = run(&format!(
            "grep NoNewPrivs /proc/self/status; ulimit -n; ulimit -c; umask; pwd; echo \"home: $HOME\"; \
             test -e /proc/$$/fd/2 && test ! -e /proc/$$/fd/{} && echo closed; \
             cut -d' ' -f6 /proc/$$/stat | grep -qx $$ && echo leads; exit 7",
            open.as_raw_fd()
        ));
        assert_eq!(
            said,
            "NoNewPrivs:\t1\n20\n0\n0077\n/\nhome: \nclosed\nleads\n"
        );
        assert_eq!(status, Ok(7));
    }

    #[test]
    fn a_signal_that_ends_it_is_known() {
        assert_eq!(run("kill -9 $$").1, Err(9));
    }

    #[test]
    fn it_outlives_the_thread_that_asked_for_it() {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let asked = std::thread::spawn(move || {
            let confined = Confined {
                program: "/bin/sh".into(),
                args: vec!["-c".into(), "sleep 0.3; echo alive".into()],
                folder: "/".into(),
                output: write.try_clone().unwrap(),
                error: write,
                descriptors: 20,
                dies_with_this: true,
                makes_no_holes: false,
            };
            confined.start().unwrap()
        });
        let started = asked.join().unwrap();
        let mut said = String::new();
        File::from(read).read_to_string(&mut said).unwrap();
        assert_eq!(said, "alive\n");
        poll(&mut [PollFd::new(&started.pidfd, PollFlags::IN)], None).unwrap();
        assert_eq!(reap(&started.pidfd), Ok(Ok(0)));
    }
}
