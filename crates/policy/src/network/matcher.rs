//! A value of `query`, `params` or `tool`: a pattern, or one of several.

use std::collections::BTreeMap;

use super::glob;
use super::model::Matcher;
use crate::fields::Fields;
use crate::node::{Node, Value};
use crate::position::Located;
use crate::quote::{quoted, shortened};
use crate::report::Report;
use crate::values;

/// The most keys of one rule.
const MAX_KEYS: usize = 128;

/// The most patterns of one value.
const MAX_PATTERNS: usize = 256;

/// `query` or `params`: a matcher for each key.
pub(super) fn read_all(
    fields: &Fields<'_>,
    field: &str,
    report: &mut Report,
) -> BTreeMap<String, Matcher> {
    let mut matchers = BTreeMap::new();
    for (key, node) in fields.map(field, MAX_KEYS, report) {
        let path = format!("{}.{}", fields.path_of(field), shortened(&key.value));
        if key.value.is_empty() || key.value.len() > values::MAX_TEXT_BYTES {
            let message = format!(
                "{} in `{}` can't be a key",
                quoted(&key.value),
                fields.path_of(field)
            );
            report.add(key.position, message);
            continue;
        }
        if let Some(matcher) = read(node, path, report) {
            matchers.insert(key.value.to_string(), matcher);
        }
    }
    matchers
}

/// One matcher: `PATTERN`, `{glob: PATTERN}` or `{any: [PATTERN, …]}`.
pub(super) fn read(node: &Node, path: String, report: &mut Report) -> Option<Matcher> {
    let any = match &node.value {
        Value::Map(_) => {
            let errors = report.errors();
            let fields = Fields::nested(node, "matcher", path.clone(), report)?;
            if report.errors() > errors {
                return None;
            }
            of_mapping(&fields, report)?
        }
        Value::List(_) => {
            report.add_with_hint(
                node.position,
                format!("`{path}` must be a pattern, found a list"),
                "several patterns are written `{any: [PATTERN, PATTERN]}`",
            );
            return None;
        }
        Value::Scalar { .. } => vec![values::text(node, &format!("`{path}`"), report)?],
    };
    for pattern in &any {
        glob::check_brackets(pattern, &path, report);
        glob::check_dots(pattern, &path, report);
    }
    Some(Matcher {
        any: any
            .into_iter()
            .map(|text| text.map(str::to_owned))
            .collect(),
    })
}

fn of_mapping<'n>(fields: &Fields<'n>, report: &mut Report) -> Option<Vec<Located<&'n str>>> {
    let path = fields.path();
    match (fields.get("glob"), fields.get("any")) {
        (Some(glob), None) => {
            let name = format!("`{}`", fields.path_of("glob"));
            Some(vec![values::text(glob, &name, report)?])
        }
        (None, Some(any)) => {
            let errors = report.errors();
            let patterns = fields.texts("any", MAX_PATTERNS, report);
            if patterns.is_empty() && report.errors() == errors {
                report.add_with_hint(
                    any.position,
                    format!(
                        "`{}` is empty, so it matches nothing",
                        fields.path_of("any")
                    ),
                    "list the patterns, or remove the rule",
                );
            }
            (!patterns.is_empty()).then_some(patterns)
        }
        (Some(_), Some(_)) => {
            let message = format!("`{path}` has both `glob` and `any`");
            report.add_with_hint(fields.position, message, "put all the patterns into `any`");
            None
        }
        (None, None) => {
            let message = format!("`{path}` has neither `glob` nor `any`");
            report.add_with_hint(
                fields.position,
                message,
                "write a pattern, or `{any: [PATTERN]}`",
            );
            None
        }
    }
}
