//! Where in a policy something was written.

use std::fmt;

/// A place in a policy's text. Lines and columns start at 1; a column counts characters.
///
/// A policy may extend others, so a place also knows which file it is in;
/// [`Document::at`](crate::Document::at) gives that file's name. Places compare file by file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Which file, in the order of reading: 0 is the policy itself, the others are what it extends.
    pub(crate) file: u16,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

impl Position {
    /// The first character of the policy.
    pub(crate) const START: Self = Self::new(1, 1);

    /// A place in the policy itself.
    pub(crate) const fn new(line: usize, column: usize) -> Self {
        Self {
            file: 0,
            line,
            column,
        }
    }

    /// The same line and column of another file.
    pub(crate) const fn in_file(self, file: u16) -> Self {
        Self { file, ..self }
    }

    /// The place just after `text`, where `text` is how the file begins.
    pub(crate) fn after(text: &str) -> Self {
        let line_start = text.rfind('\n').map_or(0, |newline| newline + 1);
        Self::new(
            text.matches('\n').count() + 1,
            text[line_start..].chars().count() + 1,
        )
    }
}

impl Default for Position {
    fn default() -> Self {
        Self::START
    }
}

/// Displayed as `LINE:COLUMN`.
impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A value and where it was written.
///
/// A value that comes from a YAML alias (`*name`) has the position of the alias, which is where it's
/// used, and not that of the anchor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located<T> {
    /// The value itself.
    pub value: T,
    /// Where it was written.
    pub position: Position,
}

impl<T> Located<T> {
    pub(crate) fn new(value: T, position: Position) -> Self {
        Self { value, position }
    }

    /// The value as something else, at the same place.
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Located<U> {
        Located::new(change(self.value), self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::Position;

    #[test]
    fn a_position_counts_lines_and_characters() {
        for (text, line, column) in [
            ("", 1, 1),
            ("ab", 1, 3),
            ("ab\n", 2, 1),
            ("ab\n\u{e4}\u{1f511}", 2, 3),
        ] {
            assert_eq!(
                Position::after(text),
                Position::new(line, column),
                "{text:?}"
            );
        }
    }
}
