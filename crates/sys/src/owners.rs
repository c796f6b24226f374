//! Which processes hold a socket, found by reading `/proc/<pid>/fd` (proc(5)).
//!
//! A socket is held by everyone who inherited or was sent its descriptor, so all processes of a
//! sandbox are looked at, and no others. How many there are and what they have open is up to the
//! sandbox: each search has a bound, and one that meets it is an error, not half an answer. A
//! descriptor on its way between two processes, in a message that nobody has read, isn't seen.

use crate::Errno;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir, fstat, openat, readlinkat_raw, statat};
use rustix::io::{read, retry_on_intr};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::collections::VecDeque;
use std::ffi::CStr;
use std::mem::MaybeUninit;

/// Threads of one process that are looked at.
const MOST_THREADS: usize = 10_000;

/// A `/proc`: the host's, or that of a sandbox, with the numbers of its pid namespace.
pub struct Processes(OwnedFd);

impl From<OwnedFd> for Processes {
    fn from(proc: OwnedFd) -> Self {
        Self(proc)
    }
}

impl Processes {
    /// The caller's own `/proc`.
    pub fn own() -> Result<Self, Errno> {
        folder(CWD, "/proc").map(Self)
    }

    /// Every process, but for those that were made meanwhile; E2BIG if there are more than
    /// `most`.
    pub fn all(&self, most: usize) -> Result<Vec<i32>, Errno> {
        let mut pids = Vec::new();
        numbers(&folder(self.0.as_fd(), ".")?, |pid, _| {
            pids.push(pid);
            within(pids.len(), most)
        })?;
        Ok(pids)
    }

    /// A process and all below it. In a pid namespace the orphans are init's children, so from
    /// init it is everyone, but for those that were made or handed on while it was read. ENOENT
    /// on a kernel without `CONFIG_PROC_CHILDREN`.
    pub fn below(&self, root: i32, most: usize) -> Result<Vec<i32>, Errno> {
        let mut pids = vec![root];
        let mut unread = VecDeque::from([root]);
        while let Some(pid) = unread.pop_front() {
            match self.children(pid, most + 1 - pids.len()) {
                Ok(children) => {
                    pids.extend(&children);
                    unread.extend(children);
                    within(pids.len(), most)?;
                }
                // It ended since its parent was read.
                Err(Errno::NOENT | Errno::SRCH) if pid != root => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(pids)
    }

    pub(crate) fn children(&self, pid: i32, most: usize) -> Result<Vec<i32>, Errno> {
        let mut children = Vec::new();
        for thread in self.threads(pid, MOST_THREADS)? {
            // A number of at most ten digits and a space.
            let text = match self.file(&format!("{pid}/task/{thread}/children"), most * 11) {
                // A thread that ended left its children to another of its process.
                Err(Errno::NOENT | Errno::SRCH) if thread != pid => continue,
                result => result?,
            };
            for child in text.split_ascii_whitespace() {
                children.push(child.parse().map_err(|_| Errno::BADMSG)?);
            }
            within(children.len(), most)?;
        }
        Ok(children)
    }

    /// Those of `pids` that hold the socket with this inode, looking at no more than `most`
    /// descriptors in all, those of each thread counted (E2BIG). A process that has ended holds nothing; one that may not be
    /// looked into is an error.
    pub fn holding(&self, pids: &[i32], inode: u64, most: usize) -> Result<Vec<i32>, Errno> {
        let (mut seen, mut holders) = (0, Vec::new());
        let wanted = format!("socket:[{inode}]");
        for pid in pids {
            let mut holds = false;
            self.descriptors(*pid, |_, target| {
                seen += 1;
                holds |= target == wanted.as_bytes();
                within(seen, most)
            })?;
            if holds {
                holders.push(*pid);
            }
        }
        Ok(holders)
    }

    /// Shuts sockets down (shutdown(2)) for everyone who has them, by the descriptors of `pids`:
    /// those of which `wanted` wants the inode, looking at no more than `most` (E2BIG). The inodes
    /// of those that were. To be allowed to, the caller must be allowed to trace the processes.
    pub fn shut_down(
        &self,
        pids: &[i32],
        wanted: impl Fn(u64) -> bool,
        most: usize,
    ) -> (Vec<u64>, Result<(), Errno>) {
        let (mut seen, mut shut) = (0, Vec::new());
        let mut searched = Ok(());
        for pid in pids {
            let read = self.descriptors(*pid, |(thread, number), target| {
                seen += 1;
                let inode = inode_of(target).filter(|inode| wanted(*inode));
                if let Some(inode) = inode.filter(|inode| !shut.contains(inode))
                    && shut_down(*pid, thread, number, inode).is_ok()
                {
                    shut.push(inode);
                }
                within(seen, most)
            });
            // One that may not be looked into doesn't hide what the others have.
            searched = searched.and(read);
            if seen > most {
                break;
            }
        }
        (shut, searched)
    }

    /// Tells each descriptor of a process, by its thread and number, with its target; none if it has ended. Each thread is
    /// read, since each may have a table of its own (unshare(2) with CLONE_FILES): a program that
    /// kept a socket there and gave it to a child besides would pass for the child. Targets are
    /// cut to 64 bytes, which no socket exceeds.
    fn descriptors(
        &self,
        pid: i32,
        mut each: impl FnMut((i32, i32), &[u8]) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let threads = match self.threads(pid, MOST_THREADS) {
            Err(Errno::NOENT | Errno::SRCH) => return Ok(()),
            result => result?,
        };
        for thread in threads {
            let path = format!("{pid}/task/{thread}/fd");
            let read = folder(self.0.as_fd(), &path).and_then(|fds| {
                numbers(&fds, |number, name| {
                    let mut buffer = [MaybeUninit::uninit(); 64];
                    match readlinkat_raw(&fds, name, &mut buffer) {
                        Ok((target, _)) => each((thread, number), target),
                        // It was closed since the folder was read.
                        Err(Errno::NOENT) => Ok(()),
                        Err(errno) => Err(errno),
                    }
                })
            });
            match read {
                Ok(()) | Err(Errno::NOENT | Errno::SRCH) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// How far the descriptors of a process go: since Linux 6.2 the size of the folder is their
    /// count; before, `status` has the size of the table.
    pub(crate) fn table(&self, pid: i32) -> Result<Table, Errno> {
        let stat = statat(&self.0, format!("{pid}/fd"), AtFlags::empty())?;
        if stat.st_size > 0 {
            return Ok(Table::Open(stat.st_size as usize));
        }
        let status = self.file(&format!("{pid}/status"), 8192)?;
        let size = status.lines().find_map(|line| line.strip_prefix("FDSize:"));
        let size = size.and_then(|size| size.trim().parse().ok());
        size.map(Table::Size).ok_or(Errno::BADMSG)
    }

    /// The ids of a process's threads, up to a bound (E2BIG).
    pub(crate) fn threads(&self, pid: i32, most: usize) -> Result<Vec<i32>, Errno> {
        let path = format!("{pid}/task");
        // The folder has a link of each thread besides its own two, and a thread that is alone has
        // the number of the process: most are, and need not be listed.
        if statat(&self.0, &*path, AtFlags::empty())?.st_nlink == 3 {
            return within(1, most).map(|()| vec![pid]);
        }
        let mut threads = Vec::new();
        numbers(&folder(self.0.as_fd(), &path)?, |thread, _| {
            threads.push(thread);
            within(threads.len(), most)
        })?;
        Ok(threads)
    }

    /// Opens a folder below `/proc`.
    pub(crate) fn folder(&self, path: &str) -> Result<OwnedFd, Errno> {
        folder(self.0.as_fd(), path)
    }

    /// Opens a file below `/proc`.
    pub(crate) fn open(&self, path: &str) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        openat(&self.0, path, flags, Mode::empty())
    }

    /// A file below `/proc` that is not longer than `most` bytes (E2BIG).
    pub(crate) fn file(&self, path: &str, most: usize) -> Result<String, Errno> {
        let file = self.open(path)?;
        let mut text = vec![0; most + 1];
        let mut length = 0;
        loop {
            within(length, most)?;
            match retry_on_intr(|| read(&file, &mut text[length..]))? {
                0 => break,
                count => length += count,
            }
        }
        text.truncate(length);
        String::from_utf8(text).map_err(|_| Errno::BADMSG)
    }
}

/// A process's descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    /// So many are open.
    Open(usize),
    /// All numbers are below this.
    Size(usize),
}

/// The inode in `socket:[4711]`.
fn inode_of(target: &[u8]) -> Option<u64> {
    let number = target.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

/// Shuts a socket down that another process has, if it's still this one.
fn shut_down(pid: i32, thread: i32, number: i32, inode: u64) -> Result<(), Errno> {
    /// Linux 6.9; before, only the table of the first thread can be reached.
    const PIDFD_THREAD: u32 = OFlags::EXCL.bits();
    let flags = match thread == pid {
        true => PidfdFlags::empty(),
        false => PidfdFlags::from_bits_retain(PIDFD_THREAD),
    };
    let process = pidfd_open(Pid::from_raw(thread).ok_or(Errno::SRCH)?, flags)?;
    let socket = pidfd_getfd(process, number, PidfdGetfdFlags::empty())?;
    if fstat(&socket)?.st_ino != inode {
        return Err(Errno::NOENT);
    }
    rustix::net::shutdown(&socket, rustix::net::Shutdown::Both)
}

fn within(count: usize, most: usize) -> Result<(), Errno> {
    if count > most {
        Err(Errno::TOOBIG)
    } else {
        Ok(())
    }
}

fn folder(at: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(at, path, flags, Mode::empty())
}

/// Goes through the entries of a folder whose names are numbers.
fn numbers(
    folder: &OwnedFd,
    mut each: impl FnMut(i32, &CStr) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); 4096];
    let mut entries = RawDir::new(folder, &mut space);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if let Some(number) = name.to_str().ok().and_then(|name| name.parse().ok()) {
            each(number, name)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::child;
    use std::net::UdpSocket;

    #[test]
    fn whoever_inherited_a_socket_holds_it() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let inode = rustix::fs::fstat(&socket).unwrap().st_ino;
        let (closed, end) = rustix::pipe::pipe().unwrap();
        let child = child::fork(|| {
            let _ = rustix::io::read(&closed, &mut [0; 1]);
        })
        .unwrap();
        let (own, child_pid) = (std::process::id() as i32, child.as_raw_nonzero().get());
        let processes = Processes::own().unwrap();
        // The child of this thread, whatever else this process has.
        let below = processes.below(own, 10_000).unwrap();
        assert!(below.contains(&own) && below.contains(&child_pid));
        assert!(processes.all(1_000_000).unwrap().contains(&child_pid));
        assert!(processes.threads(own, 10_000).unwrap().contains(&own));
        assert_eq!(processes.threads(child_pid, 1), Ok(vec![child_pid]));
        assert_eq!(processes.threads(child_pid, 0), Err(Errno::TOOBIG));
        let both = [own, child_pid];
        assert_eq!(processes.holding(&both, inode, 10_000).unwrap(), both);
        assert_eq!(processes.holding(&both, 1, 10_000).unwrap(), []);
        assert_eq!(
            processes.holding(&both, inode, 3),
            Err(Errno::TOOBIG),
            "half an answer is none"
        );
        assert_eq!(processes.all(1), Err(Errno::TOOBIG));
        assert_eq!(processes.below(own, 1), Err(Errno::TOOBIG));
        drop(socket);
        // The child waits for the last writer; it holds one itself.
        assert_eq!(
            processes.holding(&both, inode, 10_000).unwrap(),
            [child_pid]
        );
        child::end(child);
        assert_eq!(processes.holding(&both, inode, 10_000).unwrap(), []);
        drop(end);
    }

    #[test]
    fn a_socket_is_shut_down_for_those_who_have_it() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = std::net::TcpStream::connect(server.local_addr().unwrap()).unwrap();
        let (mut far, _) = server.accept().unwrap();
        let inode = rustix::fs::fstat(&socket).unwrap().st_ino;
        let (closed, end) = rustix::pipe::pipe().unwrap();
        let child = child::fork(|| {
            let _ = rustix::io::read(&closed, &mut [0; 1]);
        })
        .unwrap();
        let pid = child.as_raw_nonzero().get();
        let processes = Processes::own().unwrap();
        let shut = processes.shut_down(&[pid], |own| own == inode, 10_000);
        assert_eq!(shut, (vec![inode], Ok(())));
        // This process and the child have it still, and nobody can use it.
        assert_eq!(std::io::Read::read(&mut far, &mut [0; 1]).unwrap(), 0);
        assert!(std::io::Write::write(&mut (&socket), b"x").is_err());
        let shut = processes.shut_down(&[pid], |own| own == 1, 10_000);
        assert_eq!(shut, (vec![], Ok(())));
        child::end(child);
        drop(end);
    }

    #[test]
    fn a_thread_that_keeps_a_socket_to_itself_is_seen() {
        let child = child::fork(|| {
            let _ = crate::process::close_from(3);
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let inode = rustix::fs::fstat(&socket).unwrap().st_ino;
            let pid = std::process::id() as i32;
            let processes = Processes::own().unwrap();
            let step = std::sync::Barrier::new(2);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    // SAFETY: only this thread's table of descriptors is copied.
                    unsafe { libc::unshare(libc::CLONE_FILES) };
                    step.wait();
                    step.wait();
                });
                step.wait();
                drop(socket);
                let holders = processes.holding(&[pid], inode, 1000);
                step.wait();
                assert_eq!(holders.unwrap(), [pid]);
            });
        })
        .unwrap();
        assert_eq!(child::reap(child).unwrap().exit_status(), Some(0));
    }
}
