//! What is wrong with a policy: a list of problems, each with its position and a hint.

use std::fmt::{self, Display};

use crate::position::Position;

/// A file of nonsense gets this many problems listed; the rest is only counted.
const MAX_LISTED: usize = 50;

/// A quotation from the file is cut after this many characters.
const MAX_QUOTED_CHARS: usize = 80;

/// Why a policy can't be used: every problem found in it, in the order of the file.
///
/// Displayed as one line a problem, `NAME:LINE:COLUMN: MESSAGE`, each followed by a line `hint: …`
/// where there is something useful to say. The last line doesn't end in a newline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    name: String,
    problems: Vec<Problem>,
    unlisted: usize,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it is; none if it concerns the file and not its text.
    pub position: Option<Position>,
    /// What is wrong, in one line.
    pub message: String,
    /// What to do about it, in one line, where that is known.
    pub hint: Option<String>,
}

impl PolicyError {
    /// The name of the policy, as given to `load` or `parse`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The problems in the order of the file; never empty, and at most 50.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl std::error::Error for PolicyError {}

impl Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let newline = if index > 0 { "\n" } else { "" };
            write!(f, "{newline}{}", escaped(&self.name))?;
            if let Some(position) = problem.position {
                write!(f, ":{position}")?;
            }
            write!(f, ": {}", problem.message)?;
            if let Some(hint) = &problem.hint {
                write!(f, "\nhint: {hint}")?;
            }
        }
        if self.unlisted > 0 {
            write!(f, "\n{}: and {} more", escaped(&self.name), self.unlisted)?;
        }
        Ok(())
    }
}

/// The problems found so far. Readers add to it and go on with what is usable.
#[derive(Default)]
pub(crate) struct Report {
    problems: Vec<Problem>,
}

impl Report {
    pub(crate) fn add(&mut self, position: Position, message: impl Into<String>) {
        self.push(Some(position), message.into(), None);
    }

    pub(crate) fn add_with_hint(
        &mut self,
        position: Position,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.push(Some(position), message.into(), Some(hint.into()));
    }

    /// A problem with the file itself.
    pub(crate) fn add_for_file(&mut self, message: impl Into<String>, hint: Option<&str>) {
        self.push(None, message.into(), hint.map(str::to_owned));
    }

    fn push(&mut self, position: Option<Position>, message: String, hint: Option<String>) {
        self.problems.push(Problem {
            position,
            message,
            hint,
        });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// The error that lists the problems in the order of the file.
    pub(crate) fn into_error(mut self, name: &str) -> PolicyError {
        self.problems.sort_by_key(|problem| problem.position);
        let unlisted = self.problems.len().saturating_sub(MAX_LISTED);
        self.problems.truncate(MAX_LISTED);
        PolicyError {
            name: name.to_owned(),
            problems: self.problems,
            unlisted,
        }
    }
}

/// Text of the file in backticks, fit for a terminal: one line, no control characters, not endless.
pub(crate) fn quoted(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTED_CHARS) {
        Some((end, _)) => format!("`{}…`", escaped(&text[..end])),
        None => format!("`{}`", escaped(text)),
    }
}

/// Several names in backticks, separated by commas.
pub(crate) fn quoted_list(names: &[&str]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

/// The text with everything that isn't printable written as an escape.
pub(crate) fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\'' | '"' | '\\' => shown.push(character),
            other => shown.extend(other.escape_debug()),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::{MAX_LISTED, Report, quoted};
    use crate::position::Position;

    #[test]
    fn quotations_cannot_drive_a_terminal() {
        assert_eq!(quoted("/a b'\"\\\u{e4}"), "`/a b'\"\\\u{e4}`");
        assert_eq!(
            quoted("\u{1b}[2J\n\0\u{202e}"),
            "`\\u{1b}[2J\\n\\0\\u{202e}`"
        );
        assert_eq!(quoted(&"x".repeat(81)), format!("`{}…`", "x".repeat(80)));
    }

    #[test]
    fn problems_are_in_the_order_of_the_file() {
        let mut report = Report::default();
        report.add(Position { line: 2, column: 1 }, "second");
        report.add_with_hint(Position { line: 1, column: 9 }, "first", "mend it");
        assert_eq!(
            report.into_error("p").to_string(),
            "p:1:9: first\nhint: mend it\np:2:1: second"
        );
    }

    #[test]
    fn a_file_of_nonsense_is_not_listed_whole() {
        let mut report = Report::default();
        (0..MAX_LISTED + 7).for_each(|_| report.add(Position::START, "wrong"));
        let error = report.into_error("p");
        assert_eq!(error.problems().len(), MAX_LISTED);
        assert!(error.to_string().ends_with("\np: and 7 more"));
    }
}
