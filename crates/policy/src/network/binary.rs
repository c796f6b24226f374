//! `binaries[]`: who may connect.

use super::glob;
use super::model::Binary;
use crate::fields::{self, Fields};
use crate::lint::Lint;
use crate::node::{Node, Value};
use crate::position::Located;
use crate::quote::quoted;
use crate::report::Report;

/// The most digests of one binary: a few releases of it.
const MAX_DIGESTS: usize = 64;

pub(super) fn read(node: &Node, path: String, report: &mut Report) -> Option<Binary> {
    let fields = Fields::nested(node, "binaries[]", path, report)?;
    for (_, position) in fields.given(&["harness"]) {
        report.warn(
            Lint::IgnoredField,
            position,
            format!("`{}` has no effect", fields.path_of("harness")),
            "remove it; OpenShell ignores it too",
        );
    }
    let sha256 = digests(&fields, report);
    let script = pattern(&fields, "script", report);
    if fields.lacks("path") {
        let hint = "give the executable's path, or a pattern such as `/usr/bin/*`";
        fields::missing("path", fields.position, hint, report);
    }
    let path = pattern(&fields, "path", report)?;
    if matches!(&*path.value, "**" | "/**" | "/**/*") {
        report.warn(
            Lint::AnyBinary,
            path.position,
            format!("`{}` matches every program", path.value),
            "name the programs that need this, unless all do",
        );
    }
    Some(Binary {
        path,
        sha256,
        script,
    })
}

/// A path or a pattern of paths, with a word about those that nothing matches.
fn pattern(fields: &Fields<'_>, field: &str, report: &mut Report) -> Option<Located<String>> {
    let text = fields.text(field, report)?;
    let name = fields.path_of(field);
    if text.value.contains('\0') {
        let message = format!("{} in `{name}` has a NUL character", quoted(text.value));
        report.add(text.position, message);
        return None;
    }
    glob::check_brackets(&text, &name, report);
    if let Some(why) = never_matches(text.value) {
        report.tolerate(
            Lint::BinaryNeverMatches,
            text.position,
            format!(
                "`{name}` {why}, so no program matches {}",
                quoted(text.value)
            ),
            "write the executable's absolute path; OpenShell compares the text as it is",
        );
    }
    Some(text.map(str::to_owned))
}

/// Why no absolute, resolved path is like this.
fn never_matches(pattern: &str) -> Option<&'static str> {
    let Some(inner) = pattern.strip_prefix('/') else {
        let any_depth = pattern == "**" || pattern.starts_with("**/");
        return (!any_depth).then_some("is relative");
    };
    let mut parts = inner.split('/');
    parts
        .any(|part| matches!(part, "" | "." | ".."))
        .then_some("has a `.`, `..` or empty component")
}

/// `sha256`: one digest, or a list of them.
fn digests(fields: &Fields<'_>, report: &mut Report) -> Vec<[u8; 32]> {
    let Some(node) = fields.get("sha256") else {
        return Vec::new();
    };
    let nodes = match &node.value {
        Value::List(_) => fields.list("sha256", MAX_DIGESTS, report),
        _ => std::slice::from_ref(node),
    };
    if nodes.is_empty() {
        report.add_with_hint(
            node.position,
            format!("`{}` is empty", fields.path_of("sha256")),
            "leave it out to accept the program whatever its digest",
        );
    }
    let mut digests = Vec::new();
    for node in nodes {
        match node.as_string().or_else(|| digits(node)).and_then(digest) {
            Some(digest) => digests.push(digest),
            None => report.add_with_hint(
                node.position,
                format!(
                    "`{}` must be 64 hexadecimal digits, found {}",
                    fields.path_of("sha256"),
                    node.found()
                ),
                "`sha256sum FILE` prints them",
            ),
        }
    }
    digests
}

/// A digest may happen to look like a number.
pub(crate) fn digits(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Scalar { text, .. } => Some(text),
        Value::List(_) | Value::Map(_) => None,
    }
}

/// Its 32 bytes from 64 hexadecimal digits.
pub(crate) fn digest(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut digest = [0; 32];
    for (index, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(digest)
}
