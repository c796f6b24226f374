//! Why a policy can't be compiled.

use std::fmt;

use super::glob::BadGlob;
use crate::position::Position;
use crate::quote::quoted;

/// A pattern of the policy that can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError {
    /// Where it is.
    pub position: Position,
    /// What is wrong, in one line.
    pub message: String,
    /// What to do about it.
    pub hint: &'static str,
}

impl CompileError {
    pub(super) fn new((position, pattern, bad): (Position, String, BadGlob)) -> Self {
        let pattern = quoted(&pattern);
        let (message, hint) = match bad {
            BadGlob::Syntax => (
                format!("{pattern} is not a pattern"),
                "close every `[` and `{`; write `\\[` for the character itself",
            ),
            BadGlob::TooComplex => (
                format!("the pattern {pattern} is too complex to be compiled"),
                "use fewer `*` and `?`, or several simple patterns",
            ),
        };
        CompileError {
            position,
            message,
            hint,
        }
    }
}

impl std::error::Error for CompileError {}

/// Displayed as `LINE:COLUMN: MESSAGE` and a line `hint: …`.
impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CompileError {
            position,
            message,
            hint,
        } = self;
        write!(f, "{position}: {message}\nhint: {hint}")
    }
}
