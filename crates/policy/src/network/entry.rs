//! An entry of `network_policies`.

use std::rc::Rc;

use super::binary;
use super::endpoint;
use super::limits;
use super::model::Entry;
use crate::fields::Fields;
use crate::lint::Lint;
use crate::node::Node;
use crate::position::Located;
use crate::quote::shortened;
use crate::report::Report;

/// The most endpoints in one policy. They are compared with each other.
const MAX_ENDPOINTS: usize = 2048;

/// The most binaries in one entry.
const MAX_BINARIES: usize = 1024;

/// Keys that begin like this are what OpenShell gives to entries of its own.
const RESERVED: &str = "_provider_";

/// The longest key, in bytes; names are shown in messages and logs.
const MAX_KEY_BYTES: usize = 256;

pub(super) fn read(key: &Located<Rc<str>>, node: &Node, report: &mut Report) -> Option<Entry> {
    check_key(key, report);
    let path = format!("network_policies.{}", shortened(&key.value));
    let fields = Fields::nested(node, "network_policies.KEY", path, report)?;
    let name = fields.text("name", report);
    let endpoints = fields.list("endpoints", MAX_ENDPOINTS, report);
    if endpoints.is_empty() {
        let message = format!(
            "`{}` has no endpoints, so nothing can be reached",
            fields.path()
        );
        let hint = "list where to under `endpoints`, or remove the entry";
        report.warn(Lint::NothingReachable, key.position, message, hint);
    }
    let binaries = fields.list("binaries", MAX_BINARIES, report);
    if binaries.is_empty() {
        let message = format!("`{}` has no binaries, so nobody matches", fields.path());
        let hint = "list who may connect under `binaries`; `/**` is every program";
        report.warn(Lint::NobodyMatches, key.position, message, hint);
    }
    let nth = |field: &str, index: usize| format!("{}.{field}[{index}]", fields.path());
    Some(Entry {
        key: key.clone().map(|key| key.to_string()),
        name: name.map_or_else(|| key.value.to_string(), |name| name.value.to_owned()),
        binaries: binaries
            .iter()
            .enumerate()
            .filter_map(|(index, node)| binary::read(node, nth("binaries", index), report))
            .collect(),
        endpoints: endpoints
            .iter()
            .enumerate()
            .filter_map(|(index, node)| endpoint::read(node, nth("endpoints", index), report))
            .collect(),
        limits: limits::read(&fields, report),
    })
}

/// A key of an entry or a middleware.
pub(super) fn check_key(key: &Located<Rc<str>>, report: &mut Report) {
    if key.value.is_empty() || key.value.len() > MAX_KEY_BYTES {
        let message = format!(
            "a key has 1 to {MAX_KEY_BYTES} bytes, found {}",
            key.value.len()
        );
        report.add(key.position, message);
    }
    if key.value.starts_with(RESERVED) {
        report.add_with_hint(
            key.position,
            format!("keys that begin with `{RESERVED}` are reserved"),
            "OpenShell gives them to the entries that it makes itself",
        );
    }
}

pub(super) fn check_total(entries: &[Entry], report: &mut Report) {
    let mut endpoints = entries.iter().flat_map(|entry| &entry.endpoints);
    if let Some(first_over) = endpoints.nth(MAX_ENDPOINTS) {
        let message = format!("more than {MAX_ENDPOINTS} endpoints in `network_policies`");
        report.add(first_over.position, message);
    }
}
