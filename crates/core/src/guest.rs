//! What a host asks of a virtual machine itself, as opposed to the agent in it.
//!
//! Each request is one line of JSON, and so is its answer; answers come in the order of requests.
//! A host takes no answer's word for more than what it is about: whoever is root in the machine
//! may answer in the place of our program.

use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// The most bytes of a request or an answer, its end of line included. A longer one ends the
/// conversation.
pub const LINE: usize = 4096;

/// The most bytes of randomness in one request.
pub const ENTROPY: usize = 512;

/// A machine's one interface, if it has one. The addresses are the same in all machines, so that one
/// that is restored needs no other.
pub const INTERFACE: &str = "eth0";
/// Its address.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
/// The mask of its network.
pub const MASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 0);
/// The way to everywhere else.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
/// Who resolves names.
pub const RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);

/// A request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Say who you are.
    Status,
    /// Set the clock: one that was restored from a snapshot stands at the time of that snapshot.
    SetClock {
        /// Since the epoch.
        seconds: i64,
        /// Of the second that has begun.
        nanoseconds: u32,
    },
    /// Mix this into the kernel's generator and use it at once: machines that were restored from
    /// one snapshot would all make the same keys.
    AddEntropy {
        /// In hexadecimal digits; [`ENTROPY`] bytes at most.
        hex: String,
    },
    /// Have the agent forget who may use it: a machine that begins as another one was isn't that
    /// one's owner's.
    Release,
    /// Be called this.
    SetHostName {
        /// A label of letters, digits and hyphens.
        name: String,
    },
    /// Write what is in memory to the disks.
    Sync,
    /// End every process and switch the machine off. The answer comes before.
    PowerOff,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It is done.
    Done,
    /// To [`Request::Status`].
    Status(Status),
    /// It could not be done, or isn't understood.
    Failed(String),
}

/// What a machine says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Random for each start of a kernel (`/proc/sys/kernel/random/boot_id`); a restored machine
    /// keeps that of its snapshot.
    pub boot_id: String,
    /// As uname(2) has it.
    pub kernel: String,
    /// How often the agent has been started; more than once if it has ended.
    pub agent_starts: u64,
}
