//! Is a descriptor the only way to its socket?
//!
//! Putting another socket in the place of a program's own replaces one entry of one descriptor
//! table. Whoever reached the old socket in another way keeps that one: a duplicate, a process
//! that inherited it, an epoll instance (it watches the file, not the number). The kernel tells
//! nobody how many references a file has, so the ways are looked for:
//!
//! - kcmp(2) compares each descriptor of the sandbox's processes with the one that is known,
//!   several times as fast as the links in `/proc/<pid>/fd` can be read;
//! - threads may have a table each (unshare(2) with CLONE_FILES), which it tells too;
//! - what an epoll instance watches is in its `fdinfo`, by inode (proc(5)).
//!
//! What isn't seen is a descriptor inside a message that nobody has read yet. Anything that
//! can't be looked at, or is too much to be looked at cheaply, counts as shared: then the program
//! keeps its socket, which is slower and always right. A program that shares its socket at the
//! very time of its connect(2) harms itself alone.

use crate::owners::{Processes, Table};
use crate::{Errno, check};
use rustix::fd::{AsRawFd, BorrowedFd};
use rustix::fs::fstat;
use rustix::process::getpid;

/// A socket in the descriptor table of a process, by numbers of the caller's pid namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The process.
    pub pid: i32,
    /// The descriptor.
    pub fd: i32,
}

/// How much is looked at before a socket counts as shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Numbers of descriptors, of all processes together: about a microsecond each.
    pub descriptors: usize,
    /// Threads of each process.
    pub threads: usize,
    /// Bytes that tell what an epoll instance watches: some 70 for each descriptor in it.
    pub epoll: usize,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            descriptors: 128,
            threads: 64,
            epoll: 8192,
        }
    }
}

/// A search through the tables of all processes of a sandbox, for other ways to a socket of which
/// the caller has a copy.
pub(crate) struct Look<'a> {
    own: i32,
    socket: BorrowedFd<'a>,
    held: Held,
    left: usize,
    holders: usize,
    /// Whether epoll instances are looked for.
    pub(crate) epoll: bool,
    watchers: Vec<(i32, i32)>,
}

impl<'a> Look<'a> {
    /// Looks at no more than `most` numbers of descriptors.
    pub(crate) fn new(held: Held, socket: BorrowedFd<'a>, most: usize) -> Self {
        Self {
            own: getpid().as_raw_nonzero().get(),
            socket,
            held,
            left: most,
            holders: 0,
            epoll: true,
            watchers: Vec::new(),
        }
    }

    /// Goes through one table; EEXIST for another descriptor of the socket, E2BIG when the
    /// patience is over.
    pub(crate) fn through(&mut self, pid: i32, table: Table) -> Result<(), Errno> {
        let (held, socket) = (self.held, self.socket.as_raw_fd());
        let mut open = 0;
        for number in 0.. {
            match table {
                Table::Open(count) if open >= count => break,
                Table::Size(size) if number as usize >= size => break,
                _ => self.left = self.left.checked_sub(1).ok_or(Errno::TOOBIG)?,
            }
            match compare(self.own, pid, FILE, socket as u64, number as u64) {
                Ok(false) => {}
                Ok(true) if (pid, number) == (held.pid, held.fd) => self.holders += 1,
                Ok(true) => return Err(Errno::EXIST),
                // Nothing has this number.
                Err(Errno::BADF) => continue,
                Err(errno) => return Err(errno),
            }
            open += 1;
            if self.epoll && is_epoll(pid, number)? {
                self.watchers.push((pid, number));
            }
        }
        Ok(())
    }

    /// True if the socket was found where it is held, and no epoll instance watches it, of each of
    /// which up to `most` bytes are read.
    pub(crate) fn found_one(self, processes: &Processes, most: usize) -> Result<bool, Errno> {
        if !self.watchers.is_empty() {
            let inode = fstat(self.socket)?.st_ino;
            for (pid, fd) in self.watchers {
                let text = processes.file(&format!("{pid}/fdinfo/{fd}"), most)?;
                if watches(&text, inode) {
                    return Ok(false);
                }
            }
        }
        Ok(self.holders == 1)
    }
}

/// True if a line such as `tfd: 7 events: 19 data: 7 pos:0 ino:1f3c sdev:8` names the inode.
fn watches(fdinfo: &str, inode: u64) -> bool {
    let wanted = format!("ino:{inode:x}");
    fdinfo
        .lines()
        .filter(|line| line.starts_with("tfd:"))
        .any(|line| line.split_ascii_whitespace().any(|word| word == wanted))
}

pub(crate) fn have_one_table(processes: &Processes, pid: i32, most: usize) -> Result<bool, Errno> {
    let threads = match processes.threads(pid, most) {
        // It ended, and holds nothing.
        Err(Errno::NOENT | Errno::SRCH) => return Ok(true),
        result => result?,
    };
    for thread in threads.into_iter().filter(|thread| *thread != pid) {
        match compare(pid, thread, FILES, 0, 0) {
            Ok(true) | Err(Errno::SRCH) => {}
            Ok(false) => return Ok(false),
            Err(errno) => return Err(errno),
        }
    }
    Ok(true)
}

/// What kcmp(2) compares: two open files, two tables, a file and what an epoll instance watches.
const FILE: libc::c_int = 0;
const FILES: libc::c_int = 2;
const EPOLL_TARGET: libc::c_int = 7;

/// `struct kcmp_epoll_slot`.
#[repr(C)]
struct Slot {
    epoll: u32,
    target: u32,
    offset: u32,
}

/// True if they are the same.
fn compare(
    one: i32,
    other: i32,
    what: libc::c_int,
    first: u64,
    second: u64,
) -> Result<bool, Errno> {
    // SAFETY: for what is asked here, all are numbers, or `second` is the address of a Slot.
    let result = check(unsafe { libc::syscall(libc::SYS_kcmp, one, other, what, first, second) })?;
    Ok(result == 0)
}

/// True for an epoll instance: others are not asked what they watch at all.
fn is_epoll(pid: i32, fd: i32) -> Result<bool, Errno> {
    let slot = Slot {
        epoll: fd as u32,
        target: u32::MAX,
        offset: 0,
    };
    match compare(pid, pid, EPOLL_TARGET, fd as u64, (&raw const slot) as u64) {
        Ok(_) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::INVAL) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// The same of a number of this process; true if it can't be told.
pub(crate) fn is_own_epoll(fd: i32) -> bool {
    !matches!(
        is_epoll(getpid().as_raw_nonzero().get(), fd),
        Ok(false) | Err(Errno::BADF)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::child;
    use rustix::event::epoll;
    use rustix::fd::{AsFd, OwnedFd};
    use rustix::net::{AddressFamily, SocketType};
    use std::time::Instant;

    /// Runs a test in a process with few descriptors and one thread.
    fn alone(test: impl Fn(&Processes, Held, &OwnedFd)) {
        let child = child::fork(|| {
            let _ = crate::process::close_from(3);
            let socket =
                rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
            let held = Held {
                pid: std::process::id() as i32,
                fd: socket.as_raw_fd(),
            };
            test(&Processes::own().unwrap(), held, &socket);
        })
        .unwrap();
        assert_eq!(child::reap(child).unwrap().exit_status(), Some(0));
    }

    /// Looks through some processes, each opened anew.
    fn is_sole(
        processes: &Processes,
        pids: &[i32],
        held: Held,
        socket: BorrowedFd<'_>,
        patience: Patience,
    ) -> bool {
        let search = || {
            let mut look = Look::new(held, socket, patience.descriptors);
            for pid in pids {
                match processes.table(*pid) {
                    Ok(table) => look.through(*pid, table)?,
                    // It has ended.
                    Err(Errno::NOENT) => continue,
                    Err(errno) => return Err(errno),
                }
                if !have_one_table(processes, *pid, patience.threads)? {
                    return Ok(false);
                }
            }
            look.found_one(processes, patience.epoll)
        };
        search().unwrap_or(false)
    }

    fn sole(processes: &Processes, pids: &[i32], held: Held, socket: &OwnedFd) -> bool {
        is_sole(processes, pids, held, socket.as_fd(), Patience::default())
    }

    #[test]
    fn a_duplicate_or_an_heir_makes_it_shared() {
        alone(|processes, held, socket| {
            assert!(sole(processes, &[held.pid], held, socket));
            let copy = rustix::io::dup(socket).unwrap();
            assert!(!sole(processes, &[held.pid], held, socket));
            drop(copy);
            assert!(sole(processes, &[held.pid], held, socket));
            let (waits, end) = rustix::pipe::pipe().unwrap();
            let heir = child::fork(|| {
                let _ = rustix::io::read(&waits, &mut [0; 1]);
            })
            .unwrap();
            let pids = [held.pid, heir.as_raw_nonzero().get()];
            assert!(!sole(processes, &pids, held, socket));
            child::end(heir);
            drop(end);
            assert!(sole(processes, &pids, held, socket));
        });
    }

    #[test]
    fn an_epoll_instance_counts_if_it_watches_the_socket() {
        alone(|processes, held, socket| {
            let watcher = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
            let other = rustix::pipe::pipe().unwrap();
            let (data, events) = (epoll::EventData::new_u64(7), epoll::EventFlags::IN);
            epoll::add(&watcher, &other.0, data, events).unwrap();
            assert!(sole(processes, &[held.pid], held, socket));
            epoll::add(&watcher, socket, data, events).unwrap();
            assert!(!sole(processes, &[held.pid], held, socket));
            epoll::delete(&watcher, socket).unwrap();
            assert!(sole(processes, &[held.pid], held, socket));
        });
    }

    #[test]
    fn what_is_too_much_or_unknown_counts_as_shared() {
        alone(|processes, held, socket| {
            let few = Patience {
                descriptors: 2,
                ..Patience::default()
            };
            assert!(!is_sole(processes, &[held.pid], held, socket.as_fd(), few));
            assert!(
                !sole(processes, &[1], held, socket),
                "not among the processes"
            );
            let other = Held {
                fd: held.fd + 1,
                ..held
            };
            assert!(
                !sole(processes, &[held.pid], other, socket),
                "another number"
            );
        });
    }

    #[test]
    fn a_thread_with_its_own_table_makes_it_shared() {
        alone(|processes, held, socket| {
            let (ready, step) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    ready.wait();
                    step.wait();
                    // SAFETY: only this thread's table of descriptors is copied.
                    unsafe { libc::unshare(libc::CLONE_FILES) };
                    ready.wait();
                    step.wait();
                });
                ready.wait();
                assert!(sole(processes, &[held.pid], held, socket), "they share one");
                step.wait();
                ready.wait();
                assert!(!sole(processes, &[held.pid], held, socket));
                step.wait();
            });
        });
    }

    /// Prints what a look costs; run it with `--ignored --nocapture`.
    #[test]
    #[ignore = "a measurement"]
    fn time_it_takes() {
        alone(|processes, held, socket| {
            for count in [10, 100, 500] {
                let open = count - 4;
                let more: Vec<_> = (0..open)
                    .map(|_| {
                        rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap()
                    })
                    .collect();
                let patience = Patience {
                    descriptors: 1000,
                    ..Patience::default()
                };
                let begun = Instant::now();
                for _ in 0..100 {
                    assert!(is_sole(
                        processes,
                        &[held.pid],
                        held,
                        socket.as_fd(),
                        patience
                    ));
                }
                println!("{count} descriptors: {:?}", begun.elapsed() / 100);
                drop(more);
            }
        });
    }
}
