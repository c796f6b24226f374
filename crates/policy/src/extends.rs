//! `extends`: a policy that begins with other policies.
//!
//! The bases are read first, in their order, and the policy that names them is laid over them. A
//! section is laid over its like field by field, and what a field has in the upper one is what it
//! has: a list isn't joined with the list below it, and an entry of `network_policies` replaces
//! the entry of the same key. What is replaced isn't looked at again.
//!
//! This happens to the trees, before anything is interpreted, so that every value keeps the
//! position that it has in its own file.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::document;
use crate::load::{self, Refusal};
use crate::node::{Entry, Node, Value};
use crate::position::{Located, Position};
use crate::quote::quoted;
use crate::report::Report;
use crate::{syntax, values};

/// Bases of bases; the policy itself is not counted.
const MAX_DEPTH: usize = 8;

/// Files in one policy, counted as often as they're read.
const MAX_FILES: usize = 32;

/// Sections that are laid over each other field by field; the others are one value.
const SECTIONS: [&str; 7] = [
    "filesystem_policy",
    "landlock",
    "process",
    "carriers",
    "network_policies",
    "network_middlewares",
    "dns",
];

/// The tree of the policy with its bases below it; nothing if one of them can't be read.
pub(crate) fn resolve(root: Node, path: &Path, report: &mut Report) -> Option<Node> {
    let chain = vec![identity(path)];
    extended(root, &chain, report)
}

/// The tree of a policy that isn't in a file.
pub(crate) fn refuse(root: Node, report: &mut Report) -> Node {
    let (root, bases) = split(root);
    if let Some((key, _)) = bases {
        report.add_with_hint(
            key.position,
            "`extends` needs a policy that is in a file",
            "its paths start at the folder of that file",
        );
    }
    root
}

fn extended(root: Node, chain: &[PathBuf], report: &mut Report) -> Option<Node> {
    let (root, bases) = split(root);
    let Some((_, bases)) = bases else {
        return Some(root);
    };
    let mut below: Option<Node> = None;
    for base in names(&bases, report)? {
        let tree = base_tree(base, chain, report)?;
        below = Some(match below {
            Some(lower) => laid_over(lower, tree),
            None => tree,
        });
    }
    Some(match below {
        Some(lower) => laid_over(lower, root),
        None => root,
    })
}

/// The tree without `extends`, and that entry.
fn split(mut root: Node) -> (Node, Option<Entry>) {
    let mut bases = None;
    if let Value::Map(entries) = &mut root.value
        && let Some(index) = entries.iter().position(|(key, _)| &*key.value == "extends")
    {
        bases = Some(entries.remove(index));
    }
    (root, bases)
}

/// The paths as they're written: one, or a list.
fn names<'n>(bases: &'n Node, report: &mut Report) -> Option<Vec<Located<&'n str>>> {
    let nodes = match &bases.value {
        Value::List(items) => items,
        _ => std::slice::from_ref(bases),
    };
    let mut names = Vec::new();
    for node in nodes {
        let name = values::text(node, "a path in `extends`", report)?;
        if name.value.is_empty() || name.value.contains('\0') {
            let message = format!("path {} in `extends` can't be one", quoted(name.value));
            report.add(name.position, message);
            return None;
        }
        names.push(name);
    }
    Some(names)
}

/// One base with its own bases below it.
fn base_tree(base: Located<&str>, chain: &[PathBuf], report: &mut Report) -> Option<Node> {
    let path = report.resolve(base.value, base.position);
    let identity = identity(&path);
    let shown = quoted(base.value);
    let trouble = if chain.contains(&identity) {
        Some(format!(
            "{shown} extends itself, directly or through others"
        ))
    } else if chain.len() > MAX_DEPTH {
        Some(format!(
            "{shown} is a base of bases more than {MAX_DEPTH} deep"
        ))
    } else if report.files() >= MAX_FILES {
        Some(format!(
            "{shown} is one too many: {MAX_FILES} files are read"
        ))
    } else {
        None
    };
    if let Some(message) = trouble {
        report.add(base.position, message);
        return None;
    }
    let file = report.add_file(&path);
    let text = match load::read(&path, "policy", "the folder of the policy that names it") {
        Ok(text) => text,
        Err(refusal) => {
            tell(refusal, file, &base, report);
            return None;
        }
    };
    let Some(root) = syntax::read(&text, file, report) else {
        if text.trim().is_empty() {
            report.add(base.position, format!("{shown} is empty"));
        }
        return None;
    };
    if !matches!(root.value, Value::Map(_)) {
        let message = format!("a policy must be a mapping, found {}", root.found());
        report.add(root.position, message);
        return None;
    }
    document::check_version(&root, report);
    let chain: Vec<_> = chain.iter().cloned().chain([identity]).collect();
    extended(root, &chain, report)
}

/// Why a base can't be read: at the place in it, or else where it's named.
fn tell(refusal: Refusal, file: u16, base: &Located<&str>, report: &mut Report) {
    match refusal.position {
        Some(position) => {
            report.push(Some(position.in_file(file)), refusal.message, refusal.hint);
        }
        None => {
            let message = format!("base {}: {}", quoted(base.value), refusal.message);
            report.push(Some(base.position), message, refusal.hint);
        }
    }
}

/// What tells one file from another, however it's named.
fn identity(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// One document on top of another.
fn laid_over(below: Node, above: Node) -> Node {
    merge(below, above, |key, below, above| {
        match SECTIONS.contains(&key) {
            true => merge(below, above, |_, _, above| above),
            false => above,
        }
    })
}

/// The fields of both; `both` says what becomes of a field that both have. What is no mapping
/// stays as it is, to be complained about.
fn merge(below: Node, above: Node, both: impl Fn(&str, Node, Node) -> Node) -> Node {
    let position: Position = above.position;
    let (mut entries, upper) = match (below.value, above.value) {
        (Value::Map(below), Value::Map(above)) => (below, above),
        (Value::Map(_), value) => return Node { position, value },
        (value, _) => {
            let position = below.position;
            return Node { position, value };
        }
    };
    let places: HashMap<_, _> = entries
        .iter()
        .enumerate()
        .map(|(index, (key, _))| (Rc::clone(&key.value), index))
        .collect();
    for (key, value) in upper {
        match places.get(&key.value) {
            Some(index) => {
                let (lower_key, lower) = &mut entries[*index];
                let nothing = Node {
                    position,
                    value: Value::List(Vec::new()),
                };
                *lower = both(&key.value, std::mem::replace(lower, nothing), value);
                *lower_key = key;
            }
            None => entries.push((key, value)),
        }
    }
    let value = Value::Map(entries);
    Node { position, value }
}
