//! Why something that a client asked of the files can't be done.
//!
//! The same faults are answered over plain HTTP and over Connect, so they know neither: a cause
//! that clients tell apart, and a sentence for people.

use rustix::io::Errno;
use std::fmt::Display;
use std::path::Path;

/// What clients tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// There is nothing at that path.
    Missing,
    /// There is something already.
    Exists,
    /// The request can't be meant like that.
    Invalid,
    /// Symbolic links that lead to each other, or a folder that isn't empty: the request makes
    /// sense, the files as they are forbid it.
    State,
    /// No space is left, or no quota.
    Full,
    /// A bound of the agent's or the kernel's.
    Bound,
    /// Changes happened that can't be named any more.
    Lost,
    /// The kernel refused for another reason.
    Refused,
}

/// A cause and its sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) cause: Cause,
    pub(crate) text: String,
}

/// The result of an operation on files.
pub(crate) type Result<T> = std::result::Result<T, Fault>;

impl Fault {
    pub(crate) fn new(cause: Cause, text: impl Into<String>) -> Self {
        Self {
            cause,
            text: text.into(),
        }
    }

    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self::new(Cause::Invalid, text)
    }

    /// What the kernel said when `step` was tried on `path`.
    pub(crate) fn errno(step: impl Display, path: &Path, errno: Errno) -> Self {
        let path = path.display();
        match errno {
            Errno::NOENT => Self::new(Cause::Missing, format!("path '{path}' does not exist")),
            Errno::NOTDIR => Self::invalid(format!("path '{path}' leads through a file")),
            Errno::NAMETOOLONG => Self::invalid(format!("path '{path}' has too long a name")),
            Errno::ISDIR => Self::invalid(format!("path '{path}' is a directory")),
            Errno::LOOP => Self::new(
                Cause::State,
                format!("path '{path}' leads through a cyclic symlink"),
            ),
            Errno::NOTEMPTY | Errno::EXIST => Self::new(
                Cause::State,
                format!("cannot {step} '{path}': there is something already"),
            ),
            Errno::NOSPC | Errno::DQUOT => Self::new(
                Cause::Full,
                format!("not enough disk space available to {step} '{path}'"),
            ),
            _ => Self::new(Cause::Refused, format!("cannot {step} '{path}': {errno}")),
        }
    }

    /// [`Fault::errno`] for an error of the standard library.
    pub(crate) fn io(step: impl Display, path: &Path, error: &std::io::Error) -> Self {
        match Errno::from_io_error(error) {
            Some(errno) => Self::errno(step, path, errno),
            None => Self::new(
                Cause::Refused,
                format!("cannot {step} '{}': {error}", path.display()),
            ),
        }
    }
}
