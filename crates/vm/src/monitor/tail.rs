//! The last of what a machine said: its console, and what its monitor itself complains of.
//!
//! All of it is read, so that nobody waits to say it, and little is kept: who writes there may be
//! the guest.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::unix::pipe::Receiver;

/// What is kept, bytes.
const KEPT: usize = 32 << 10;
/// What is told of it: lines, and characters of each.
const LINES: usize = 60;
const LONGEST: usize = 300;

#[derive(Debug, Clone, Default)]
pub(crate) struct Tail(Arc<Mutex<VecDeque<u8>>>);

impl Tail {
    fn add(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = &bytes[bytes.len().saturating_sub(KEPT)..];
        let excess = (kept.len() + fresh.len()).saturating_sub(KEPT);
        kept.drain(..excess);
        kept.extend(fresh);
    }

    /// The last lines, oldest first, escaped.
    pub(crate) fn lines(&self) -> Vec<String> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = kept.iter().copied().collect();
        drop(kept);
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim_end)
            .filter(|line| !line.is_empty())
            .collect();
        let last = &lines[lines.len().saturating_sub(LINES)..];
        last.iter().map(|line| shown(line)).collect()
    }

    /// Reads the pipe to its end. What doesn't end with the process that was started is left by the
    /// caller.
    pub(crate) async fn follow(self, pipe: OwnedFd) {
        let Ok(pipe) = Receiver::from_owned_fd(pipe) else {
            return;
        };
        let mut block = vec![0; 8192];
        while pipe.readable().await.is_ok() {
            match pipe.try_read(&mut block) {
                Ok(0) => return,
                Ok(count) => self.add(&block[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}

fn shown(line: &str) -> String {
    let shown: String = line.chars().take(LONGEST).collect();
    shown.replace('\t', " ").chars().flat_map(escaped).collect()
}

/// As it may go to a terminal: without what moves its cursor.
fn escaped(character: char) -> Vec<char> {
    match character.is_control() {
        true => character.escape_unicode().collect(),
        false => vec![character],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept_and_shown_harmless() {
        let tail = Tail::default();
        for number in 0..5000 {
            tail.add(format!("line {number}\x1b[2J\r\n").as_bytes());
        }
        let lines = tail.lines();
        assert_eq!(lines.len(), LINES);
        assert_eq!(lines[LINES - 1], "line 4999\\u{1b}[2J");
    }

    #[test]
    fn one_line_without_end_is_cut() {
        let tail = Tail::default();
        for _ in 0..100 {
            tail.add(&[b'x'; 5000]);
        }
        assert_eq!(tail.0.lock().expect("no panic").len(), KEPT);
        assert_eq!(tail.lines(), ["x".repeat(LONGEST)]);
    }
}
