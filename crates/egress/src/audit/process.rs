//! The program that did something.

use std::path::PathBuf;

/// A program, as far as it's known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Its executable.
    pub path: PathBuf,
    /// The executable's digest.
    pub sha256: Option<[u8; 32]>,
    /// In the sandbox's own numbering, if that is known.
    pub pid: Option<u32>,
    /// Its command line, as it says itself.
    pub command_line: Option<String>,
    /// Its parent, that one's parent and so on.
    pub ancestors: Vec<Ancestor>,
}

/// A program further up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ancestor {
    /// Its executable.
    pub path: PathBuf,
    /// In the sandbox's own numbering, if that is known.
    pub pid: Option<u32>,
}
