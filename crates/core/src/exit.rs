//! How a run ends, and the exit code that says so.
//!
//! The codes follow env(1) and timeout(1): a program's own status is passed through, a signal
//! is 128 + its number, 124 is time, 125 Casemate itself, 126 found but not executable, 127 not
//! found. The codes of the other limits stand just below. A Wasm program that traps has no signal of
//! its own, and gets that of abort(3).

use crate::error::Error;
use crate::limits::Reached;
use serde::Serialize;

/// The limit on a Wasm program's instructions was reached.
pub const FUEL: u8 = 119;
/// The memory limit was reached.
pub const MEMORY: u8 = 120;
/// The process limit was reached.
pub const PIDS: u8 = 121;
/// The disk or inode limit was reached.
pub const DISK: u8 = 122;
/// The wall itself ended the run: the program kept on attacking a protected name.
pub const PROTECTED: u8 = 123;
/// The time limit was reached (timeout(1)).
pub const TIME: u8 = 124;
/// Casemate itself failed before or beside the program (timeout(1), env(1)).
pub const FAILED: u8 = 125;
/// The program was found but could not be executed (env(1)).
pub const NOT_EXECUTABLE: u8 = 126;
/// The program was not found (env(1)).
pub const NOT_FOUND: u8 = 127;
/// A Wasm program trapped: 128 and SIGABRT, as for a program that aborts.
pub const TRAP: u8 = 134;

/// An error, and the exit code for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// [`FAILED`], [`NOT_EXECUTABLE`] or [`NOT_FOUND`].
    pub code: u8,
    /// What went wrong.
    pub error: Error,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            code: FAILED,
            error,
        }
    }
}

/// How the program ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "how")]
pub enum Outcome {
    /// It exited by itself with this status.
    Exited {
        /// The status, 0 to 255.
        status: u8,
    },
    /// A signal ended it.
    Signaled {
        /// The signal's number (signal(7)).
        signal: i32,
    },
    /// Casemate stopped it because a limit was reached.
    Stopped {
        /// The limit and its measure.
        limit: Reached,
    },
}

impl Outcome {
    /// The exit code that `casemate run` returns for it.
    pub fn code(&self) -> u8 {
        match self {
            Self::Exited { status } => *status,
            Self::Signaled { signal } => 128u8.saturating_add(u8::try_from(*signal).unwrap_or(127)),
            Self::Stopped { limit } => limit.code(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_128_plus_its_number() {
        assert_eq!(Outcome::Signaled { signal: 9 }.code(), 137);
        assert_eq!(Outcome::Exited { status: 7 }.code(), 7);
    }
}
