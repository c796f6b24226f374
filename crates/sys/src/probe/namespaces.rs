//! Each kind of namespace inside a new user namespace. `namespaces(7)`.

use super::{Attempt, child, userns};

/// A kind of namespace that the wall uses beside the user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Mounts.
    Mount,
    /// Process numbers.
    Pid,
    /// Network devices, addresses, abstract Unix sockets.
    Net,
    /// System V objects and POSIX message queues.
    Ipc,
    /// Host name.
    Uts,
    /// Where `/proc/self/cgroup` begins.
    Cgroup,
    /// Offsets of the monotonic and boot clocks.
    Time,
}

impl Kind {
    /// All of them, in the order in which they are tried.
    pub const ALL: [Kind; 7] = [
        Kind::Mount,
        Kind::Pid,
        Kind::Net,
        Kind::Ipc,
        Kind::Uts,
        Kind::Cgroup,
        Kind::Time,
    ];

    /// The name that the kernel uses in `/proc/PID/ns` and `/proc/sys/user/max_NAME_namespaces`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Mount => "mnt",
            Kind::Pid => "pid",
            Kind::Net => "net",
            Kind::Ipc => "ipc",
            Kind::Uts => "uts",
            Kind::Cgroup => "cgroup",
            Kind::Time => "time",
        }
    }

    fn flag(self) -> libc::c_int {
        match self {
            Kind::Mount => libc::CLONE_NEWNS,
            Kind::Pid => libc::CLONE_NEWPID,
            Kind::Net => libc::CLONE_NEWNET,
            Kind::Ipc => libc::CLONE_NEWIPC,
            Kind::Uts => libc::CLONE_NEWUTS,
            Kind::Cgroup => libc::CLONE_NEWCGROUP,
            Kind::Time => libc::CLONE_NEWTIME,
        }
    }
}

/// What became of each kind, in the order of [`Kind::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Namespaces(pub [(Kind, Attempt); Kind::ALL.len()]);

impl Namespaces {
    /// The kinds that could not be made, each with its refusal.
    pub fn refused(&self) -> impl Iterator<Item = (Kind, Attempt)> {
        self.0
            .into_iter()
            .filter(|(_, attempt)| *attempt != Attempt::Worked)
    }
}

/// Makes one namespace of each kind in a child that entered a user namespace.
pub fn probe() -> Namespaces {
    let steps = child::attempt::<{ Kind::ALL.len() }>(child::LIMIT, |slots| {
        if userns::enter(0).is_ok() {
            for (at, kind) in Kind::ALL.into_iter().enumerate() {
                slots.note(at, userns::unshare(kind.flag()));
            }
        }
    });
    Namespaces(std::array::from_fn(|at| (Kind::ALL[at], steps.at(at))))
}
