//! Why a message is refused.

use std::fmt;

/// What kind of answer a refused message gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 400.
    BadRequest,
    /// 413.
    TooLarge,
    /// 417.
    Expectation,
    /// 431.
    HeadTooLarge,
    /// 505.
    Version,
}

/// A message that isn't HTTP/1.1, or could be read in two ways.
///
/// The connection can't be used any more: nobody knows where the next message begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    kind: Kind,
    why: &'static str,
}

impl Malformed {
    pub(crate) const fn new(kind: Kind, why: &'static str) -> Self {
        Self { kind, why }
    }

    pub(crate) const fn bad(why: &'static str) -> Self {
        Self::new(Kind::BadRequest, why)
    }

    pub(crate) const fn version() -> Self {
        Self::new(Kind::Version, "only HTTP/1.0 and HTTP/1.1 are spoken")
    }

    /// What kind of answer it gets.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The status of the answer, if the message was a request.
    pub fn status(&self) -> u16 {
        match self.kind {
            Kind::BadRequest => 400,
            Kind::TooLarge => 413,
            Kind::Expectation => 417,
            Kind::HeadTooLarge => 431,
            Kind::Version => 505,
        }
    }

    /// What is wrong, in one line.
    pub fn why(&self) -> &'static str {
        self.why
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed HTTP message: {}", self.why)
    }
}

impl std::error::Error for Malformed {}
