//! What is wrong with a policy: a list of problems, each with its position and a hint.

use std::fmt::{self, Display};

use crate::lint::Lint;
use crate::position::Position;
use crate::quote::escaped;

/// A file of nonsense gets this many problems listed; the rest is only counted.
const MAX_LISTED: usize = 50;

/// Why a policy can't be used: every problem found in it, in the order of the file.
///
/// Displayed as one line a problem, `NAME:LINE:COLUMN: MESSAGE`, each followed by a line `hint: …`
/// where there is something useful to say. The last line doesn't end in a newline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError {
    names: Vec<String>,
    problems: Vec<Problem>,
    unlisted: usize,
}

/// One thing that is wrong, or that is allowed and probably not meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it is; none if it concerns the file and not its text.
    pub position: Option<Position>,
    /// What is wrong, in one line.
    pub message: String,
    /// What to do about it, in one line, where that is known.
    pub hint: Option<String>,
    /// Which rule found it: every warning has one, and every error that
    /// [`ReadOptions::openshell_lenient`](crate::ReadOptions) turns into a warning.
    pub lint: Option<Lint>,
}

impl Problem {
    /// `NAME:LINE:COLUMN: MESSAGE`, and the hint on a line of its own. `names` are the files.
    pub(crate) fn told(&self, names: &[String]) -> String {
        let mut told = escaped(name_of(names, self.position));
        if let Some(position) = self.position {
            told += &format!(":{position}");
        }
        told += &format!(": {}", self.message);
        if let Some(hint) = &self.hint {
            told += &format!("\nhint: {hint}");
        }
        told
    }
}

/// The file that the place is in.
pub(crate) fn name_of(names: &[String], position: Option<Position>) -> &str {
    let file = position.map_or(0, |position| position.file);
    names.get(usize::from(file)).map_or("", String::as_str)
}

impl PolicyError {
    /// The error that lists the problems in the order of the files named.
    pub(crate) fn new(names: Vec<String>, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| problem.position);
        let unlisted = problems.len().saturating_sub(MAX_LISTED);
        problems.truncate(MAX_LISTED);
        Self {
            names,
            problems,
            unlisted,
        }
    }

    /// The name of the policy, as given to `load` or `parse`.
    pub fn name(&self) -> &str {
        name_of(&self.names, None)
    }

    /// The files that were read, or should have been: the policy, and those that it extends.
    pub fn files(&self) -> &[String] {
        &self.names
    }

    /// The problems in the order of the file; never empty, and at most 50.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// How many more problems there are.
    pub fn unlisted(&self) -> usize {
        self.unlisted
    }

    /// The name of the file that a problem is in: the policy, or one that it extends.
    pub fn file_of(&self, problem: &Problem) -> &str {
        name_of(&self.names, problem.position)
    }
}

impl std::error::Error for PolicyError {}

impl Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let newline = if index > 0 { "\n" } else { "" };
            write!(f, "{newline}{}", problem.told(&self.names))?;
        }
        if self.unlisted > 0 {
            write!(f, "\n{}: and {} more", escaped(self.name()), self.unlisted)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::MAX_LISTED;
    use crate::position::Position;
    use crate::report::{ReadOptions, Report};

    #[test]
    fn problems_are_in_the_order_of_the_file() {
        let mut report = Report::new("p", ReadOptions::default());
        report.add(Position::new(2, 1), "second");
        report.add_with_hint(Position::new(1, 9), "first", "mend it");
        assert_eq!(
            report.into_error().to_string(),
            "p:1:9: first\nhint: mend it\np:2:1: second"
        );
    }

    #[test]
    fn a_file_of_nonsense_is_not_listed_whole() {
        let mut report = Report::new("p", ReadOptions::default());
        (0..MAX_LISTED + 7).for_each(|_| report.add(Position::START, "wrong"));
        let error = report.into_error();
        assert_eq!(error.problems().len(), MAX_LISTED);
        assert!(error.to_string().ends_with("\np: and 7 more"));
    }
}
