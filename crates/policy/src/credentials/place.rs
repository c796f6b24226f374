//! Where a credential may go.

use crate::fields::{self, Fields};
use crate::network::host_or_pattern;
use crate::node::Node;
use crate::position::Position;
use crate::quote::quoted;
use crate::report::Report;
use crate::values::{self, Word};

/// The most places of one credential.
const MAX_PLACES: usize = 64;

/// The most ports of one place.
const MAX_PORTS: usize = 64;

const SCHEMES: [Word<bool>; 2] = [("https", true), ("http", false)];

/// A host, ports and a path below which a credential may be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where it begins in the file.
    pub position: Position,
    /// A name, an address, or a pattern in which `*` is a whole label.
    pub host: String,
    /// At least one.
    pub ports: Vec<u16>,
    /// `/` is all.
    pub path: String,
    /// Over TLS, to a server that proves its name; or in the clear.
    pub secure: bool,
}

pub(super) fn read(credential: &Fields<'_>, report: &mut Report) -> Vec<Place> {
    let hint = "say where it may go: `endpoints: [{host: api.example.com}]`";
    if credential.get("endpoints").is_none() {
        fields::missing("endpoints", credential.position, hint, report);
        return Vec::new();
    }
    let nodes = credential.list("endpoints", MAX_PLACES, report);
    if let (true, Some(node)) = (nodes.is_empty(), credential.get("endpoints")) {
        let message = format!("`{}` has no host", credential.path_of("endpoints"));
        report.add_with_hint(node.position, message, hint);
    }
    let places = nodes.iter().enumerate();
    places
        .filter_map(|(index, node)| {
            let path = format!("{}[{index}]", credential.path_of("endpoints"));
            place(node, path, report)
        })
        .collect()
}

fn place(node: &Node, path: String, report: &mut Report) -> Option<Place> {
    let fields = Fields::nested(node, "credentials.KEY.endpoints[]", path, report)?;
    let errors = report.errors();
    let host = host(&fields, report);
    let secure = fields.choice("scheme", &SCHEMES, report);
    let secure = secure.is_none_or(|stated| stated.value);
    let ports = ports(&fields, if secure { 443 } else { 80 }, report);
    let path = fields.text("path", report);
    if let Some(path) = path.as_ref().filter(|path| !is_plain_path(path.value)) {
        let message = format!("{} is no path below which all is meant", quoted(path.value));
        let hint = "write it as in a request, without wildcards and query: `/v1/messages`";
        report.add_with_hint(path.position, message, hint);
    }
    let host = host?;
    (report.errors() == errors).then(|| Place {
        position: fields.position,
        host,
        ports,
        path: path.map_or("/", |path| path.value).to_owned(),
        secure,
    })
}

/// Whether a path is one that requests are found below: `/v1/messages`.
pub(crate) fn is_plain_path(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"*?#[]{}\\".contains(&byte);
    path.starts_with('/')
        && path.bytes().all(plain)
        && !path.contains("//")
        && path.split('/').all(|part| !matches!(part, "." | ".."))
}

fn host(fields: &Fields<'_>, report: &mut Report) -> Option<String> {
    let hint = "name the server, for example `api.example.com`";
    let text = fields.needed_text("host", hint, report)?;
    let path = fields.path_of("host");
    let host = host_or_pattern(&text, &path, report)?;
    let whole = |label: &str| label == "*" || !label.contains('*');
    if !host.split('.').all(whole) {
        let message = format!(
            "{} in `{path}` is too wide for a secret",
            quoted(text.value)
        );
        let hint = "a `*` is one whole label here, as in `*.s3.*.amazonaws.com`";
        report.add_with_hint(text.position, message, hint);
        return None;
    }
    Some(host)
}

fn ports(fields: &Fields<'_>, usual: u16, report: &mut Report) -> Vec<u16> {
    let range = 1..=u64::from(u16::MAX);
    if let [(_, _), (second, at)] = fields.given(&["port", "ports"])[..] {
        let message = format!("`{}` and the other form of it", fields.path_of(second));
        report.add_with_hint(at, message, "give either `port` or `ports`");
        return Vec::new();
    }
    let mut ports: Vec<_> = fields
        .list("ports", MAX_PORTS, report)
        .iter()
        .filter_map(|node| {
            let name = format!("every entry of `{}`", fields.path_of("ports"));
            values::number(node, &name, range.clone(), report)
        })
        .collect();
    ports.extend(fields.number("port", range, report));
    let ports: Vec<u16> = ports
        .iter()
        .filter_map(|port| u16::try_from(port.value).ok())
        .collect();
    match ports.is_empty() {
        true => vec![usual],
        false => ports,
    }
}
