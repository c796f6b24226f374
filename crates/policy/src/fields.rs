//! Reading a mapping that has a fixed set of fields.

use crate::error::{Report, quoted, quoted_list};
use crate::node::{Entry, Node, Value};
use crate::position::{Located, Position};
use crate::suggest;

/// Which fields there are, section by section; the top level has no name.
///
/// One table, because a field found in the wrong section gets a hint that names the right one.
const SECTIONS: [(&str, &[&str]); 5] = [
    (
        "",
        &[
            "version",
            "filesystem_policy",
            "landlock",
            "process",
            "carriers",
            "network_policies",
            "network_middlewares",
        ],
    ),
    (
        "filesystem_policy",
        &["include_workdir", "read_only", "read_write"],
    ),
    ("landlock", &["compatibility"]),
    ("process", &["run_as_user", "run_as_group"]),
    ("carriers", &["allow", "protect"]),
];

/// A section of the policy, all of whose fields are known ones.
pub(crate) struct Fields<'n> {
    section: &'static str,
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
        Some(Self::known("", entries, report))
    }

    /// The fields of a section, if the section is there and is a mapping.
    pub(crate) fn section(&self, section: &'static str, report: &mut Report) -> Option<Self> {
        let node = self.get(section)?;
        let entries = mapping(section, node, report)?;
        Some(Self::known(section, entries, report))
    }

    fn known(section: &'static str, entries: &'n [Entry], report: &mut Report) -> Self {
        let known = fields_of(section);
        let mut listed = false;
        for (key, _) in entries {
            if known.contains(&&*key.value) {
                continue;
            }
            let message = match section {
                "" => format!("unknown field {}", quoted(&key.value)),
                _ => format!("unknown field {} in `{section}`", quoted(&key.value)),
            };
            match hint(&key.value, section) {
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
        Self { section, entries }
    }

    /// The value of a field, if it's given.
    pub(crate) fn get(&self, field: &str) -> Option<&'n Node> {
        debug_assert!(
            fields_of(self.section).contains(&field),
            "{field} isn't in SECTIONS"
        );
        let mut entries = self.entries.iter();
        entries
            .find(|(key, _)| &*key.value == field)
            .map(|(_, value)| value)
    }

    /// A field's name as messages give it, for example `filesystem_policy.read_only`.
    pub(crate) fn path_of(&self, field: &str) -> String {
        match self.section {
            "" => field.to_owned(),
            section => format!("{section}.{field}"),
        }
    }

    /// The entries of a list; none if the field isn't given or isn't a list.
    pub(crate) fn items(&self, field: &str) -> &'n [Node] {
        match self.get(field).map(|node| &node.value) {
            Some(Value::List(items)) => items,
            _ => &[],
        }
    }

    /// The first `limit` entries of a list of strings; what isn't a string is reported and left out.
    /// Empty if the field isn't given.
    pub(crate) fn strings(
        &self,
        field: &str,
        limit: usize,
        report: &mut Report,
    ) -> Vec<Located<&'n str>> {
        let Some(node) = self.get(field) else {
            return Vec::new();
        };
        let Value::List(items) = &node.value else {
            self.not_a_list(field, node, report);
            return Vec::new();
        };
        let mut strings = Vec::new();
        for item in items.iter().take(limit) {
            match item.as_string() {
                Some(text) => strings.push(Located::new(text, item.position)),
                None => {
                    let (field, found) = (self.path_of(field), item.found());
                    report.add(
                        item.position,
                        format!("every entry of `{field}` must be a string, found {found}"),
                    );
                }
            }
        }
        strings
    }

    fn not_a_list(&self, field: &str, node: &Node, report: &mut Report) {
        let message = format!(
            "`{}` must be a list, found {}",
            self.path_of(field),
            node.found()
        );
        match node.as_string() {
            Some(_) => {
                let hint = format!("a single entry is written as a list too: `{field}: [ENTRY]`");
                report.add_with_hint(node.position, message, hint);
            }
            None if node.is_null() => {
                let hint = format!("write `{field}: []`, or leave the line out");
                report.add_with_hint(node.position, message, hint);
            }
            None => report.add(node.position, message),
        }
    }
}

/// The entries of a top-level section.
pub(crate) fn mapping<'n>(
    section: &str,
    node: &'n Node,
    report: &mut Report,
) -> Option<&'n [Entry]> {
    if let Value::Map(entries) = &node.value {
        return Some(entries);
    }
    let message = format!("`{section}` must be a mapping, found {}", node.found());
    if node.is_null() {
        let hint = format!("write `{section}: {{}}`, or leave the line out");
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

fn fields_of(section: &str) -> &'static [&'static str] {
    let mut sections = SECTIONS.iter();
    sections
        .find(|(name, _)| *name == section)
        .map_or(&[], |(_, fields)| fields)
}

/// What the unknown field probably should have been.
fn hint(field: &str, section: &str) -> Option<String> {
    if let Some(meant) = suggest::nearest(field, fields_of(section)) {
        return Some(format!("did you mean `{meant}`?"));
    }
    let home = SECTIONS.iter().find(|(_, fields)| fields.contains(&field));
    home.map(|(home, _)| match *home {
        "" => format!("`{field}` belongs at the top level"),
        home => format!("`{field}` belongs in `{home}`"),
    })
}
