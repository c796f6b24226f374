//! What a controller asks of its processes.

use std::path::PathBuf;
use std::time::Duration;

/// A tree's shape and its limits.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The program that the processes are; `None` for this one.
    pub program: Option<PathBuf>,
    /// How many workers wait ready.
    pub pool: u32,
    /// How long a process may take to its first words.
    pub patience: Duration,
    /// A worker's private memory, bytes (RLIMIT_DATA): what the largest guest may have. It lowers it
    /// when it knows its own.
    pub data: u64,
    /// A worker's open files (RLIMIT_NOFILE).
    pub open_files: u64,
    /// User and group of the processes, if root starts them; any other user stays who they are.
    pub identity: (u32, u32),
    /// For [`super::Runtime::prepare`]; at most [`super::LONGEST_CONFIG`] bytes.
    pub config: Vec<u8>,
}

/// Nobody's account (`nobody` of Debian).
const NOBODY: u32 = 65534;

impl Default for Spec {
    fn default() -> Self {
        Self {
            program: None,
            pool: 4,
            patience: Duration::from_secs(10),
            data: 4 << 40,
            open_files: 64,
            identity: (NOBODY, NOBODY),
            config: Vec::new(),
        }
    }
}

/// A compiler's limits.
#[derive(Debug, Clone, Copy)]
pub struct CompileLimits {
    /// From the order to the last byte.
    pub time: Duration,
    /// Its address space beyond what the launcher's has (RLIMIT_AS, RLIMIT_DATA), bytes.
    pub memory: u64,
    /// The longest result, bytes (RLIMIT_FSIZE).
    pub output: u64,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(60),
            memory: 2 << 30,
            output: 1 << 30,
        }
    }
}
