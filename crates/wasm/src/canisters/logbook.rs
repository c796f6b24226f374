//! What a canister printed last, which survives it.
//!
//! `HOME/log` has a line for each: nanoseconds since 1970, a space, and the text with everything
//! escaped that isn't plain. It is for people; nothing depends on it, so a line that can't be written
//! is lost without a word.

use crate::call::Log;
use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Lines that are kept in memory.
const KEPT: usize = 200;
/// The longest line that is kept, bytes.
const LONGEST: usize = 4 << 10;
/// The longest file; the older half of a longer one goes.
const MOST: u64 = 1 << 20;

/// The last lines of one canister.
#[derive(Debug)]
pub(super) struct Logbook {
    path: PathBuf,
    lines: VecDeque<Log>,
    file: Option<File>,
    length: u64,
}

impl Logbook {
    /// Reads what there is.
    pub(super) fn open(home: &Path) -> Self {
        let path = home.join("log");
        let text = std::fs::read(&path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let all = text.lines().filter_map(line);
        let mut lines: VecDeque<Log> = VecDeque::new();
        for log in all {
            if lines.len() == KEPT {
                lines.pop_front();
            }
            lines.push_back(log);
        }
        Self {
            length: text.len() as u64,
            path,
            lines,
            file: None,
        }
    }

    /// One that nobody reads.
    pub(super) fn closed() -> Self {
        Self {
            path: PathBuf::new(),
            lines: VecDeque::new(),
            file: None,
            length: 0,
        }
    }

    /// It lies elsewhere now.
    pub(super) fn moved(&mut self, home: &Path) {
        self.path = home.join("log");
        self.file = None;
    }

    /// Appends lines.
    pub(super) fn extend(&mut self, logs: &[Log]) {
        if logs.is_empty() {
            return;
        }
        let mut text = Vec::new();
        for log in logs {
            let kept = &log.text[..log.text.len().min(LONGEST)];
            let _ = writeln!(text, "{} {}", log.time, kept.escape_ascii());
            if self.lines.len() == KEPT {
                self.lines.pop_front();
            }
            self.lines.push_back(Log {
                time: log.time,
                text: kept.to_vec(),
            });
        }
        self.write(&text);
    }

    /// A line of the host's own.
    pub(super) fn note(&mut self, time: u64, text: &str) {
        let lines = text.lines().map(|line| Log {
            time,
            text: line.as_bytes().to_vec(),
        });
        self.extend(&lines.collect::<Vec<_>>());
    }

    /// The last lines, the oldest first.
    pub(super) fn lines(&self) -> Vec<Log> {
        self.lines.iter().cloned().collect()
    }

    fn write(&mut self, text: &[u8]) {
        if self.length + text.len() as u64 > MOST {
            self.halve();
        }
        if self.path.as_os_str().is_empty() {
            return;
        }
        if self.file.is_none() {
            let opened = File::options().append(true).create(true).open(&self.path);
            self.file = opened.ok();
        }
        if let Some(file) = &mut self.file
            && file.write_all(text).is_ok()
        {
            self.length += text.len() as u64;
        }
    }

    fn halve(&mut self) {
        self.file = None;
        let text = std::fs::read(&self.path).unwrap_or_default();
        let middle = text.len() / 2;
        let end = text[middle..].iter().position(|byte| *byte == b'\n');
        let rest = end.map_or(&[][..], |end| &text[middle + end + 1..]);
        let _ = crate::store::write_whole(&self.path, rest, false);
        self.length = rest.len() as u64;
    }
}

fn line(line: &str) -> Option<Log> {
    let (time, text) = line.split_once(' ')?;
    Some(Log {
        time: time.parse().ok()?,
        text: unescape(text.as_bytes()),
    })
}

/// The inverse of `escape_ascii`; what it didn't write stays as it is.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, others)) = rest.split_first() {
        let (byte, after) = match (first, others) {
            (b'\\', [b'x', high, low, after @ ..]) => {
                let digits = [*high, *low];
                let byte = std::str::from_utf8(&digits)
                    .ok()
                    .and_then(|digits| u8::from_str_radix(digits, 16).ok());
                (byte.unwrap_or(b'?'), after)
            }
            (b'\\', [b'n', after @ ..]) => (b'\n', after),
            (b'\\', [b'r', after @ ..]) => (b'\r', after),
            (b'\\', [b't', after @ ..]) => (b'\t', after),
            (b'\\', [byte, after @ ..]) => (*byte, after),
            _ => (*first, others),
        };
        bytes.push(byte);
        rest = after;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(time: u64, text: &[u8]) -> Log {
        Log {
            time,
            text: text.to_vec(),
        }
    }

    #[test]
    fn lines_come_back_whatever_is_in_them() {
        let folder = tempfile::tempdir().unwrap();
        let every: Vec<u8> = (0..=255).collect();
        let logs = [log(1, b"plain"), log(2, &every), log(3, b"")];
        Logbook::open(folder.path()).extend(&logs);
        assert_eq!(Logbook::open(folder.path()).lines(), logs);
    }

    #[test]
    fn the_newest_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut book = Logbook::open(folder.path());
        for number in 0..2000 {
            book.extend(&[log(number, &[b'a'; 1000])]);
        }
        let length = std::fs::metadata(folder.path().join("log")).unwrap().len();
        assert!(length <= MOST, "{length}");
        let found = Logbook::open(folder.path()).lines();
        assert_eq!(found, book.lines());
        assert_eq!((found.len(), found[KEPT - 1].time), (KEPT, 1999));
    }
}
