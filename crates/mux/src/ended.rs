//! Why streams and sessions end.

use std::{fmt, io};

/// Why a stream was cut off, by the side that did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// Nobody listens behind that door.
    Closed,
    /// There are as many streams as there may be.
    Full,
    /// There is no such door.
    Unknown,
    /// The other side has no more use for the stream.
    Dropped,
    /// What was behind the door broke.
    Failed,
    /// This side broke a rule.
    Violation,
    /// A code of a later version.
    Other(u8),
}

impl Code {
    pub(crate) fn from_wire(code: u8) -> Self {
        match code {
            1 => Self::Closed,
            2 => Self::Full,
            3 => Self::Unknown,
            4 => Self::Dropped,
            5 => Self::Failed,
            6 => Self::Violation,
            other => Self::Other(other),
        }
    }

    pub(crate) fn to_wire(self) -> u8 {
        match self {
            Self::Closed => 1,
            Self::Full => 2,
            Self::Unknown => 3,
            Self::Dropped => 4,
            Self::Failed => 5,
            Self::Violation => 6,
            Self::Other(code) => code,
        }
    }

    /// The code that an error of a [`crate::Stream`] stands for, if the other side sent one.
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref::<Self>().copied()
    }

    pub(crate) fn error(self) -> io::Error {
        let kind = match self {
            Self::Closed => io::ErrorKind::ConnectionRefused,
            _ => io::ErrorKind::ConnectionReset,
        };
        io::Error::new(kind, self)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("nobody listens there"),
            Self::Full => f.write_str("the other side has too many streams"),
            Self::Unknown => f.write_str("the other side knows no such door"),
            Self::Dropped => f.write_str("the other side has dropped the stream"),
            Self::Failed => f.write_str("what the stream led to has failed"),
            Self::Violation => f.write_str("the other side says that this one broke a rule"),
            Self::Other(code) => write!(f, "the other side has cut it off with code {code}"),
        }
    }
}

impl std::error::Error for Code {}

/// Which rule the other side broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// What it sent is no frame.
    Malformed,
    /// A frame that only the other of the two may send, or not now.
    Misplaced,
    /// A frame of a stream that there has never been.
    NoStream,
    /// More than it has credit for.
    Overrun,
    /// More credit than there can be.
    Overdraft,
    /// More requests than it waits for answers to.
    Flood,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "it sent what is no frame",
            Self::Misplaced => "it sent a frame that isn't its to send, or not then",
            Self::NoStream => "it named a stream that there has never been",
            Self::Overrun => "it sent more than it had credit for",
            Self::Overdraft => "it gave more credit than there can be",
            Self::Flood => "it asked for more than it took answers to",
        })
    }
}

/// Why a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// This side let it go.
    Left,
    /// The channel ended or failed.
    Gone(io::ErrorKind),
    /// The other side broke a rule.
    Broken(Fault),
    /// The other side says that it is over.
    Refused(Code),
    /// The host has begun another session.
    Superseded,
    /// The guest gave no answer in time.
    Late,
    /// The guest speaks this version of the protocol, and the host another.
    Version(u8),
    /// All numbers of streams are used up.
    Exhausted,
}

impl Ended {
    pub(crate) fn error(self) -> io::Error {
        io::Error::new(io::ErrorKind::ConnectionAborted, self)
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Left => f.write_str("this side has left"),
            Self::Gone(io::ErrorKind::UnexpectedEof) => f.write_str("the channel has ended"),
            Self::Gone(kind) => write!(f, "the channel failed: {kind}"),
            Self::Broken(fault) => write!(f, "the other side broke a rule: {fault}"),
            Self::Refused(code) => write!(f, "the other side ended the session: {code}"),
            Self::Superseded => f.write_str("the host has begun another session"),
            Self::Late => f.write_str("the guest gave no answer in time"),
            Self::Version(version) => {
                write!(f, "the guest speaks version {version} of the protocol")
            }
            Self::Exhausted => f.write_str("all numbers of streams are used up"),
        }
    }
}

impl std::error::Error for Ended {}

/// Why no stream was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unopened {
    /// There are [`crate::STREAMS`] already.
    Full,
    /// The session is over.
    Ended(Ended),
}

impl fmt::Display for Unopened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => write!(f, "open a stream: there are {} already", crate::STREAMS),
            Self::Ended(why) => write!(f, "open a stream: {why}"),
        }
    }
}

impl std::error::Error for Unopened {}
