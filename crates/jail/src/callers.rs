//! Threads that call, and what is kept of those that did so last.
//!
//! A program that connects once often does so again, and each way into a process has to be opened
//! first, which takes as long as everything else that is done with it. What is kept can't come to
//! stand for another thread that gets the same number: a pidfd and a file below `/proc/<id>` belong
//! to one thread for ever, and every use of them fails when it has ended (ESRCH, ENOENT). Then they
//! are opened anew, by the number. A thread that executes another program stays the same one.

use casemate_sys::Errno;
use casemate_sys::seccomp::Listener;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::pread;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Threads of which something is kept; each takes up to two descriptors.
const MOST: usize = 16;

/// The listener, and what leads into those who call.
pub(crate) struct Callers {
    listener: Listener,
    /// The one that called last is the last one.
    recent: Mutex<Vec<Caller>>,
}

struct Caller {
    thread: u32,
    pidfd: OwnedFd,
    /// What is said of a descriptor with this number.
    fdinfo: Option<(i32, OwnedFd)>,
}

impl Callers {
    pub(crate) fn new(listener: Listener) -> Self {
        Self {
            listener,
            recent: Mutex::default(),
        }
    }

    pub(crate) fn listener(&self) -> &Listener {
        &self.listener
    }

    /// A copy of a thread's descriptor (pidfd_getfd(2)).
    pub(crate) fn take_socket(&self, thread: u32, number: i32) -> Result<OwnedFd, Errno> {
        let flags = PidfdGetfdFlags::empty();
        if let Some(caller) = self.recent().iter().rfind(|own| own.thread == thread) {
            match pidfd_getfd(&caller.pidfd, number, flags) {
                Err(Errno::SRCH) => {}
                result => return result,
            }
        }
        let (pidfd, own) = pidfd_of(thread)?;
        let socket = pidfd_getfd(&pidfd, number, flags);
        if own {
            self.keep(thread, pidfd);
        }
        socket
    }

    fn keep(&self, thread: u32, pidfd: OwnedFd) {
        let mut recent = self.recent();
        recent.retain(|own| own.thread != thread);
        if recent.len() >= MOST {
            recent.remove(0);
        }
        recent.push(Caller {
            thread,
            pidfd,
            fdinfo: None,
        });
    }

    /// What a thread's descriptor says of execve(2): `flags` in its fdinfo (proc(5)), in octal.
    pub(crate) fn closes_on_exec(&self, thread: u32, number: i32) -> Result<bool, Errno> {
        let mut recent = self.recent();
        let caller = recent.iter_mut().rfind(|own| own.thread == thread);
        let kept = caller.as_ref().and_then(|own| own.fdinfo.as_ref());
        if let Some((_, file)) = kept.filter(|own| own.0 == number)
            && let Ok(closes) = read_flags(file)
        {
            return Ok(closes);
        }
        let path = format!("/proc/{thread}/fdinfo/{number}");
        let file = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let closes = read_flags(&file)?;
        if let Some(caller) = caller {
            caller.fdinfo = Some((number, file));
        }
        Ok(closes)
    }

    fn recent(&self) -> MutexGuard<'_, Vec<Caller>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_flags(fdinfo: &OwnedFd) -> Result<bool, Errno> {
    // It is among the first lines, which come at once.
    let mut text = [0; 256];
    let length = pread(fdinfo, &mut text, 0)?;
    let text = std::str::from_utf8(&text[..length]).map_err(|_| Errno::BADF)?;
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    let flags = OFlags::from_bits_retain(flags.ok_or(Errno::BADF)?);
    Ok(flags.contains(OFlags::CLOEXEC))
}

/// What leads to the table of a thread, and whether it is the thread's own: a process's stands for
/// it no longer when the thread has ended.
fn pidfd_of(thread: u32) -> Result<(OwnedFd, bool), Errno> {
    // PIDFD_THREAD, which rustix doesn't name: any thread, with the table that it has.
    const THREAD: PidfdFlags = PidfdFlags::from_bits_retain(0x80);
    let pid = Pid::from_raw(thread as i32).ok_or(Errno::SRCH)?;
    // Before Linux 6.9 only of the leader, with whom threads share the table: the filter sees to
    // that.
    let own = pidfd_open(pid, THREAD).or_else(|_| pidfd_open(pid, PidfdFlags::empty()));
    match own {
        Ok(own) => Ok((own, true)),
        Err(_) => {
            let leader = leader(thread).ok_or(Errno::SRCH)?;
            Ok((pidfd_open(leader, PidfdFlags::empty())?, false))
        }
    }
}

/// The process of a thread.
pub(crate) fn leader(thread: u32) -> Option<Pid> {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    let id = status
        .lines()
        .find_map(|line| line.strip_prefix("Tgid:")?.trim().parse().ok())?;
    Pid::from_raw(id)
}
