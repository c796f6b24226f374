//! What the harness set up around the wall, as told by environment variables.
//!
//! | variable | meaning |
//! |---|---|
//! | `ATTEMPT_WORKSPACE` | the writable directory, a git repository |
//! | `ATTEMPT_SECRET` | a private file of the caller outside of it, which holds the token |
//! | `ATTEMPT_OUTSIDE` | a directory outside of it with `token`, `plain` and `linked` |
//! | `ATTEMPT_SHARED` | a directory of the caller that a sandbox may get read-only |
//! | `ATTEMPT_TOKEN` | the text that proves contact with the host |
//! | `ATTEMPT_SOCKET`, `ATTEMPT_ABSTRACT` | Unix stream sockets of the host that answer with the token |
//! | `ATTEMPT_PORT`, `ATTEMPT_UDP_PORT` | the same on 127.0.0.1 |
//! | `ATTEMPT_PID` | a process of the caller, outside |
//! | `ATTEMPT_INIT` | the process to treat as the sandbox's init; 1 when unset |
//! | `ATTEMPT_HANDLE` | the file handle of the secret, in hexadecimal |
//! | `ATTEMPT_FD_DIRECTORY`, `_PATH`, `_FILE`, `_SOCKET` | numbers of inherited descriptors |
//! | `ATTEMPT_SHM_KEY`, `ATTEMPT_QUEUE`, `ATTEMPT_SHM_FILE` | System V and POSIX objects of the host |
//! | `ATTEMPT_KEY` | description of a key in the caller's session keyring |
//! | `ATTEMPT_TTY` | the number N of the caller's terminal `/dev/pts/N` |
//! | `ATTEMPT_MEMORY`, `ATTEMPT_PIDS`, `ATTEMPT_DISK` | the limit to pass, in bytes or processes |

use std::path::PathBuf;
use std::str::FromStr;
use std::time::{Duration, Instant};

use crate::attempt::{Stop, Verdict};
use crate::call::{blocked, inconclusive, sleep};

/// In the environment of the caller and of the process outside, never handed to an attempt.
pub(crate) const CALLER_ONLY: &str = "CALLER_TOKEN";

pub(crate) fn text(name: &str) -> Result<String, Stop> {
    std::env::var(name).or_else(|_| inconclusive(format!("{name} is not set")))
}

pub(crate) fn number<T: FromStr>(name: &str) -> Result<T, Stop> {
    text(name)?
        .parse()
        .or_else(|_| inconclusive(format!("{name} is not a number")))
}

fn path(name: &str) -> Result<PathBuf, Stop> {
    text(name).map(PathBuf::from)
}

pub(crate) fn secret() -> Result<PathBuf, Stop> {
    path("ATTEMPT_SECRET")
}

pub(crate) fn outside(name: &str) -> Result<PathBuf, Stop> {
    Ok(path("ATTEMPT_OUTSIDE")?.join(name))
}

pub(crate) fn shared(name: &str) -> Result<PathBuf, Stop> {
    Ok(path("ATTEMPT_SHARED")?.join(name))
}

pub(crate) fn workspace(name: &str) -> Result<PathBuf, Stop> {
    Ok(path("ATTEMPT_WORKSPACE")?.join(name))
}

/// A process of the caller on the host.
pub(crate) fn victim() -> Result<i32, Stop> {
    number("ATTEMPT_PID")
}

/// Where there is no wall a process of the same user stands in for its init.
pub(crate) fn init() -> i32 {
    number("ATTEMPT_INIT").unwrap_or(1)
}

/// Crossed if `bytes` hold the token.
pub(crate) fn reveals(bytes: &[u8], from: &str) -> Verdict {
    let token = text("ATTEMPT_TOKEN")?;
    if bytes
        .windows(token.len())
        .any(|window| window == token.as_bytes())
    {
        return Ok(format!("the token was read from {from}"));
    }
    blocked(format!("{from}: {} bytes without the token", bytes.len()))
}

/// Crossed if the host notes within half a second that `message` arrived.
pub(crate) fn received(message: &str) -> Verdict {
    let receipt = workspace("receipts")?.join(message);
    let end = Instant::now() + Duration::from_millis(500);
    while Instant::now() < end {
        if receipt.exists() {
            return Ok(format!("the host received {message}"));
        }
        sleep(5);
    }
    blocked(format!("{message} never reached the host"))
}

/// The processes that /proc shows.
pub(crate) fn processes() -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}
