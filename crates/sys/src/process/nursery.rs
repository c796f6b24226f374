//! Where an agent's commands are born, so that they can do nothing to the agent.
//!
//! ```text
//!  agent ══ "start this" ══▶ nursery ──clone──▶ command     a Landlock domain of their own:
//!    ▲                          │ clone                     whoever is in it can neither signal
//!    ║                          ▼                           nor trace anybody who isn't
//!    ╠═════════════▶ nursery of root ──clone──▶ command of root
//!    ╚═ is the parent of all of them
//! ```
//!
//! Commands of one user can signal each other, and the agent is the same user where a sandbox has
//! no more than one. So they start in a domain that the agent isn't in ([`crate::landlock`]), all in
//! the same one, since they are to reach each other. A domain is inherited, hence this process,
//! which enters it and then does nothing but make processes. They are made as the agent's own
//! children (CLONE_PARENT in clone(2)): it waits for them as if it had made them itself.
//!
//! Where a sandbox has one user, a second nursery is below the first one, in a user namespace in
//! which that user is root. It has nothing but that name and the rights of root over its own files
//! and processes: mounts, network and the rest belong to the namespace above. Behind a filter, what
//! would change owners does nothing ([`crate::seccomp::fence`]).
//!
//! A command can kill a nursery. The agent notices and makes new ones; commands that were born in
//! the old ones go on and can't signal those of the new ones.

mod order;

use super::command::{self, Command, Started, User};
use super::{exit_now, unshare};
use crate::channel::{Channel, Message};
use crate::landlock::{Abi, Ruleset};
use crate::seccomp::{self, fence};
use crate::{Errno, check, privilege};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, kill_process, pidfd_open, waitpid};
use std::time::Duration;

/// How long a nursery may take. Somebody inside may have stopped it.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whom commands can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Roots {
    /// Whoever the agent can become.
    Real,
    /// The agent's user, or root of a user namespace in which there is nobody else.
    Nested,
}

/// Why a command wasn't born.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unborn {
    /// The nursery is gone. A new one can be asked.
    Gone,
    /// The nursery was told and didn't answer, so that the command may run all the same.
    Lost,
    /// No process can be made.
    Refused(Errno),
}

impl From<Errno> for Unborn {
    fn from(errno: Errno) -> Self {
        Self::Refused(errno)
    }
}

/// Both nurseries, or the one that there is.
pub struct Nursery {
    own: Cot,
    root: Option<Cot>,
}

/// One of them: a process, and the way to it.
struct Cot {
    pid: i32,
    channel: Channel,
}

impl Drop for Cot {
    fn drop(&mut self) {
        // Nobody has reaped it, so the number is its own.
        if let Some(pid) = Pid::from_raw(self.pid) {
            let _ = kill_process(pid, Signal::KILL);
            let _ = waitpid(Some(pid), WaitOptions::empty());
        }
    }
}

impl Nursery {
    /// Makes them.
    ///
    /// # Errors
    /// There is no process left; or no user namespace can be made.
    pub fn open(roots: Roots) -> Result<Self, Errno> {
        let (ours, theirs) = Channel::pair()?;
        ours.set_patience(PATIENCE)?;
        let root = match roots {
            Roots::Real => None,
            Roots::Nested => Some(Channel::pair()?),
        };
        let (our_root, their_root) = root.unzip();
        // SAFETY: the C library's own fork(3), which leaves the child an allocator that works even
        // if the caller has threads; it ends in `exit_now` and returns to nobody.
        let pid = check(unsafe { libc::fork() }.into())? as i32;
        if pid == 0 {
            // An end of somebody's pipe that is open here would hide the end of what flows there.
            let kept = [Some(&theirs), their_root.as_ref()];
            let kept: Vec<_> = kept.into_iter().flatten().map(AsFd::as_fd).collect();
            super::close_all_but_these(&kept);
            std::mem::forget((ours, our_root));
            let _ = keep(theirs, their_root);
            exit_now(1);
        }
        let own = Cot { pid, channel: ours };
        drop((theirs, their_root));
        // It says who the other one is, or why there is none.
        let root = match (own.answer()?, our_root) {
            (_, None) => None,
            (pid, Some(channel)) => {
                channel.set_patience(PATIENCE)?;
                let root = Cot { pid, channel };
                root.answer()?;
                Some(root)
            }
        };
        Ok(Self { own, root })
    }

    /// Whether commands can be root of a namespace of their own.
    pub fn has_root(&self) -> bool {
        self.root.is_some()
    }

    /// Starts a command, as that root or as whom it says.
    ///
    /// # Errors
    /// It can't be born here, or it couldn't be made.
    pub fn start(&self, command: &Command<'_>, as_root: bool) -> Result<Started, Unborn> {
        let cot = match as_root {
            true => self.root.as_ref().ok_or(Errno::PERM)?,
            false => &self.own,
        };
        let (read, write) = command::pipe()?;
        let (file, length) = order::write(command)?;
        let [stdin, stdout, stderr] = command.streams;
        let fds = [stdin, stdout, stderr, write.as_fd(), file.as_fd()];
        let sent = cot.channel.send(&length.to_ne_bytes(), &fds);
        sent.map_err(|_| Unborn::Gone)?;
        let answer = cot.channel.receive().ok().flatten().ok_or(Unborn::Lost)?;
        let pid = number(&answer)?;
        let pidfd = Pid::from_raw(pid).ok_or(Errno::SRCH)?;
        Ok(Started {
            pid,
            // A child of this process that nobody else waits for: the number is its own.
            pidfd: pidfd_open(pidfd, PidfdFlags::empty())?,
            news: read.into(),
        })
    }
}

impl Cot {
    fn answer(&self) -> Result<i32, Errno> {
        number(&self.channel.receive()?.ok_or(Errno::PIPE)?)
    }
}

/// A process's number, or an error's.
fn number(answer: &Message) -> Result<i32, Errno> {
    let number = answer.bytes.as_slice().try_into().map(i32::from_ne_bytes);
    match number.map_err(|_| Errno::BADMSG)? {
        errno if errno < 0 => Err(Errno::from_raw_os_error(-errno)),
        pid => Ok(pid),
    }
}

/// In the first nursery, until the agent is gone.
fn keep(channel: Channel, root: Option<Channel>) -> Result<(), Errno> {
    let prepared = apart().and_then(|()| match &root {
        None => Ok(Some(0)),
        Some(_) => {
            let pid = make_sibling()?;
            if pid == 0 {
                return Ok(None);
            }
            seccomp::install(&fence::no_users(), false)?;
            Ok(Some(pid))
        }
    });
    match (prepared, root) {
        (Ok(None), Some(root)) => {
            // The other one's end: with it, the agent would take that one for alive.
            drop(channel);
            keep_root(&root)
        }
        (prepared, root) => {
            drop(root);
            say(&channel, prepared.map(Option::unwrap_or_default))?;
            prepared?;
            serve(&channel)
        }
    }
}

/// In the second one.
fn keep_root(channel: &Channel) -> Result<(), Errno> {
    let prepared = become_root().and_then(|()| {
        seccomp::install(&fence::no_users_and_one_owner(), false)?;
        Ok(0)
    });
    say(channel, prepared)?;
    prepared?;
    serve(channel)
}

/// Enters a domain that the agent isn't in. A kernel without Landlock has none, which the agent
/// has been told is accepted, or it wouldn't run.
fn apart() -> Result<(), Errno> {
    match Abi::current() {
        Ok(abi) => Ruleset::apart(abi)?.restrict_self(),
        Err(_) => Ok(()),
    }
}

/// A user namespace in which this user is root, and the rights that are of use there.
fn become_root() -> Result<(), Errno> {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    unshare(super::namespace::USER)?;
    // Nobody is there yet who could look.
    privilege::dumpable()?;
    tell("/proc/self/setgroups", "deny")?;
    tell("/proc/self/uid_map", &format!("0 {} 1", uid.as_raw()))?;
    tell("/proc/self/gid_map", &format!("0 {} 1", gid.as_raw()))?;
    privilege::undumpable()?;
    privilege::keep_roots_capabilities()
}

fn tell(path: &str, text: &str) -> Result<(), Errno> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, text.as_bytes()).map(drop)
}

/// Makes processes until nobody asks for any.
fn serve(channel: &Channel) -> Result<(), Errno> {
    while let Some(Message { bytes, fds }) = channel.receive()? {
        let started = make_sibling();
        if started == Ok(0) {
            let _ = be_born(&bytes, &fds);
            exit_now(127);
        }
        drop(fds);
        say(channel, started)?;
    }
    Ok(())
}

/// A child of this one's parent.
fn make_sibling() -> Result<i32, Errno> {
    let flags = libc::CLONE_PARENT | libc::SIGCHLD;
    // SAFETY: like fork(2): the child has its own copy of memory and of this stack. This process has
    // one thread.
    check(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) }).map(|pid| pid as i32)
}

/// In the child: becomes what was ordered, and returns only if the order makes no sense.
fn be_born(bytes: &[u8], fds: &[OwnedFd]) -> Result<(), Errno> {
    let [stdin, stdout, stderr, news, file] = fds else {
        return Err(Errno::BADMSG);
    };
    let length = bytes.try_into().map(usize::from_ne_bytes);
    let order = order::read(file.as_fd(), length.map_err(|_| Errno::BADMSG)?)?;
    let user = order.user.as_ref().map(|(uid, gid, groups)| User {
        uid: *uid,
        gid: *gid,
        groups,
    });
    let command = Command {
        places: order.places,
        args: order.args,
        env: order.env,
        folder: order.folder,
        streams: [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()],
        terminal: order.terminal,
        user,
    };
    let laid_out = command.lay_out();
    command.become_program(&laid_out, news.as_fd())
}

fn say(channel: &Channel, what: Result<i32, Errno>) -> Result<(), Errno> {
    let number = what.unwrap_or_else(|errno| -errno.raw_os_error());
    channel.send(&number.to_ne_bytes(), &[])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::child;
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    use std::ffi::CString;
    use std::fs::File;
    use std::io::Read;

    fn c(text: &str) -> CString {
        CString::new(text).unwrap()
    }

    /// What a shell prints that is started in a nursery, and its exit status.
    fn shell(nursery: &Nursery, script: &str, as_root: bool) -> (String, Option<i32>) {
        let null = File::open("/dev/null").unwrap();
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let command = Command {
            places: vec![c("/bin/sh")],
            args: vec![c("sh"), c("-c"), c(script)],
            env: vec![c("PATH=/usr/bin:/bin")],
            folder: c("/"),
            streams: [null.as_fd(), write.as_fd(), write.as_fd()],
            terminal: false,
            user: None,
        };
        let started = nursery.start(&command, as_root).unwrap();
        drop(write);
        let mut text = String::new();
        File::from(read).read_to_string(&mut text).unwrap();
        let ended = waitid(WaitId::PidFd(started.pidfd.as_fd()), WaitIdOptions::EXITED);
        (text, ended.unwrap().unwrap().exit_status())
    }

    /// Runs a test in a process of its own, which is the agent.
    fn as_agent(roots: Roots, test: impl Fn(&mut Nursery)) {
        let child = child::fork(|| {
            privilege::undumpable().unwrap();
            privilege::no_new_privileges().unwrap();
            test(&mut Nursery::open(roots).unwrap());
        });
        let status = child::reap(child.unwrap()).unwrap();
        assert_eq!(status.exit_status(), Some(0));
    }

    fn lacks_scopes() -> bool {
        let lacks = Abi::current().is_ok_and(|abi| abi.0 < 6);
        if lacks {
            println!("skipped: signals are scoped from Landlock's ABI 6 on");
        }
        lacks
    }

    #[test]
    fn commands_are_children_and_can_do_nothing_to_their_parent() {
        if lacks_scopes() {
            return;
        }
        as_agent(Roots::Real, |nursery| {
            let agent = std::process::id();
            let (parent, status) = shell(nursery, "echo $PPID; exit 3", false);
            assert_eq!((parent, status), (format!("{agent}\n"), Some(3)));
            for attack in [
                "kill -9 $PPID",
                "kill -STOP $PPID",
                "readlink /proc/$PPID/exe",
            ] {
                let (said, status) = shell(nursery, attack, false);
                assert!(status != Some(0), "{attack}: {said}");
            }
        });
    }

    #[test]
    fn commands_reach_each_other_whoever_they_are() {
        as_agent(Roots::Nested, |nursery| {
            let (pid, _) = shell(nursery, "sleep 100 >/dev/null 2>&1 & echo $!", false);
            let kill = format!("kill -9 {pid}");
            assert_eq!(shell(nursery, &kill, true).1, Some(0));
        });
    }

    #[test]
    fn one_user_can_be_root_and_give_nothing_away() {
        as_agent(Roots::Nested, |nursery| {
            let script = "id -u; id -g; f=$(mktemp); chown 77:77 $f; stat -c %u:%g $f; rm $f";
            assert_eq!(shell(nursery, script, true).0, "0\n0\n0:0\n");
            let own = rustix::process::geteuid().as_raw();
            assert_eq!(shell(nursery, "id -u", false).0, format!("{own}\n"));
            let (_, status) = shell(nursery, "unshare -U true 2>/dev/null", true);
            assert_eq!(status, Some(1));
        });
    }

    #[test]
    fn it_is_told_when_a_nursery_is_gone() {
        as_agent(Roots::Nested, |nursery| {
            let kill = format!("kill -9 {}", nursery.own.pid);
            shell(nursery, &kill, true);
            let pid = Pid::from_raw(nursery.own.pid).unwrap();
            let dead = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            waitid(WaitId::Pid(pid), dead).unwrap();
            let null = File::open("/dev/null").unwrap();
            let command = Command {
                places: vec![c("/bin/true")],
                args: vec![c("true")],
                env: Vec::new(),
                folder: c("/"),
                streams: [null.as_fd(); 3],
                terminal: false,
                user: None,
            };
            let gone = nursery.start(&command, false).map(|_| ());
            assert_eq!(gone, Err(Unborn::Gone));
            let (read, write) = command::pipe().unwrap();
            *nursery = Nursery::open(Roots::Nested).unwrap();
            drop(write);
            // It has nothing of its maker's.
            assert_eq!(rustix::io::read(&read, &mut [0; 1]), Ok(0));
            assert_eq!(shell(nursery, "exit 7", false).1, Some(7));
        });
    }
}
