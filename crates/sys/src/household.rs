//! The processes of a small sandbox, looked through again and again.
//!
//! Most of what it costs to [search](crate::sole) a process for other ways to a socket is to open
//! the files that tell of it. So they are kept. Each belongs to one process for ever: when it has
//! ended, its `task` folder has no threads and its `fd` folder can't be looked at (ENOENT), and they
//! are opened anew, by the number, which somebody else may have by then. What is read is read each
//! time.

use crate::Errno;
use crate::owners::{Processes, Table};
use crate::sole::{Held, Look, Patience, have_one_table, is_own_epoll};
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::fstat;
use rustix::io::pread;

/// Processes at most, init among them: what is kept takes three descriptors each.
pub const MOST: usize = 8;
/// Their numbers, of ten digits and a space.
const ROOM: usize = MOST * 11;

/// See the module.
pub struct Household {
    processes: Processes,
    init: i32,
    /// Some process may have an epoll instance.
    epoll: bool,
    kept: Vec<Member>,
}

/// A process that had one thread when it was met.
struct Member {
    pid: i32,
    task: OwnedFd,
    children: OwnedFd,
    fds: OwnedFd,
}

/// A socket to which nothing else leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sole {
    /// The process that holds it has one thread, so that nobody can use it while that one waits.
    pub waits: bool,
}

impl Household {
    /// The sandbox of this init. `processes` is the caller's own `/proc`. What the sandbox was
    /// given are the caller's standard streams, and nothing else.
    pub fn new(processes: Processes, init: i32) -> Self {
        Self {
            processes,
            init,
            epoll: (0..3).any(is_own_epoll),
            kept: Vec::new(),
        }
    }

    /// A process is about to make an epoll instance, of which this has to be told: until then none is
    /// looked for.
    pub fn note_epoll(&mut self) {
        self.epoll = true;
    }

    /// Whether `held` is the only descriptor in the sandbox that leads to `socket`, of which the
    /// caller has a copy, and no epoll instance watches it. `None` also if there are more processes
    /// than [`MOST`]. Init isn't looked at, which takes nothing from those inside.
    pub fn sole(&mut self, held: Held, socket: BorrowedFd<'_>, patience: Patience) -> Option<Sole> {
        self.search(held, socket, patience).ok().flatten()
    }

    fn search(
        &mut self,
        held: Held,
        socket: BorrowedFd<'_>,
        patience: Patience,
    ) -> Result<Option<Sole>, Errno> {
        let mut look = Look::new(held, socket, patience.descriptors);
        look.epoll = self.epoll;
        let mut pids = vec![self.init];
        let (mut next, mut waits) = (0, false);
        while let Some(pid) = pids.get(next).copied() {
            next += 1;
            let member = self.member(pid);
            let member = member.map(|place| &self.kept[place]);
            match self.children(pid, member, MOST + 1 - pids.len()) {
                Ok(children) => pids.extend(children),
                // It ended since its parent was read.
                Err(Errno::NOENT | Errno::SRCH) if pid != self.init => continue,
                Err(errno) => return Err(errno),
            }
            if pids.len() > MOST {
                return Err(Errno::TOOBIG);
            }
            if pid == self.init {
                continue;
            }
            match self.table(pid, member) {
                Ok(table) => look.through(pid, table)?,
                Err(Errno::NOENT | Errno::SRCH) => continue,
                Err(errno) => return Err(errno),
            }
            if member.is_some() {
                waits |= pid == held.pid;
            } else if !have_one_table(&self.processes, pid, patience.threads)? {
                return Ok(None);
            }
        }
        let sole = look.found_one(&self.processes, patience.epoll)?;
        Ok(sole.then_some(Sole { waits }))
    }

    fn children(&self, pid: i32, member: Option<&Member>, most: usize) -> Result<Vec<i32>, Errno> {
        let Some(member) = member else {
            return self.processes.children(pid, most);
        };
        let mut text = [0; ROOM + 1];
        let length = pread(&member.children, &mut text, 0)?;
        if length > ROOM {
            return Err(Errno::TOOBIG);
        }
        let text = std::str::from_utf8(&text[..length]).map_err(|_| Errno::BADMSG)?;
        let children = text.split_ascii_whitespace().map(str::parse);
        children
            .collect::<Result<_, _>>()
            .map_err(|_| Errno::BADMSG)
    }

    fn table(&self, pid: i32, member: Option<&Member>) -> Result<Table, Errno> {
        match member {
            Some(member) => match fstat(&member.fds)?.st_size {
                // Not told before Linux 6.2.
                0 => self.processes.table(pid),
                open => Ok(Table::Open(open as usize)),
            },
            None => self.processes.table(pid),
        }
    }

    /// Where it is kept; `None` if it doesn't have exactly one thread.
    fn member(&mut self, pid: i32) -> Option<usize> {
        if let Some(place) = self.kept.iter().position(|own| own.pid == pid) {
            if self.kept[place].has_one_thread() {
                return Some(place);
            }
            self.kept.remove(place);
        }
        let member = Member::open(&self.processes, pid).ok()?;
        // All three were opened by the number, which was this one's as long as it lives.
        if !member.has_one_thread() {
            return None;
        }
        if self.kept.len() >= MOST {
            self.kept.retain(Member::has_one_thread);
            self.kept.truncate(MOST - 1);
        }
        self.kept.push(member);
        Some(self.kept.len() - 1)
    }
}

impl Member {
    fn open(processes: &Processes, pid: i32) -> Result<Self, Errno> {
        Ok(Self {
            pid,
            task: processes.folder(&format!("{pid}/task"))?,
            children: processes.open(&format!("{pid}/task/{pid}/children"))?,
            fds: processes.folder(&format!("{pid}/fd"))?,
        })
    }

    /// The folder has a link for each thread besides its own two.
    fn has_one_thread(&self) -> bool {
        fstat(&self.task).is_ok_and(|stat| stat.st_nlink == 3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::child;
    use rustix::fd::{AsFd as _, AsRawFd as _};
    use rustix::net::{AddressFamily, SocketType, socket};

    fn stream() -> OwnedFd {
        socket(AddressFamily::INET, SocketType::STREAM, None).unwrap()
    }

    /// Runs a test in a process with few descriptors, in the place of init, which isn't looked at.
    fn in_household(test: impl Fn(&mut Household, OwnedFd)) {
        let init = child::fork(|| {
            let _ = crate::process::close_from(3);
            let socket = stream();
            let own = std::process::id() as i32;
            let mut household = Household::new(Processes::own().unwrap(), own);
            test(&mut household, socket);
        })
        .unwrap();
        assert_eq!(child::reap(init).unwrap().exit_status(), Some(0));
    }

    #[test]
    fn what_is_kept_tells_what_is_so_now() {
        in_household(|household, socket| {
            let (waits, end) = rustix::pipe::pipe().unwrap();
            let holder = child::fork(|| {
                let _ = rustix::io::read(&waits, &mut [0; 1]);
            })
            .unwrap();
            let pid = holder.as_raw_nonzero().get();
            let fd = socket.as_raw_fd();
            let held = Held { pid, fd };
            let mut sole =
                |held, socket: &OwnedFd| household.sole(held, socket.as_fd(), Patience::default());
            // Twice, as it is met and as it is known.
            for _ in 0..2 {
                assert_eq!(sole(held, &socket), Some(Sole { waits: true }));
                let other = Held { fd: fd + 1, ..held };
                assert_eq!(sole(other, &socket), None);
            }
            let heir = child::fork(|| {
                let _ = rustix::io::read(&waits, &mut [0; 1]);
            })
            .unwrap();
            assert_eq!(sole(held, &socket), None, "another one has it now");
            assert_eq!(sole(held, &socket), None);
            child::end(heir);
            assert_eq!(sole(held, &socket), Some(Sole { waits: true }));
            child::end(holder);
            assert_eq!(sole(held, &socket), None, "it has ended");
            drop(end);
        });
    }

    #[test]
    fn epoll_instances_are_looked_at_once_there_are_some() {
        use rustix::event::epoll;
        in_household(|household, socket| {
            let watcher = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
            let (data, events) = (epoll::EventData::new_u64(7), epoll::EventFlags::IN);
            epoll::add(&watcher, &socket, data, events).unwrap();
            let holder = child::fork(|| {
                loop {
                    std::thread::park();
                }
            })
            .unwrap();
            let held = Held {
                pid: holder.as_raw_nonzero().get(),
                fd: socket.as_raw_fd(),
            };
            let mut sole = || household.sole(held, socket.as_fd(), Patience::default());
            assert_eq!(sole(), Some(Sole { waits: true }));
            household.note_epoll();
            let sole = household.sole(held, socket.as_fd(), Patience::default());
            assert_eq!(sole, None);
            child::end(holder);
        });
    }

    #[test]
    fn one_thread_of_several_does_not_wait_for_the_others() {
        in_household(|household, socket| {
            let (waits, end) = rustix::pipe::pipe().unwrap();
            let (told, tell) = rustix::pipe::pipe().unwrap();
            let holder = child::fork(|| {
                std::thread::scope(|scope| {
                    scope.spawn(|| {
                        let _ = rustix::io::write(&tell, b"x");
                        let _ = rustix::io::read(&waits, &mut [0; 1]);
                    });
                });
            })
            .unwrap();
            assert_eq!(rustix::io::read(&told, &mut [0; 1]), Ok(1));
            let held = Held {
                pid: holder.as_raw_nonzero().get(),
                fd: socket.as_raw_fd(),
            };
            for _ in 0..2 {
                let sole = household.sole(held, socket.as_fd(), Patience::default());
                assert_eq!(sole, Some(Sole { waits: false }));
            }
            child::end(holder);
            drop(end);
        });
    }

    #[test]
    fn a_crowd_is_not_looked_through() {
        in_household(|household, socket| {
            let start = |keeps: bool| {
                let (closed, end) = rustix::pipe::pipe().unwrap();
                let child = child::fork(|| {
                    let from = if keeps { socket.as_raw_fd() + 1 } else { 3 };
                    let _ = crate::process::close_from(from);
                    loop {
                        std::thread::park();
                    }
                })
                .unwrap();
                drop(end);
                // The end of the pipe: it has closed what it had.
                assert_eq!(rustix::io::read(&closed, &mut [0; 1]), Ok(0));
                child
            };
            let holder = start(true);
            let held = Held {
                pid: holder.as_raw_nonzero().get(),
                fd: socket.as_raw_fd(),
            };
            let mut sole = || household.sole(held, socket.as_fd(), Patience::default());
            let mut crowd: Vec<_> = (2..MOST).map(|_| start(false)).collect();
            assert_eq!(sole(), Some(Sole { waits: true }));
            crowd.push(start(false));
            assert_eq!(sole(), None);
            child::end(crowd.remove(0));
            assert_eq!(sole(), Some(Sole { waits: true }));
            crowd.into_iter().chain([holder]).for_each(child::end);
        });
    }
}
