//! How a call through a ring can end.

use std::fmt;

/// Why nothing was sent or received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// It didn't come to it before the deadline.
    Late,
    /// The other side has ended.
    Gone,
    /// The frame is longer than [`MAX_FRAME`](super::MAX_FRAME).
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// The other side broke the rules.
    Breach(Breach),
    /// An earlier call stopped in the middle of a frame.
    Halfway,
}

/// What a side did that no honest one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breach {
    /// It says that it read what wasn't sent, or takes back what it said.
    Head,
    /// It says that it sent more than there is room for, or takes back what it said.
    Tail,
    /// It announced a frame that is too long.
    Length,
    /// It woke this side over and over for nothing.
    Noise,
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late => write!(out, "calling through shared memory: the time is up"),
            Self::Gone => write!(
                out,
                "calling through shared memory: the other side has ended"
            ),
            Self::TooLong { bytes } => write!(
                out,
                "calling through shared memory: a frame of {bytes} bytes, of at most {}\n\
                 hint: send it as a sealed file",
                super::MAX_FRAME
            ),
            Self::Breach(breach) => {
                write!(
                    out,
                    "calling through shared memory: the other side {breach}"
                )
            }
            Self::Halfway => write!(
                out,
                "calling through shared memory: an earlier call ended within a frame"
            ),
        }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Head => "says that it has read what was never sent",
            Self::Tail => "says that it has sent more than there is room for",
            Self::Length => "announced a frame that is too long",
            Self::Noise => "keeps on waking this one for nothing",
        })
    }
}

impl std::error::Error for Error {}
