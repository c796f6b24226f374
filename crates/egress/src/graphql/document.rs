//! An executable document, as far as it's of interest: operations, fragments, their root fields.

use std::collections::{BTreeMap, BTreeSet};

use super::{InvalidGraphql, Operation, OperationType};

/// Selections and values inside each other.
pub const MAX_DEPTH: usize = 64;

/// Tokens of one document.
pub const MAX_TOKENS: usize = 65_536;

/// What stands directly in a selection set, inline fragments already opened.
#[derive(Clone, Debug, Default)]
pub(super) struct Selection {
    pub(super) fields: BTreeSet<String>,
    pub(super) spreads: BTreeSet<String>,
}

#[derive(Clone, Debug)]
pub(super) struct OperationDefinition {
    pub(super) kind: OperationType,
    pub(super) name: Option<String>,
    pub(super) selection: Selection,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Document {
    pub(super) operations: Vec<OperationDefinition>,
    pub(super) fragments: BTreeMap<String, Selection>,
}

impl Document {
    /// The operation that runs: the named one, or the only one (GraphQL §6.1.1).
    pub(super) fn select(&self, name: Option<&str>) -> Result<Operation, InvalidGraphql> {
        let operation = match (name, self.operations.as_slice()) {
            (_, []) => return Err(InvalidGraphql::new("the document has no operation")),
            (None, [only]) => only,
            (None, _) => {
                return Err(InvalidGraphql::new(
                    "the document has several operations and none is named",
                ));
            }
            (Some(name), all) => all
                .iter()
                .find(|operation| operation.name.as_deref() == Some(name))
                .ok_or(InvalidGraphql::new(
                    "the document lacks the named operation",
                ))?,
        };
        Ok(Operation {
            operation_type: Some(operation.kind),
            operation_name: operation.name.clone().unwrap_or_default(),
            fields: self.root_fields(&operation.selection)?,
            ..Operation::default()
        })
    }

    /// The fields of a selection and of all fragments that it spreads. Each fragment is opened once,
    /// so that cycles end. Conditions (`@skip`, types) are ignored: what may run is judged.
    fn root_fields(&self, selection: &Selection) -> Result<Vec<String>, InvalidGraphql> {
        let mut fields = selection.fields.clone();
        let mut opened = BTreeSet::new();
        let mut waiting: Vec<&String> = selection.spreads.iter().collect();
        while let Some(name) = waiting.pop() {
            if !opened.insert(name) {
                continue;
            }
            let fragment = self
                .fragments
                .get(name)
                .ok_or(InvalidGraphql::new("the document lacks a fragment it uses"))?;
            fields.extend(fragment.fields.iter().cloned());
            waiting.extend(&fragment.spreads);
        }
        if fields.is_empty() {
            return Err(InvalidGraphql::new("the operation selects nothing"));
        }
        Ok(fields.into_iter().collect())
    }
}
