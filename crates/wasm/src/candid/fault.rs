//! What is wrong with an argument, a reply or an interface.

use std::fmt;

/// Where in a text something is, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Which line.
    pub line: usize,
    /// Which character of it.
    pub column: usize,
}

impl Place {
    /// Of a byte of a text.
    pub(super) fn of(text: &str, at: usize) -> Self {
        let before = &text[..text.floor_char_boundary(at)];
        let line = before.rfind('\n').map_or(0, |end| end + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line..].chars().count() + 1,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            1 => write!(formatter, "character {}", self.column),
            line => write!(formatter, "line {line}, character {}", self.column),
        }
    }
}

/// Why bytes could not be made of an argument, or nothing readable of a reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}{}", hinted(.hint))]
pub struct Fault {
    /// What was tried.
    pub what: String,
    /// Why it failed, and where.
    pub why: String,
    /// What to do.
    pub hint: Option<String>,
}

fn hinted(hint: &Option<String>) -> String {
    hint.as_ref()
        .map(|hint| format!("\nhint: {hint}"))
        .unwrap_or_default()
}

/// What is wrong at a place of a text. Words of a stranger are escaped in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    /// The byte of the text, if it is a text.
    pub(super) at: Option<usize>,
    /// What is there, and what should be.
    pub(super) why: String,
    /// What to write instead.
    pub(super) hint: Option<String>,
}

impl Wrong {
    pub(super) fn at(at: usize, why: impl Into<String>) -> Self {
        Self {
            at: Some(at),
            ..Self::new(why)
        }
    }

    pub(super) fn new(why: impl Into<String>) -> Self {
        Self {
            at: None,
            why: why.into(),
            hint: None,
        }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// For whoever wrote the text.
    pub(super) fn in_text(self, what: &str, text: &str) -> Fault {
        let why = match self.at {
            Some(at) => format!("{}: {}", Place::of(text, at), self.why),
            None => self.why,
        };
        Fault {
            what: what.to_owned(),
            why,
            hint: self.hint,
        }
    }
}

/// A stranger's words, so that they can be shown: escaped, and not many.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN: usize = 60;
    let short: String = text.chars().take(SHOWN).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("\"{}{more}\"", short.escape_debug())
}
