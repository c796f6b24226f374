//! Where in the file something was written.

use std::fmt;

/// A place in a policy's text. Lines and columns start at 1; a column counts characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

impl Position {
    /// The first character of the file.
    pub(crate) const START: Self = Self { line: 1, column: 1 };

    /// The place just after `text`, where `text` is how the file begins.
    pub(crate) fn after(text: &str) -> Self {
        let line_start = text.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: text.matches('\n').count() + 1,
            column: text[line_start..].chars().count() + 1,
        }
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
            assert_eq!(Position::after(text), Position { line, column }, "{text:?}");
        }
    }
}
