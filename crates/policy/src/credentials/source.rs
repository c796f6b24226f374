//! Where a secret comes from.

use std::path::PathBuf;

use crate::fields::Fields;
use crate::node::Node;
use crate::position::Located;
use crate::quote::quoted;
use crate::report::Report;

/// The most words of a command.
const MAX_WORDS: usize = 64;

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `env`: a variable of the caller.
    Env(String),
    /// `file`: the contents of a file, without a newline at the end. Relative to the caller's
    /// folder if the credentials are.
    File(PathBuf),
    /// `command`: what a program prints, without a newline at the end. It runs as the caller.
    Command(Vec<String>),
}

pub(super) fn read(node: &Node, path: &str, report: &mut Report) -> Option<Located<Source>> {
    let hint = "write one of `{env: VAR}`, `{file: PATH}` and `{command: [PROGRAM, ARGUMENT]}`";
    if let Some(text) = node.as_string() {
        // Whoever writes a secret here would find it in a commit one day.
        let message = match text.is_empty() {
            true => format!("`{path}` is empty"),
            false => format!("`{path}` must say where the secret is, not what it is"),
        };
        report.add_with_hint(node.position, message, hint);
        return None;
    }
    let fields = Fields::nested(node, "secret", path.to_owned(), report)?;
    let given = fields.given(&["env", "file", "command"]);
    let [(field, position)] = given[..] else {
        let message = format!("`{path}` needs one source, found {}", given.len());
        report.add_with_hint(node.position, message, hint);
        return None;
    };
    let source = match field {
        "env" => {
            let name = fields.needed_text("env", hint, report)?;
            if name.value.contains(['=', '\0']) {
                let message = format!("{} can't be the name of a variable", quoted(name.value));
                report.add(name.position, message);
                return None;
            }
            Source::Env(name.value.to_owned())
        }
        "file" => {
            let file = fields.needed_text("file", hint, report)?;
            Source::File(report.resolve(file.value, file.position))
        }
        _ => {
            let words = fields.texts("command", MAX_WORDS, report);
            if fields.items("command").is_empty() {
                let message = format!("`{path}.command` names no program");
                report.add_with_hint(position, message, "write `command: [PROGRAM, ARGUMENT]`");
                return None;
            }
            Source::Command(words.iter().map(|word| word.value.to_owned()).collect())
        }
    };
    Some(Located::new(source, node.position))
}
