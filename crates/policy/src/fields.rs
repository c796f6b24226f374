//! Reading a mapping that has a fixed set of fields.

use crate::node::{Entry, Node, Value};
use crate::position::Position;
use crate::quote::{quoted, quoted_list};
use crate::report::Report;
use crate::schema::{self, Schema};

/// A mapping of the policy, all of whose fields are known ones.
pub(crate) struct Fields<'n> {
    schema: &'static Schema,
    /// Where in the policy this is, as messages name it; empty for the whole document.
    path: String,
    /// Where it begins in the file.
    pub(crate) position: Position,
    entries: &'n [Entry],
}

impl<'n> Fields<'n> {
    /// The fields of the whole document.
    pub(crate) fn of_document(root: &'n Node, report: &mut Report) -> Option<Self> {
        let Value::Map(entries) = &root.value else {
            let found = root.found();
            report.add(
                root.position,
                format!("a policy must be a mapping, found {found}"),
            );
            return None;
        };
        let fields = Self {
            schema: schema::of(""),
            path: String::new(),
            position: root.position,
            entries,
        };
        fields.check_known(report);
        Some(fields)
    }

    /// The fields of a section, if the section is there and is a mapping. The schema has its name.
    pub(crate) fn section(&self, section: &'static str, report: &mut Report) -> Option<Self> {
        self.section_as(section, section, report)
    }

    /// The fields of a section that is like other sections of that place.
    pub(crate) fn section_as(
        &self,
        section: &str,
        place: &str,
        report: &mut Report,
    ) -> Option<Self> {
        let node = self.get(section)?;
        Self::nested(node, place, self.path_of(section), report)
    }

    /// The fields of a mapping found at `path`.
    pub(crate) fn nested(
        node: &'n Node,
        place: &str,
        path: String,
        report: &mut Report,
    ) -> Option<Self> {
        let entries = mapping(&path, node, report)?;
        let fields = Self {
            schema: schema::of(place),
            path,
            position: node.position,
            entries,
        };
        fields.check_known(report);
        Some(fields)
    }

    fn check_known(&self, report: &mut Report) {
        let known = self.schema.fields();
        let mut listed = false;
        for (key, _) in self.entries {
            if known.contains(&&*key.value) {
                continue;
            }
            let message = match &*self.path {
                "" => format!("unknown field {}", quoted(&key.value)),
                path => format!("unknown field {} in `{path}`", quoted(&key.value)),
            };
            match self.schema.hint(&key.value) {
                Some(hint) => report.add_with_hint(key.position, message, hint),
                // Once is enough, however many unknown fields there are.
                None if listed => report.add(key.position, message),
                None => {
                    listed = true;
                    let hint = format!("the fields here are {}", quoted_list(known));
                    report.add_with_hint(key.position, message, hint);
                }
            }
        }
    }

    /// A field and where its name stands, if it's given.
    pub(crate) fn entry(&self, field: &str) -> Option<&'n Entry> {
        debug_assert!(
            self.schema.fields().contains(&field),
            "{field} isn't in the schema of `{}`",
            self.path
        );
        self.entries.iter().find(|(key, _)| &*key.value == field)
    }

    /// The value of a field, if it's given.
    pub(crate) fn get(&self, field: &str) -> Option<&'n Node> {
        self.entry(field).map(|(_, value)| value)
    }

    /// Those of the fields that are given, in the order of the file, with the place of their names.
    pub(crate) fn given<'f>(&self, fields: &[&'f str]) -> Vec<(&'f str, Position)> {
        let mut given: Vec<_> = fields
            .iter()
            .filter_map(|field| self.entry(field).map(|(key, _)| (*field, key.position)))
            .collect();
        given.sort_by_key(|(_, position)| *position);
        given
    }

    /// A field's name as messages give it, for example `filesystem_policy.read_only`.
    pub(crate) fn path_of(&self, field: &str) -> String {
        match &*self.path {
            "" => field.to_owned(),
            path => format!("{path}.{field}"),
        }
    }

    /// What messages call the mapping itself.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }
}

/// The entries of a mapping whose keys are free.
pub(crate) fn mapping<'n>(path: &str, node: &'n Node, report: &mut Report) -> Option<&'n [Entry]> {
    if let Value::Map(entries) = &node.value {
        return Some(entries);
    }
    let message = format!("`{path}` must be a mapping, found {}", node.found());
    let field = path.rsplit('.').next().unwrap_or(path);
    // An item of a list has no name, and the name of an entry may have dots in it.
    let named = !path.contains('[') && path.matches('.').count() < 2;
    if node.is_null() && named {
        let hint = format!("write `{field}: {{}}`, or leave the line out");
        report.add_with_hint(node.position, message, hint);
    } else {
        report.add(node.position, message);
    }
    None
}

/// A field that must be given, wherever it should have been.
pub(crate) fn missing(field: &str, position: Position, hint: &str, report: &mut Report) {
    report.add_with_hint(position, format!("missing field `{field}`"), hint);
}
