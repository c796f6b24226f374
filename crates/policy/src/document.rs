//! The whole policy.

use std::path::Path;

use crate::carriers::{self, Carriers};
use crate::error::{PolicyError, Problem, name_of};
use crate::extends;
use crate::fields::{self, Fields};
use crate::filesystem::{self, FilesystemPolicy};
use crate::landlock::{self, Landlock};
use crate::lint::Lint;
use crate::load;
use crate::network::{self, Middleware, Network};
use crate::node::{Node, Value};
use crate::position::Position;
use crate::process::{self, Process};
use crate::quote::escaped;
use crate::report::{ReadOptions, Report};
use crate::syntax;

/// A policy that holds to every rule of the format.
///
/// Its fields have the names of the file's sections; a section that the file leaves out has its
/// default. `Document::default()` is the policy that says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// The policy and the files that it extends.
    names: Vec<String>,
    warnings: Vec<Problem>,
    /// What the sandbox sees and may change.
    pub filesystem_policy: FilesystemPolicy,
    /// What to do where a rule can't be enforced.
    pub landlock: Landlock,
    /// As whom the program runs.
    pub process: Process,
    /// Which carriers are protected, and which are not.
    pub carriers: Carriers,
    /// Where the program may connect to, and what it may say there: `network_policies`, `dns` and
    /// `rego`.
    pub network: Network,
    /// What happens to its requests, in the order in which it happens.
    pub network_middlewares: Vec<Middleware>,
}

impl Document {
    /// Reads a policy from a regular file of at most [`MAX_FILE_BYTES`](crate::MAX_FILE_BYTES),
    /// and the files that it extends.
    ///
    /// # Errors
    /// Every problem of the files, or why they can't be read.
    pub fn load(path: &Path) -> Result<Self, PolicyError> {
        Self::load_with(path, ReadOptions::default())
    }

    /// The same as [`load`](Self::load), as strictly as `options` say.
    ///
    /// # Errors
    /// Every problem of the files, or why they can't be read.
    pub fn load_with(path: &Path, options: ReadOptions) -> Result<Self, PolicyError> {
        let mut report = Report::new(&path.to_string_lossy(), options);
        let tree = match load::read(path, "policy", load::CURRENT) {
            Ok(text) => {
                tree(&text, &mut report).and_then(|root| extends::resolve(root, path, &mut report))
            }
            Err(refusal) => {
                report.push(refusal.position, refusal.message, refusal.hint);
                None
            }
        };
        Self::of(tree, report)
    }

    /// Reads a policy from its text. `name` is what messages call it, usually the file's name.
    ///
    /// A text has no folder, so it can't extend other files.
    ///
    /// # Errors
    /// Every problem of the text.
    pub fn parse(name: &str, text: &str) -> Result<Self, PolicyError> {
        Self::parse_with(name, text, ReadOptions::default())
    }

    /// The same as [`parse`](Self::parse), as strictly as `options` say.
    ///
    /// # Errors
    /// Every problem of the text.
    pub fn parse_with(name: &str, text: &str, options: ReadOptions) -> Result<Self, PolicyError> {
        let mut report = Report::new(name, options);
        let tree = tree(text, &mut report).map(|root| extends::refuse(root, &mut report));
        Self::of(tree, report)
    }

    fn of(tree: Option<Node>, mut report: Report) -> Result<Self, PolicyError> {
        let document = tree.and_then(|root| read(&root, &mut report));
        let Some(mut document) = document else {
            return Err(report.into_error());
        };
        (document.names, document.warnings) = report.finish()?;
        Ok(document)
    }

    /// Problems that were found later than on reading, as reading would tell them.
    pub(crate) fn refused(&self, problems: Vec<Problem>) -> PolicyError {
        PolicyError::new(self.names.clone(), problems)
    }

    /// What messages call this policy; empty for the default one.
    pub fn name(&self) -> &str {
        name_of(&self.names, None)
    }

    /// The files that it was read from: itself, and those that it extends. As messages call them,
    /// which is by their paths if it was loaded.
    pub fn files(&self) -> &[String] {
        &self.names
    }

    /// What is allowed and probably not meant, in the order of the file. Each has a
    /// [`Lint`](crate::Lint).
    pub fn warnings(&self) -> &[Problem] {
        &self.warnings
    }

    /// A warning as an error would show it: `policy.yaml:3:5: …`, and its hint on a second line.
    pub fn told(&self, warning: &Problem) -> String {
        warning.told(&self.names)
    }

    /// The name of the file that a place is in: the policy, or one that it extends.
    pub fn file_of(&self, position: Position) -> &str {
        name_of(&self.names, Some(position))
    }

    /// A place in this policy as messages give it: `policy.yaml:3:5`.
    pub fn at(&self, position: Position) -> String {
        format!("{}:{position}", escaped(self.file_of(position)))
    }
}

/// The tree of the policy's own text, if there is something in it.
fn tree(text: &str, report: &mut Report) -> Option<Node> {
    let root = syntax::read(text, 0, report);
    if !report.is_empty() && root.is_none() {
        return None;
    }
    let root = root.filter(|root| !root.is_null());
    if root.is_none() {
        report.add_with_hint(
            Position::START,
            "the policy is empty",
            "begin with `version: 1`",
        );
    }
    root.inspect(|root| check_version(root, report))
}

/// The document as far as it's usable; only if `report` stays empty is it the whole truth.
fn read(root: &Node, report: &mut Report) -> Option<Document> {
    let fields = Fields::of_document(root, report)?;
    let filesystem_policy = filesystem::read(&fields, report);
    let landlock = landlock::read(&fields, report);
    let process = process::read(&fields, report);
    let carriers = carriers::read(&fields, report);
    let (network, network_middlewares) = network::read(&fields, report);
    Some(Document {
        names: Vec::new(),
        warnings: Vec::new(),
        filesystem_policy,
        landlock,
        process,
        carriers,
        network,
        network_middlewares,
    })
}

/// Reports a file that doesn't say that it's of this format. What isn't a mapping is reported
/// elsewhere.
pub(crate) fn check_version(root: &Node, report: &mut Report) {
    let Value::Map(entries) = &root.value else {
        return;
    };
    let Some((_, node)) = entries.iter().find(|(key, _)| &*key.value == "version") else {
        let hint = "begin the file with `version: 1`";
        fields::missing("version", root.position, hint, report);
        return;
    };
    let message = format!("`version` must be the number 1, found {}", node.found());
    match node.as_number() {
        Some(1) => {}
        Some(_) => report.tolerate(
            Lint::UnknownVersion,
            node.position,
            message,
            "OpenShell doesn't look at the number",
        ),
        None => report.add(node.position, message),
    }
}
