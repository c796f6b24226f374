//! What came of a call.

use super::{Effects, MOST_SLICES};

/// Why a call was rejected (Internet Computer interface specification, "Reject codes").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RejectCode {
    /// The system can't, now or ever.
    SysFatal = 1,
    /// The system can't now.
    SysTransient = 2,
    /// There is nobody there.
    DestinationInvalid = 3,
    /// The canister said no.
    CanisterReject = 4,
    /// The canister failed.
    CanisterError = 5,
    /// It isn't known what became of it.
    SysUnknown = 6,
}

impl RejectCode {
    /// The one of this number.
    #[must_use]
    pub fn of(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::SysFatal,
            2 => Self::SysTransient,
            3 => Self::DestinationInvalid,
            4 => Self::CanisterReject,
            5 => Self::CanisterError,
            6 => Self::SysUnknown,
            _ => return None,
        })
    }
}

/// What a canister answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Bytes.
    Reply(Vec<u8>),
    /// No, and why.
    Reject(String),
}

/// Why a call failed. Nothing that it wrote is kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A WebAssembly trap.
    #[error("{kind}{}", at(.frames))]
    Trap {
        /// Which.
        kind: String,
        /// The functions that it happened in, the innermost first, with offsets in the module.
        frames: Vec<String>,
    },
    /// The canister called `ic0.trap`.
    #[error("the canister trapped: {message}{}", at(.frames))]
    Canister {
        /// What it said.
        message: String,
        /// The functions that it happened in.
        frames: Vec<String>,
    },
    /// A system call was used where, or as, it may not be.
    #[error("{function}: {why}")]
    Contract {
        /// The system call.
        function: String,
        /// What is wrong with it.
        why: String,
    },
    /// More instructions than it may have.
    #[error("the limit of {limit} instructions is reached")]
    Instructions {
        /// How many it may have.
        limit: u64,
    },
    /// More slices than it may have.
    #[error("the limit of {MOST_SLICES} slices of {slice} instructions is reached")]
    Slices {
        /// How long one may be.
        slice: u64,
    },
    /// Whoever was asked between two of its slices let it go no further.
    #[error("deadline exceeded, nothing was changed: it was aborted between two of its slices")]
    Aborted,
    /// Memory is used up.
    #[error("memory: {0}")]
    Memory(String),
    /// There is no such method.
    #[error("there is no method {0:?}")]
    NoMethod(String),
    /// It ended, and so did all that it called, without an answer.
    #[error("the canister didn't answer, and waits for nothing that could make it")]
    NoAnswer,
    /// What ran it crashed, again and again.
    #[error("the process that ran it crashed")]
    Crashed,
}

impl Failure {
    /// Of a composite query that can't wait for the answers of its calls: it has written so many pages
    /// of memory, and may no more than this.
    pub(crate) fn too_much_to_keep(pages: u64, most: u64) -> Self {
        let mebibytes = |pages: u64| pages.div_ceil(256);
        Self::Memory(format!(
            "a query that waits for the answers of its calls had written {} MiB, and may have {}",
            mebibytes(pages),
            mebibytes(most)
        ))
    }

    /// As a caller is told of it.
    #[must_use]
    pub fn code(&self) -> RejectCode {
        match self {
            Self::NoMethod(_) => RejectCode::DestinationInvalid,
            _ => RejectCode::CanisterError,
        }
    }
}

/// ` in f (offset 3), g (offset 4)`.
fn at(frames: &[String]) -> String {
    match frames {
        [] => String::new(),
        frames => format!(" in {}", frames.join(", called by ")),
    }
}

/// What a global holds, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// 32 bits.
    I32(i32),
    /// 64 bits.
    I64(i64),
    /// A float of 32 bits.
    F32(u32),
    /// A float of 64 bits.
    F64(u64),
    /// A vector.
    V128(u128),
}

/// A call that has run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// What came out: an answer, or none (yet).
    pub result: Result<Option<Answer>, Failure>,
    /// Instructions that it took.
    pub instructions: u64,
    /// What is to come of it.
    pub effects: Effects,
    /// Of a call that succeeded and keeps what it wrote: the globals that can change.
    pub globals: Vec<Value>,
    /// The heap's size after it, in pages of WebAssembly.
    pub heap_pages: u64,
    /// The stable memory's.
    pub stable_pages: u64,
}
