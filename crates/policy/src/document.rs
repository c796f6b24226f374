//! The whole policy.

use std::path::Path;

use crate::carriers::{self, Carriers};
use crate::error::{PolicyError, Report, escaped};
use crate::fields::{self, Fields};
use crate::filesystem::{self, FilesystemPolicy};
use crate::landlock::{self, Landlock};
use crate::load;
use crate::node::{Node, Value};
use crate::opaque::{self, Opaque};
use crate::position::Position;
use crate::process::{self, Process};
use crate::syntax;

/// A policy that holds to every rule of the format.
///
/// Its fields have the names of the file's sections; a section that the file leaves out has its
/// default. `Document::default()` is the policy that says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    name: String,
    /// What the sandbox sees and may change.
    pub filesystem_policy: FilesystemPolicy,
    /// What to do where a rule can't be enforced.
    pub landlock: Landlock,
    /// As whom the program runs.
    pub process: Process,
    /// Which carriers are protected, and which are not.
    pub carriers: Carriers,
    /// Where the program may connect to: not understood yet. None if the file doesn't have it.
    pub network_policies: Option<Opaque>,
    /// What happens to its requests: not understood yet. None if the file doesn't have it.
    pub network_middlewares: Option<Opaque>,
}

impl Document {
    /// Reads a policy from a regular file of at most [`MAX_FILE_BYTES`](crate::MAX_FILE_BYTES).
    ///
    /// # Errors
    /// Every problem of the file, or why it can't be read.
    pub fn load(path: &Path) -> Result<Self, PolicyError> {
        let name = path.to_string_lossy();
        let mut report = Report::default();
        match load::read(path, &mut report) {
            Some(text) => Self::parse(&name, &text),
            None => Err(report.into_error(&name)),
        }
    }

    /// Reads a policy from its text. `name` is what messages call it, usually the file's name.
    ///
    /// # Errors
    /// Every problem of the text.
    pub fn parse(name: &str, text: &str) -> Result<Self, PolicyError> {
        let mut report = Report::default();
        let document = read(name, text, &mut report);
        match document {
            Some(document) if report.is_empty() => Ok(document),
            _ => Err(report.into_error(name)),
        }
    }

    /// What messages call this policy; empty for the default one.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A place in this policy as messages give it: `policy.yaml:3:5`.
    pub fn at(&self, position: Position) -> String {
        format!("{}:{position}", escaped(&self.name))
    }
}

/// The document as far as it's usable; only if `report` stays empty is it the whole truth.
fn read(name: &str, text: &str, report: &mut Report) -> Option<Document> {
    let root = syntax::read(text, report);
    if !report.is_empty() && root.is_none() {
        return None;
    }
    let Some(root) = root.filter(|root| !root.is_null()) else {
        report.add_with_hint(
            Position::START,
            "the policy is empty",
            "begin with `version: 1`",
        );
        return None;
    };
    let fields = Fields::of_document(&root, report)?;
    check_version(&root, &fields, report);
    Some(Document {
        name: name.to_owned(),
        filesystem_policy: filesystem::read(&fields, report),
        landlock: landlock::read(&fields, report),
        process: process::read(&fields, report),
        carriers: carriers::read(&fields, report),
        network_policies: opaque::read(&fields, "network_policies", report),
        network_middlewares: opaque::read(&fields, "network_middlewares", report),
    })
}

fn check_version(root: &Node, fields: &Fields<'_>, report: &mut Report) {
    let Some(node) = fields.get("version") else {
        fields::missing(
            "version",
            root.position,
            "begin the file with `version: 1`",
            report,
        );
        return;
    };
    let one = matches!(&node.value, Value::Scalar { text, plain: true } if &**text == "1");
    if !one {
        let message = format!("`version` must be the number 1, found {}", node.found());
        report.add(node.position, message);
    }
}
