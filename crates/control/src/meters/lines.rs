//! What happened to one sandbox, line by line.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Lines of one sandbox.
const MOST: usize = 1000;
/// Bytes of all its lines: what runs inside may write as much as it likes.
const MOST_BYTES: usize = 128 * 1024;
/// Bytes of one message, and of one field.
const LONGEST: usize = 4096;
/// Fields of one line.
const MOST_FIELDS: usize = 16;
/// Bytes of a field's name; longer ones are left out.
const LONGEST_NAME: usize = 64;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// For who looks for a fault.
    Debug,
    /// As it should be.
    Info,
    /// Not as it should be.
    Warn,
    /// It failed.
    Error,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// When.
    pub timestamp: Timestamp,
    /// What.
    pub message: String,
    /// How much it matters.
    pub level: Level,
    /// More about it.
    pub fields: BTreeMap<String, String>,
}

/// The last ones.
#[derive(Default)]
pub(crate) struct Lines {
    ring: VecDeque<Line>,
    bytes: usize,
}

/// Which lines are asked for.
pub(crate) struct Wanted<'a> {
    /// Where to begin: at this time or later, or at this time or sooner.
    pub(crate) from: Option<Timestamp>,
    /// The newest first, and from there backward.
    pub(crate) backward: bool,
    /// At least so important.
    pub(crate) level: Level,
    /// With this text in the message.
    pub(crate) search: &'a str,
    /// No more than these.
    pub(crate) limit: usize,
}

impl Lines {
    /// Adds a line, shortened to what is kept.
    pub(crate) fn add(&mut self, mut line: Line) {
        shorten(&mut line.message);
        line.fields.retain(|name, _| name.len() <= LONGEST_NAME);
        while line.fields.len() > MOST_FIELDS {
            line.fields.pop_last();
        }
        line.fields.values_mut().for_each(shorten);
        self.bytes += bytes(&line);
        self.ring.push_back(line);
        while self.ring.len() > MOST || self.bytes > MOST_BYTES {
            let Some(oldest) = self.ring.pop_front() else {
                break;
            };
            self.bytes -= bytes(&oldest);
        }
    }

    pub(crate) fn some(&self, wanted: &Wanted<'_>) -> Vec<Line> {
        let fits = |line: &&Line| {
            let in_time = wanted.from.is_none_or(|from| match wanted.backward {
                true => line.timestamp <= from,
                false => line.timestamp >= from,
            });
            in_time && line.level >= wanted.level && line.message.contains(wanted.search)
        };
        let limit = wanted.limit;
        match wanted.backward {
            true => self
                .ring
                .iter()
                .rev()
                .filter(fits)
                .take(limit)
                .cloned()
                .collect(),
            false => self.ring.iter().filter(fits).take(limit).cloned().collect(),
        }
    }
}

fn bytes(line: &Line) -> usize {
    let fields = line.fields.iter();
    let fields: usize = fields.map(|(name, value)| name.len() + value.len()).sum();
    line.message.len() + fields
}

fn shorten(text: &mut String) {
    if text.len() > LONGEST {
        text.truncate(text.floor_char_boundary(LONGEST - 3));
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(second: i64, message: String, fields: usize) -> Line {
        Line {
            timestamp: Timestamp::from_second(second).unwrap(),
            message,
            level: Level::Info,
            fields: (0..fields)
                .map(|n| (n.to_string(), "x".repeat(9000)))
                .chain([("n".repeat(65), String::new())])
                .collect(),
        }
    }

    fn all(lines: &Lines) -> Vec<Line> {
        lines.some(&Wanted {
            from: None,
            backward: true,
            level: Level::Debug,
            search: "",
            limit: usize::MAX,
        })
    }

    #[test]
    fn lines_are_bounded_in_every_direction() {
        let mut lines = Lines::default();
        for second in 0..2000 {
            lines.add(line(second, "short".into(), 0));
        }
        let kept = all(&lines);
        assert_eq!((kept.len(), kept[0].timestamp.as_second()), (MOST, 1999));
        for second in 2000..2100 {
            lines.add(line(second, "é".repeat(5000), 100));
        }
        let kept = all(&lines);
        assert_eq!(kept[0].timestamp.as_second(), 2099);
        assert!(kept.iter().map(bytes).sum::<usize>() <= MOST_BYTES);
        assert!(kept.iter().all(|line| line.message.len() <= LONGEST));
        assert!(kept.iter().all(|line| line.fields.len() == MOST_FIELDS));
    }
}
