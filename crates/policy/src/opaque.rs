//! Sections that are accepted and not yet understood.

use crate::error::Report;
use crate::fields::{self, Fields};
use crate::position::{Located, Position};

/// A section whose entries are only counted, so that a caller can say what it doesn't apply.
///
/// Its contents are YAML without duplicate keys; nothing else about them is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opaque {
    /// Where the section's contents begin.
    pub position: Position,
    /// The names of the entries, in the order of the file.
    pub entries: Vec<Located<String>>,
}

/// The section, if it's there and a mapping.
pub(crate) fn read(
    document: &Fields<'_>,
    section: &'static str,
    report: &mut Report,
) -> Option<Opaque> {
    let node = document.get(section)?;
    let entries = fields::mapping(section, node, report)?;
    Some(Opaque {
        position: node.position,
        entries: entries
            .iter()
            .map(|(name, _)| Located::new(name.value.to_string(), name.position))
            .collect(),
    })
}
