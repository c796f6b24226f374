//! What happened to one sandbox, line by line.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Lines of one sandbox.
const MOST: usize = 1000;
/// Bytes of one message, and of one field.
const LONGEST: usize = 4096;
/// Fields of one line.
const MOST_FIELDS: usize = 16;

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
pub(crate) struct Lines(VecDeque<Line>);

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
        while line.fields.len() > MOST_FIELDS {
            line.fields.pop_last();
        }
        line.fields.values_mut().for_each(shorten);
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        self.0.push_back(line);
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
                .0
                .iter()
                .rev()
                .filter(fits)
                .take(limit)
                .cloned()
                .collect(),
            false => self.0.iter().filter(fits).take(limit).cloned().collect(),
        }
    }
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

    #[test]
    fn lines_are_bounded_in_every_direction() {
        let mut lines = Lines::default();
        for second in 0..2000 {
            lines.add(Line {
                timestamp: Timestamp::from_second(second).unwrap(),
                message: "é".repeat(5000),
                level: Level::Info,
                fields: (0..100)
                    .map(|n| (n.to_string(), "x".repeat(9000)))
                    .collect(),
            });
        }
        let all = lines.some(&Wanted {
            from: None,
            backward: true,
            level: Level::Debug,
            search: "",
            limit: usize::MAX,
        });
        assert_eq!((all.len(), all[0].timestamp.as_second()), (MOST, 1999));
        assert!(
            all.iter()
                .all(|line| line.message.len() <= LONGEST && line.fields.len() == MOST_FIELDS)
        );
        assert!(all[0].fields.values().all(|value| value.len() <= LONGEST));
    }
}
