//! What the guest says over its serial line: one step a line, then `END`.
//!
//! ```text
//! STEP run-true-as-root ok "exit 0"
//! END 1
//! ```
//!
//! The detail is a JSON string, so that it has no line ends of its own.

use std::fmt;

use super::attempts;

/// One thing that was tried in the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    /// Without spaces.
    pub(crate) name: String,
    pub(crate) status: Status,
    /// What was seen; may have several lines.
    pub(crate) detail: String,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Ok,
    Fail,
    /// It could not be tried, or would have shown nothing.
    Skip,
}

/// A line of the guest.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Step(Step),
    /// The guest made this many steps and powers off.
    End(usize),
}

impl Step {
    /// Its name, for lists.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it was an attempt to get out.
    pub(crate) fn is_attempt(&self) -> bool {
        self.name.starts_with(attempts::PREFIX)
    }
}

impl Line {
    /// Nothing if the line is not one of ours.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Some(count) = text.strip_prefix("END ") {
            return count.parse().ok().map(Line::End);
        }
        let mut words = text.strip_prefix("STEP ")?.splitn(3, ' ');
        let (name, status, detail) = (words.next()?, words.next()?, words.next()?);
        Some(Line::Step(Step {
            name: name.to_owned(),
            status: Status::parse(status)?,
            detail: serde_json::from_str(detail).ok()?,
        }))
    }
}

impl Status {
    fn parse(word: &str) -> Option<Self> {
        [Status::Ok, Status::Fail, Status::Skip]
            .into_iter()
            .find(|one| one.word() == word)
    }

    fn word(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Fail => "fail",
            Status::Skip => "skip",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.word())
    }
}

impl fmt::Display for Line {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Line::Step(step) => {
                let detail = serde_json::Value::from(step.detail.as_str());
                write!(out, "STEP {} {} {detail}", step.name, step.status)
            }
            Line::End(count) => write!(out, "END {count}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_survives_the_way() {
        let detail = "two\nlines, \"quoted\"".to_owned();
        let step = Step {
            name: "run-true".into(),
            status: Status::Fail,
            detail,
        };
        let line = Line::Step(step);
        assert_eq!(Line::parse(&format!("{line}\r")), Some(line));
        assert_eq!(Line::parse(&Line::End(3).to_string()), Some(Line::End(3)));
    }

    #[test]
    fn other_lines_are_not_ours() {
        for text in [
            "",
            "[    0.5] Linux",
            "STEP x",
            "STEP x maybe \"\"",
            "END many",
        ] {
            assert_eq!(Line::parse(text), None, "{text}");
        }
    }
}
