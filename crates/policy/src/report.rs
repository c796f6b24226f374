//! The problems found so far. Readers add to it and go on with what is usable.

use std::path::{Path, PathBuf};

use crate::error::{PolicyError, Problem, name_of};
use crate::lint::Lint;
use crate::position::Position;
use crate::quote::escaped;

/// How strictly a policy is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// Accept what OpenShell accepts without a word although it can't be meant, such as a
    /// misspelt `enforcement`, and do what it does. Each becomes a warning instead of an error.
    pub openshell_lenient: bool,
}

/// Errors and warnings, and the files that they are about.
pub(crate) struct Report {
    names: Vec<String>,
    options: ReadOptions,
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Report {
    /// `name` is what messages call the policy.
    pub(crate) fn new(name: &str, options: ReadOptions) -> Self {
        Self {
            names: vec![name.to_owned()],
            options,
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, position: Position, message: impl Into<String>) {
        self.push(Some(position), message, None);
    }

    pub(crate) fn add_with_hint(
        &mut self,
        position: Position,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.push(Some(position), message, Some(hint.into()));
    }

    /// An error; one of the policy file itself if it has no position.
    pub(crate) fn push(
        &mut self,
        position: Option<Position>,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        self.errors.push(Problem {
            position,
            message: message.into(),
            hint,
            lint: None,
        });
    }

    /// Something that is allowed and probably not meant.
    pub(crate) fn warn(
        &mut self,
        lint: Lint,
        position: Position,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.warnings.push(found(lint, position, message, hint));
    }

    /// Something that only OpenShell accepts: a warning if its leniency was asked for. The hint
    /// says what OpenShell does, which is then what the reader has to do.
    pub(crate) fn tolerate(
        &mut self,
        lint: Lint,
        position: Position,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let problem = found(lint, position, message, hint);
        match self.options.openshell_lenient {
            true => self.warnings.push(problem),
            false => self.errors.push(problem),
        }
    }

    /// How many errors there are; a reader that finds more afterwards knows that a value is spoilt.
    pub(crate) fn errors(&self) -> usize {
        self.errors.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    /// Counts one more file; positions in it have this number.
    pub(crate) fn add_file(&mut self, name: &Path) -> u16 {
        self.names.push(name.to_string_lossy().into_owned());
        u16::try_from(self.names.len() - 1).unwrap_or(u16::MAX)
    }

    /// How many files were read.
    pub(crate) fn files(&self) -> usize {
        self.names.len()
    }

    /// A path that was written at `position`, seen from where the policy is seen: relative to the
    /// folder of the file that it's written in.
    pub(crate) fn resolve(&self, path: &str, position: Position) -> PathBuf {
        let file = Path::new(name_of(&self.names, Some(position)));
        file.parent().unwrap_or(Path::new("")).join(path)
    }

    /// A place as a message at `here` names it: with the file's name if that's another one.
    pub(crate) fn place(&self, there: Position, here: Position) -> String {
        match there.file == here.file {
            true => there.to_string(),
            false => format!("{}:{there}", escaped(name_of(&self.names, Some(there)))),
        }
    }

    /// The files' names and the warnings of a policy without errors; or else its error.
    pub(crate) fn finish(mut self) -> Result<(Vec<String>, Vec<Problem>), PolicyError> {
        if !self.is_empty() {
            return Err(self.into_error());
        }
        self.warnings.sort_by_key(|warning| warning.position);
        Ok((self.names, self.warnings))
    }

    pub(crate) fn into_error(self) -> PolicyError {
        PolicyError::new(self.names, self.errors)
    }
}

fn found(
    lint: Lint,
    position: Position,
    message: impl Into<String>,
    hint: impl Into<String>,
) -> Problem {
    Problem {
        position: Some(position),
        message: message.into(),
        hint: Some(hint.into()),
        lint: Some(lint),
    }
}
