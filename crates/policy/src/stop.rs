//! Text that can't be read as YAML: where the reading stops, and why, in words for people who don't
//! know YAML's grammar.

use granit_parser::{ErrorKind, Marker, ScanError};

use crate::position::Position;
use crate::quote::quoted;
use crate::syntax::MAX_DEPTH;

/// The problem after which there is no sense in reading on.
pub(crate) struct Stop {
    pub(crate) position: Position,
    pub(crate) message: String,
    pub(crate) hint: Option<&'static str>,
}

impl Stop {
    pub(crate) fn new(position: Position, message: impl Into<String>) -> Self {
        Self {
            position,
            message: message.into(),
            hint: None,
        }
    }

    pub(crate) fn hint(self, hint: &'static str) -> Self {
        Self {
            hint: Some(hint),
            ..self
        }
    }
}

/// The parser counts columns from 0.
pub(crate) fn position_of(marker: &Marker) -> Position {
    Position::new(marker.line(), marker.col() + 1)
}

/// The parser's complaint; in our own words where its words need knowledge of YAML's grammar.
pub(crate) fn explain(error: &ScanError, lines: &[&str]) -> Stop {
    let position = position_of(error.marker());
    match error.kind() {
        ErrorKind::RecursionLimitExceeded => Stop::new(
            position,
            format!("lists and mappings are nested deeper than {MAX_DEPTH} levels"),
        ),
        ErrorKind::UnknownAnchor => Stop::new(position, "this alias has no anchor before it")
            .hint("put quotes around a value that begins with `*`"),
        ErrorKind::UnclosedQuotedScalar => Stop::new(position, "this quotation is never closed"),
        ErrorKind::UnclosedFlowCollection { open } => {
            Stop::new(position, format!("this `{open}` is never closed"))
        }
        ErrorKind::UnexpectedCharacter { character } => {
            let shown = quoted(character.encode_utf8(&mut [0; 4]));
            let message = format!("not valid YAML: unexpected character {shown}");
            Stop::new(position, message).hint(match character.is_control() {
                true => "remove it; in double quotes it can be written as an escape",
                false => "put quotes around a value with special characters",
            })
        }
        kind => match (tab_near(position.line, lines), is_about_tabs(kind)) {
            (Some(tab), _) => tab_stop(tab),
            (None, true) => tab_stop(position),
            (None, false) => structural(kind, position),
        },
    }
}

/// Errors whose cause is mostly the indentation, or something that wasn't closed further up.
fn structural(kind: &ErrorKind, position: Position) -> Stop {
    match kind {
        ErrorKind::ExpectedBlockMappingKey | ErrorKind::InvalidIndentation => Stop::new(
            position,
            "not valid YAML: this doesn't line up with the mapping that it's in",
        )
        .hint("the fields of a section all begin in the same column"),
        ErrorKind::MappingValueNotAllowed => {
            Stop::new(position, "not valid YAML: no field can begin here")
                .hint("check the indentation; put quotes around a value that has `: ` in it")
        }
        ErrorKind::ExpectedDocumentStart => {
            Stop::new(position, "not valid YAML: the policy has ended before this")
        }
        ErrorKind::InvalidColonPlacement => {
            Stop::new(position, "not valid YAML: no field can begin here")
                .hint("check that the brackets before it are closed")
        }
        kind => Stop::new(position, format!("not valid YAML: {kind}")),
    }
}

fn is_about_tabs(kind: &ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::TabNotAllowed
            | ErrorKind::TabInBlockIndentation
            | ErrorKind::TabInIndentation
            | ErrorKind::TabAtBlockScalarStart
            | ErrorKind::TabInPlainScalar
    )
}

pub(crate) fn tab_stop(position: Position) -> Stop {
    Stop::new(position, "a tab stands where YAML allows only spaces").hint("indent with spaces")
}

/// A tab in the indentation of this line or its neighbours: YAML's parsers stumble over one in
/// several ways, and mostly not at the tab itself.
fn tab_near(line: usize, lines: &[&str]) -> Option<Position> {
    let near = lines
        .iter()
        .enumerate()
        .skip(line.saturating_sub(2))
        .take(3);
    near.filter_map(|(index, content)| {
        let indentation = content.len() - content.trim_start_matches([' ', '\t']).len();
        let column = content[..indentation].find('\t')? + 1;
        Some(Position::new(index + 1, column))
    })
    .next()
}
