//! The one error of the library crates.
//!
//! Its text is a sentence for a person at a terminal: what was tried, on which object, why it
//! failed, and, on a line of its own, a hint. An errno keeps its number, so that callers can
//! tell causes apart without reading text.

use std::fmt;

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The kernel refused with this errno (errno(3)).
    Errno(i32),
    /// A rule of ours was broken; the text says which.
    Rule(String),
}

/// A step that failed, the object it failed on, the cause, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// What was tried, as a verb phrase: `mount a fresh /proc`.
    pub step: String,
    /// What it was tried on, if the step alone doesn't say.
    pub object: Option<String>,
    /// Why it failed.
    pub cause: Cause,
    /// What the reader can do about it.
    pub hint: Option<String>,
}

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A step that the kernel refused.
    pub fn errno(step: impl Into<String>, errno: impl Into<i32>) -> Self {
        Self {
            step: step.into(),
            object: None,
            cause: Cause::Errno(errno.into()),
            hint: None,
        }
    }

    /// A step that failed with an I/O error of the standard library.
    pub fn io(step: impl Into<String>, error: &std::io::Error) -> Self {
        let cause = match error.raw_os_error() {
            Some(errno) => Cause::Errno(errno),
            None => Cause::Rule(error.to_string()),
        };
        Self {
            step: step.into(),
            object: None,
            cause,
            hint: None,
        }
    }

    /// A step that a rule of ours refuses.
    pub fn rule(step: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            step: step.into(),
            object: None,
            cause: Cause::Rule(why.into()),
            hint: None,
        }
    }

    /// Names the object of the step.
    pub fn on(mut self, object: impl fmt::Display) -> Self {
        self.object = Some(object.to_string());
        self
    }

    /// Adds what the reader can do about it; the first hint wins, as it is nearest the cause.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// The errno, if the kernel gave one.
    pub fn raw_errno(&self) -> Option<i32> {
        match self.cause {
            Cause::Errno(errno) => Some(errno),
            Cause::Rule(_) => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.step)?;
        if let Some(object) = &self.object {
            write!(f, " {object}")?;
        }
        match &self.cause {
            Cause::Errno(errno) => write!(f, ": {}", std::io::Error::from_raw_os_error(*errno))?,
            Cause::Rule(why) => write!(f, ": {why}")?,
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_step_object_cause_and_hint() {
        let error = Error::errno("open", 2).on("/x").hint("create it first");
        assert_eq!(
            error.to_string(),
            "open /x: No such file or directory (os error 2)\nhint: create it first"
        );
    }

    #[test]
    fn the_hint_nearest_the_cause_is_kept() {
        let error = Error::rule("read", "empty").hint("near").hint("far");
        assert_eq!(error.hint.as_deref(), Some("near"));
    }
}
