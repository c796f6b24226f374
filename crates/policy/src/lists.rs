//! Lists and mappings with free keys that fields have.

use crate::fields::{self, Fields};
use crate::node::{Entry, Node, Value};
use crate::position::{Located, Position};
use crate::report::Report;
use crate::values::{string, text};

impl<'n> Fields<'n> {
    /// The entries of a list; none if the field isn't given or isn't a list.
    pub(crate) fn items(&self, field: &str) -> &'n [Node] {
        match self.get(field).map(|node| &node.value) {
            Some(Value::List(items)) => items,
            _ => &[],
        }
    }

    /// The entries of a list that has at most `limit`; what is no list, or is too long, is reported.
    pub(crate) fn list(&self, field: &str, limit: usize, report: &mut Report) -> &'n [Node] {
        let items = self.items(field);
        match self.get(field) {
            Some(node) if !matches!(node.value, Value::List(_)) => {
                self.not_a_list(field, node, report);
            }
            _ => check_count(
                items,
                |item| item.position,
                &self.path_of(field),
                limit,
                report,
            ),
        }
        &items[..items.len().min(limit)]
    }

    /// The entries of a mapping with free keys, of which there are at most `limit`.
    pub(crate) fn map(&self, field: &str, limit: usize, report: &mut Report) -> &'n [Entry] {
        let Some(node) = self.get(field) else {
            return &[];
        };
        let path = self.path_of(field);
        let entries = fields::mapping(&path, node, report).unwrap_or_default();
        check_count(entries, |(key, _)| key.position, &path, limit, report);
        &entries[..entries.len().min(limit)]
    }

    /// The texts of a list, none of them empty; what isn't one is reported and left out.
    pub(crate) fn texts(
        &self,
        field: &str,
        limit: usize,
        report: &mut Report,
    ) -> Vec<Located<&'n str>> {
        let path = self.path_of(field);
        let name = format!("every entry of `{path}`");
        let items = self.list(field, limit, report).iter();
        let texts: Vec<_> = items.filter_map(|item| text(item, &name, report)).collect();
        for empty in texts.iter().filter(|text| text.value.is_empty()) {
            report.add(empty.position, format!("empty text in `{path}`"));
        }
        texts
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
        let name = format!("every entry of `{}`", self.path_of(field));
        let items = items.iter().take(limit);
        items
            .filter_map(|item| string(item, &name, report))
            .collect()
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

/// Reports the first of too many.
fn check_count<T>(
    items: &[T],
    position: impl Fn(&T) -> Position,
    path: &str,
    limit: usize,
    report: &mut Report,
) {
    if let Some(first_over) = items.get(limit) {
        let count = items.len();
        report.add(
            position(first_over),
            format!("{count} entries in `{path}`; at most {limit} are allowed"),
        );
    }
}
