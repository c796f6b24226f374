//! A file of credentials: what stands for them inside, where they come from, where they may go.
//!
//! ```yaml
//! version: 1
//! credentials:
//!   forge:
//!     env: FORGE_TOKEN
//!     secret: { command: [pass, show, forge] }
//!     endpoints: [{ host: api.forge.example, path: /v1 }]
//!     inject: { header: Authorization, value: "Bearer {secret}" }
//! ```
//!
//! It's no part of the policy: a policy says what is allowed and can be shared, and this says whose
//! secrets are used. It's read as a policy is, so nothing is guessed. No secret stands in it.

mod inject;
mod place;
mod short;
mod source;

use std::path::Path;
use std::rc::Rc;

pub use inject::{Form, Injection};
pub use place::Place;
pub use short::short;
pub use source::Source;

use crate::document;
use crate::error::PolicyError;
use crate::fields::{self, Fields};
use crate::load;
use crate::node::{Node, Value};
use crate::position::{Located, Position};
use crate::quote::{escaped, quoted};
use crate::report::{ReadOptions, Report};
use crate::syntax;

/// The most credentials in one file.
const MAX_CREDENTIALS: usize = 256;

/// The longest key of a credential, and name of a variable.
const MAX_NAME_BYTES: usize = 100;

/// The longest text before a placeholder.
const MAX_PREFIX_BYTES: usize = 32;

/// All credentials of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    name: String,
    /// In the order of the file.
    pub entries: Vec<Credential>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Its key, to which a policy's `credential_binding.provider` refers.
    pub key: Located<String>,
    /// The variable inside that holds the placeholder.
    pub env: Option<Located<String>>,
    /// What the placeholder begins with, for programs that look at that.
    pub prefix: Option<String>,
    /// What it is.
    pub holds: Holds,
    /// Where it may go; at least one.
    pub endpoints: Vec<Place>,
    /// The header that it's put in, whatever the program sends.
    pub inject: Option<Injection>,
}

/// What a credential is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holds {
    /// `secret`: one text.
    Secret(Located<Source>),
    /// `aws`: keys to sign with.
    Aws {
        /// The key's name.
        access_key_id: Located<Source>,
        /// The key.
        secret_access_key: Located<Source>,
        /// What goes with a key that is temporary.
        session_token: Option<Located<Source>>,
    },
}

impl Holds {
    /// All places that secrets come from.
    pub fn sources(&self) -> impl Iterator<Item = &Located<Source>> {
        let sources = match self {
            Self::Secret(source) => [Some(source), None, None],
            Self::Aws {
                access_key_id,
                secret_access_key,
                session_token,
            } => [
                Some(access_key_id),
                Some(secret_access_key),
                session_token.as_ref(),
            ],
        };
        sources.into_iter().flatten()
    }
}

impl Credentials {
    /// Reads a file of credentials.
    ///
    /// # Errors
    /// Every problem of the file, or why it can't be read.
    pub fn load(path: &Path) -> Result<Self, PolicyError> {
        let mut report = Report::new(&path.to_string_lossy(), ReadOptions::default());
        match load::read(path, "credentials", load::CURRENT) {
            Ok(text) => Self::read(&text, report),
            Err(refusal) => {
                report.push(refusal.position, refusal.message, refusal.hint);
                Err(report.into_error())
            }
        }
    }

    /// Reads credentials from their text; `name` is what messages call it.
    ///
    /// # Errors
    /// Every problem of the text.
    pub fn parse(name: &str, text: &str) -> Result<Self, PolicyError> {
        Self::read(text, Report::new(name, ReadOptions::default()))
    }

    fn read(text: &str, mut report: Report) -> Result<Self, PolicyError> {
        let entries = syntax::read(text, 0, &mut report)
            .map(|root| entries(&root, &mut report))
            .unwrap_or_default();
        if entries.is_empty() && report.is_empty() {
            let hint = "write `version: 1`, and `credentials:` with an entry for each of them";
            report.add_with_hint(Position::START, "there are no credentials in it", hint);
        }
        check_distinct(&entries, &mut report);
        let (names, _) = report.finish()?;
        let name = names.into_iter().next().unwrap_or_default();
        Ok(Self { name, entries })
    }

    /// A place in the file as messages give it: `credentials.yaml:3:5`.
    pub fn at(&self, position: Position) -> String {
        format!("{}:{position}", escaped(&self.name))
    }
}

fn entries(root: &Node, report: &mut Report) -> Vec<Credential> {
    if !matches!(root.value, Value::Map(_)) {
        let message = format!("credentials must be a mapping, found {}", root.found());
        report.add_with_hint(root.position, message, "begin the file with `version: 1`");
        return Vec::new();
    }
    document::check_version(root, report);
    let Some(fields) = Fields::nested(root, "credentials file", String::new(), report) else {
        return Vec::new();
    };
    let entries = fields.map("credentials", MAX_CREDENTIALS, report).iter();
    entries
        .filter_map(|(key, node)| credential(key, node, report))
        .collect()
}

fn credential(key: &Located<Rc<str>>, node: &Node, report: &mut Report) -> Option<Credential> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if key.value.is_empty() || key.value.len() > MAX_NAME_BYTES || !key.value.chars().all(plain) {
        let message = format!("{} can't be the name of a credential", quoted(&key.value));
        let hint = "a name has up to 100 letters, digits, `_`, `-` and dots";
        report.add_with_hint(key.position, message, hint);
        return None;
    }
    let path = format!("credentials.{}", key.value);
    let fields = Fields::nested(node, "credentials.KEY", path, report)?;
    let errors = report.errors();
    let env = variable(&fields, report);
    let prefix = prefix(&fields, report);
    let holds = holds(&fields, report);
    let endpoints = place::read(&fields, report);
    let inject = inject::read(&fields, report);
    let aws = matches!(holds, Some(Holds::Aws { .. }));
    let unfit = [("env", env.is_some()), ("prefix", prefix.is_some())];
    let unfit = unfit.into_iter().chain([("inject", inject.is_some())]);
    for (field, _) in unfit.filter(|(_, given)| aws && *given) {
        if let Some((name, _)) = fields.entry(field) {
            let message = format!("`{}` doesn't go with `aws`", fields.path_of(field));
            let hint = "AWS keys only sign, at endpoints with `credential_signing`";
            report.add_with_hint(name.position, message, hint);
        }
    }
    if let (Some((name, _)), true) = (fields.entry("prefix"), fields.lacks("env")) {
        let message = format!("`{}` has no effect without `env`", fields.path_of("prefix"));
        report.add_with_hint(name.position, message, "add `env`, or remove it");
    }
    if !aws && holds.is_some() && fields.lacks("env") && fields.get("inject").is_none() {
        let message = format!("nothing uses {}", quoted(&key.value));
        let hint = "add `env`, the variable inside that stands for it, or `inject`";
        report.add_with_hint(key.position, message, hint);
    }
    (report.errors() == errors).then_some(Credential {
        key: key.clone().map(|key| key.to_string()),
        env,
        prefix,
        holds: holds?,
        endpoints,
        inject,
    })
}

fn variable(fields: &Fields<'_>, report: &mut Report) -> Option<Located<String>> {
    let name = fields.text("env", report)?;
    if !is_variable(name.value) {
        let message = format!("{} can't be the name of a variable", quoted(name.value));
        let hint = "a name has up to 100 letters, digits and `_`, and doesn't begin with a digit";
        report.add_with_hint(name.position, message, hint);
        return None;
    }
    Some(name.map(str::to_owned))
}

/// Whether a variable of the environment can have this name, and a placeholder.
fn is_variable(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && name.bytes().all(plain)
        && !name.as_bytes()[0].is_ascii_digit()
}

fn prefix(fields: &Fields<'_>, report: &mut Report) -> Option<String> {
    let prefix = fields.text("prefix", report)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if prefix.value.len() > MAX_PREFIX_BYTES || !prefix.value.bytes().all(plain) {
        let message = format!("{} can't begin a placeholder", quoted(prefix.value));
        let hint = "a prefix has up to 32 letters, digits, `_` and `-`";
        report.add_with_hint(prefix.position, message, hint);
    }
    Some(prefix.value.to_owned())
}

fn holds(fields: &Fields<'_>, report: &mut Report) -> Option<Holds> {
    match (
        fields.get("secret"),
        fields.section_as("aws", "aws", report),
    ) {
        (Some(node), None) => {
            source::read(node, &fields.path_of("secret"), report).map(Holds::Secret)
        }
        (None, Some(aws)) => {
            let mut source = |field: &str, needed: bool| match aws.get(field) {
                Some(node) => source::read(node, &aws.path_of(field), report),
                None if needed => {
                    let hint = "say where it comes from: `{env: VAR}`, `{file: PATH}` or `{command: [..]}`";
                    fields::missing(field, aws.position, hint, report);
                    None
                }
                None => None,
            };
            Some(Holds::Aws {
                access_key_id: source("access_key_id", true)?,
                secret_access_key: source("secret_access_key", true)?,
                session_token: source("session_token", false),
            })
        }
        (Some(node), Some(_)) => {
            let message = format!("`{}` has both `secret` and `aws`", fields.path());
            report.add_with_hint(node.position, message, "keep one of them");
            None
        }
        (None, None) => {
            if fields.get("aws").is_none() {
                let hint = "say where it comes from: `secret: {env: VAR}`, `{file: PATH}` or `{command: [..]}`";
                fields::missing("secret", fields.position, hint, report);
            }
            None
        }
    }
}

/// A variable holds one placeholder, and a placeholder stands for one credential.
fn check_distinct(entries: &[Credential], report: &mut Report) {
    let mut seen: Vec<&Located<String>> = Vec::new();
    for env in entries.iter().filter_map(|entry| entry.env.as_ref()) {
        match seen.iter().find(|earlier| earlier.value == env.value) {
            Some(earlier) => {
                let at = earlier.position;
                let message = format!("{} is used at {at} already", quoted(&env.value));
                report.add_with_hint(env.position, message, "give each credential a variable");
            }
            None => seen.push(env),
        }
    }
}

#[cfg(test)]
mod tests;
