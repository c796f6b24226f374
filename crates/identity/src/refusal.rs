//! Why a process has no identity, and so no connection.

use crate::digest::Digest;
use crate::shown::Shown;
use casemate_core::error::Error;
use std::fmt;

/// A refusal. Its text is for a person; [`Refusal::code`] is for a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The process has ended, or never ran a program.
    Gone,
    /// It is not below the sandbox's init.
    Outside,
    /// It has more ancestors than are looked at.
    Deep,
    /// File or process changed whenever it was looked at. The path, as far as known.
    Raced(Box<[u8]>),
    /// The executable has more bytes than are hashed.
    TooLarge {
        /// As the sandbox names it.
        path: Box<[u8]>,
        /// Its size.
        size: u64,
    },
    /// The digest is another one than is trusted at this path.
    Changed(Box<Change>),
    /// More new executables than are remembered, of this sandbox or altogether.
    TooMany,
    /// A socket is shared by processes of different identity.
    Ambiguous,
    /// The sandbox is ending.
    Stopped,
    /// Something could not be read.
    Unreadable(Error),
    /// What is trusted could not be found out.
    Store(Error),
}

/// A path whose file is not what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// As the sandbox names it.
    pub path: Box<[u8]>,
    /// What is trusted there, newest first.
    pub known: Vec<Digest>,
    /// What is there.
    pub found: Digest,
    /// It is trusted for this sandbox's life only, so nothing is there to approve.
    pub private: bool,
}

impl Refusal {
    /// One word that stays the same from version to version.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::Gone => "process_gone",
            Refusal::Outside => "process_outside",
            Refusal::Deep => "too_many_ancestors",
            Refusal::Raced(_) => "executable_raced",
            Refusal::TooLarge { .. } => "executable_too_large",
            Refusal::Changed(_) => "executable_changed",
            Refusal::TooMany => "too_many_executables",
            Refusal::Ambiguous => "ambiguous_owners",
            Refusal::Stopped => "stopped",
            Refusal::Unreadable(_) => "process_unreadable",
            Refusal::Store(_) => "trust_unavailable",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Gone => f.write_str("the process that asked is gone"),
            Refusal::Outside => f.write_str("the process that asked is not of this sandbox"),
            Refusal::Deep => f.write_str("the process that asked has too many ancestors"),
            Refusal::Raced(path) => {
                write!(f, "identify {}: it changed while it was read", Shown(path))
            }
            Refusal::TooLarge { path, size } => {
                let most = crate::cache::MOST_BYTES;
                write!(f, "identify {}: {size} bytes are more than the {most} that are hashed", Shown(path))
            }
            Refusal::Changed(change) => change.fmt(f),
            Refusal::TooMany => f.write_str(
                "trust a new executable: this sandbox has shown too many, or the store is full\nhint: `casemate identity list` shows what is remembered, `casemate identity forget` makes room",
            ),
            Refusal::Ambiguous => f.write_str("the socket is shared by different programs"),
            Refusal::Stopped => f.write_str("the sandbox is ending"),
            Refusal::Unreadable(error) | Refusal::Store(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = Shown(&self.path);
        write!(f, "trust {path}: its SHA-256 is {}, not ", self.found)?;
        match self.known.first() {
            Some(known) => write!(f, "{known}")?,
            None => f.write_str("one that was approved")?,
        }
        f.write_str("\nhint: ")?;
        match path.word() {
            _ if self.private => f.write_str("a file that only this sandbox has can't be approved: give the changed program another name"),
            Some(word) => write!(f, "if the change is yours, `casemate identity approve {word}`"),
            None => f.write_str("if the change is yours, `casemate identity approve` with its path"),
        }
    }
}

impl std::error::Error for Refusal {}
