//! Single values that fields have: texts, flags, numbers and choices.

use std::ops::RangeInclusive;

use crate::fields::{self, Fields};
use crate::lint::Lint;
use crate::node::{Node, Value};
use crate::position::Located;
use crate::quote::{alternatives, quoted, quoted_list};
use crate::report::Report;
use crate::suggest;

/// The longest name or pattern of the network sections, in bytes.
pub(crate) const MAX_TEXT_BYTES: usize = 1024;

/// A word that a field may have, and what it means.
pub(crate) type Word<T> = (&'static str, T);

impl<'n> Fields<'n> {
    /// A string; none if the field isn't given or is the empty string, which means the same.
    pub(crate) fn text(&self, field: &str, report: &mut Report) -> Option<Located<&'n str>> {
        let node = self.get(field)?;
        let path = self.path_of(field);
        let text = text(node, &format!("`{path}`"), report)?;
        (!text.value.is_empty()).then_some(text)
    }

    /// A string that must be given and not be empty; `hint` says what is missing otherwise.
    pub(crate) fn needed_text(
        &self,
        field: &str,
        hint: &str,
        report: &mut Report,
    ) -> Option<Located<&'n str>> {
        if self.lacks(field) {
            fields::missing(field, self.position, hint, report);
        }
        self.text(field, report)
    }

    /// Whether a field isn't given, or is the empty string.
    pub(crate) fn lacks(&self, field: &str) -> bool {
        self.get(field)
            .is_none_or(|node| node.as_string() == Some(""))
    }

    /// `true` or `false`.
    pub(crate) fn flag(&self, field: &str, default: bool, report: &mut Report) -> bool {
        let Some(node) = self.get(field) else {
            return default;
        };
        node.as_bool().unwrap_or_else(|| {
            let (path, found) = (self.path_of(field), node.found());
            report.add(
                node.position,
                format!("`{path}` must be `true` or `false`, found {found}"),
            );
            default
        })
    }

    /// A whole number in decimal.
    pub(crate) fn number(
        &self,
        field: &str,
        range: RangeInclusive<u64>,
        report: &mut Report,
    ) -> Option<Located<u64>> {
        number(
            self.get(field)?,
            &format!("`{}`", self.path_of(field)),
            range,
            report,
        )
    }

    /// One of several words; none if the field isn't given or is wrong.
    pub(crate) fn choice<T: Copy>(
        &self,
        field: &str,
        words: &[Word<T>],
        report: &mut Report,
    ) -> Option<Located<T>> {
        self.word(field, words, None, report)
    }

    /// One of several words, where OpenShell accepts any other: `lenient` says what it does then.
    pub(crate) fn choice_or<T: Copy>(
        &self,
        field: &str,
        words: &[Word<T>],
        lenient: (Lint, &str),
        report: &mut Report,
    ) -> Option<Located<T>> {
        self.word(field, words, Some(lenient), report)
    }

    fn word<T: Copy>(
        &self,
        field: &str,
        words: &[Word<T>],
        lenient: Option<(Lint, &str)>,
        report: &mut Report,
    ) -> Option<Located<T>> {
        let node = self.get(field)?;
        let path = self.path_of(field);
        let names = words.iter().map(|(name, _)| *name);
        let names: Vec<_> = names.filter(|name| !name.is_empty()).collect();
        let Some(text) = node.as_string() else {
            let message = format!(
                "`{path}` must be {}, found {}",
                alternatives(&names),
                node.found()
            );
            report.add(node.position, message);
            return None;
        };
        if let Some((_, value)) = words.iter().find(|(name, _)| *name == text) {
            return Some(Located::new(*value, node.position));
        }
        let message = format!("unknown value {} for `{path}`", quoted(text));
        let mut hint = match suggest::nearest(text, &names) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None if names.len() == 1 => format!("the only value is {}", alternatives(&names)),
            None if names.len() == 2 => format!("it's either {}", alternatives(&names)),
            None => format!("the values are {}", quoted_list(&names)),
        };
        match lenient {
            None => report.add_with_hint(node.position, message, hint),
            Some((lint, openshell)) => {
                let joint = if hint.ends_with('?') { " " } else { "; " };
                hint += &format!("{joint}OpenShell {openshell}");
                report.tolerate(lint, node.position, message, hint);
            }
        }
        None
    }
}

/// A whole number in decimal; `name` is the subject of messages.
pub(crate) fn number(
    node: &Node,
    name: &str,
    range: RangeInclusive<u64>,
    report: &mut Report,
) -> Option<Located<u64>> {
    match node.as_number().filter(|number| range.contains(number)) {
        Some(number) => Some(Located::new(number, node.position)),
        None => {
            let message = format!(
                "{name} must be a number from {} to {}, found {}",
                range.start(),
                range.end(),
                node.found()
            );
            report.add(node.position, message);
            None
        }
    }
}

/// A string of reasonable size, maybe empty; `name` is the subject of messages.
pub(crate) fn text<'n>(
    node: &'n Node,
    name: &str,
    report: &mut Report,
) -> Option<Located<&'n str>> {
    let text = string(node, name, report)?;
    let size = text.value.len();
    if size > MAX_TEXT_BYTES {
        let message = format!("{name} has {size} bytes; at most {MAX_TEXT_BYTES} are allowed");
        report.add(node.position, message);
        return None;
    }
    Some(text)
}

/// Any string.
pub(crate) fn string<'n>(
    node: &'n Node,
    name: &str,
    report: &mut Report,
) -> Option<Located<&'n str>> {
    let text = node
        .as_string()
        .map(|text| Located::new(text, node.position));
    if text.is_none() {
        let message = format!("{name} must be a string, found {}", node.found());
        match node.value {
            Value::Scalar { .. } if !node.is_null() && name.starts_with('`') => {
                report.add_with_hint(node.position, message, "put quotes around it");
            }
            _ => report.add(node.position, message),
        }
    }
    text
}
