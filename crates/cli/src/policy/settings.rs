//! What a policy says besides who may say what where, each thing as one line of text.

use casemate_policy::network::{
    BodyLimits, Endpoint, Enforcement, Entry, GraphqlOptions, McpOptions, Middleware,
    MiddlewareKind, OnError, Protocol, Rego, Tls,
};
use casemate_policy::{Account, Compatibility, Document, Located};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// What may be read and written.
pub(super) fn files(document: &Document) -> BTreeSet<String> {
    let files = &document.filesystem_policy;
    let line = |what: &str, path: &Located<PathBuf>| format!("{what} {}", path.value.display());
    let read = files.read_only.iter().map(|path| line("read", path));
    let write = files
        .read_write
        .iter()
        .map(|path| line("read and write", path));
    let workdir = files
        .include_workdir
        .then(|| "write the working folder".to_owned());
    let carriers = &document.carriers;
    let open = carriers
        .allow
        .iter()
        .map(|name| line("change the carrier", name));
    read.chain(write).chain(workdir).chain(open).collect()
}

/// Everything else.
///
/// # Errors
/// A file with rules in Rego can't be read.
pub(super) fn others(document: &Document) -> anyhow::Result<BTreeSet<String>> {
    let network = &document.network;
    let protected = document.carriers.protect.iter();
    let protected = protected.map(|name| format!("carriers.protect: {}", name.value.display()));
    let mut lines: BTreeSet<String> = protected.collect();
    lines.extend(process(document));
    lines.extend(document.network_middlewares.iter().map(middleware));
    for entry in &network.entries {
        lines.extend(of_entry(entry));
    }
    if let Some(rego) = &network.rego {
        let module = match &rego.value {
            Rego::Inline(module) => module.clone(),
            Rego::File(path) => casemate_policy::text(path)?,
        };
        // One line, and none that two modules share.
        lines.insert(format!("rego: {module:?}"));
    }
    Ok(lines)
}

fn process(document: &Document) -> Vec<String> {
    let process = &document.process;
    let account = |field: &str, account: &Option<Located<Account>>| {
        let id = match account.as_ref()?.value {
            Account::Sandbox => "sandbox".to_owned(),
            Account::Id(id) => id.to_string(),
        };
        Some(format!("process.{field}: {id}"))
    };
    let compatibility = match document.landlock.compatibility() {
        Compatibility::BestEffort => "best_effort",
        Compatibility::HardRequirement => "hard_requirement",
    };
    let mut lines = vec![format!("landlock.compatibility: {compatibility}")];
    lines.extend(account("run_as_user", &process.run_as_user));
    lines.extend(account("run_as_group", &process.run_as_group));
    lines
}

fn middleware(own: &Middleware) -> String {
    let kind = match &own.kind {
        MiddlewareKind::Redact => "redact",
        MiddlewareKind::Unknown(name) => name,
    };
    let on_error = match own.on_error {
        OnError::FailClosed => "fail_closed",
        OnError::FailOpen => "fail_open",
    };
    format!(
        "middleware {}: {kind}, order {}, {on_error}, include {}, exclude {}",
        own.name,
        own.order,
        names(&own.include),
        names(&own.exclude),
    )
}

fn names(list: &[Located<String>]) -> String {
    let names: BTreeSet<_> = list.iter().map(|name| &*name.value).collect();
    format!("[{}]", names.into_iter().collect::<Vec<_>>().join(", "))
}

fn of_entry(entry: &Entry) -> Vec<String> {
    let limits = entry.limits;
    let limit = |field: &str, value: Option<u64>| {
        value.map(|value| format!("{}: limits.{field}: {value}", entry.name))
    };
    let limits = [
        limit("connections", limits.connections.map(u64::from)),
        limit("bytes", limits.bytes),
        limit("rate", limits.rate.map(u64::from)),
    ];
    let endpoints = entry.endpoints.iter();
    let endpoints = endpoints.map(|own| format!("{}: {}", entry.name, of_endpoint(own)));
    limits.into_iter().flatten().chain(endpoints).collect()
}

/// How an endpoint treats what it allows: all that isn't about who may say what.
fn of_endpoint(own: &Endpoint) -> String {
    let host = own.host.as_ref().map_or("any host", |host| &host.value);
    let ports: Vec<_> = own.ports.iter().map(ToString::to_string).collect();
    let path = own.path.as_ref().map_or("", |path| &path.value);
    let provider = own.credential_provider.as_ref().map(|name| &name.value);
    let flag = |field: &str, set: bool| set.then(|| field.to_owned());
    let protocol = match own.protocol {
        // They mean the same.
        Protocol::Unspecified => Protocol::Any,
        protocol => protocol,
    };
    let enforcement = match own.enforcement {
        Enforcement::Audit => "enforcement: audit",
        Enforcement::Enforce => "enforcement: enforce",
    };
    let options = [
        Some(protocol.to_string()),
        flag(enforcement, protocol.is_inspected()),
        flag("tls: skip", own.tls == Tls::Skip),
        flag("allow_encoded_slash", own.allow_encoded_slash),
        flag(
            "websocket_credential_rewrite",
            own.websocket_credential_rewrite,
        ),
        flag(
            "request_body_credential_rewrite",
            own.request_body_credential_rewrite,
        ),
        flag(
            "allow_uninspected_credentials",
            own.allow_uninspected_credentials,
        ),
        own.signing.as_ref().map(|signing| format!("{signing:?}")),
        provider.map(|name| format!("credential_binding: {name}")),
        (own.graphql != GraphqlOptions::default()).then(|| format!("{:?}", own.graphql)),
        (own.mcp != McpOptions::default()).then(|| format!("{:?}", own.mcp)),
        (own.body != BodyLimits::default()).then(|| format!("{:?}", own.body)),
    ];
    let options: Vec<_> = options.into_iter().flatten().collect();
    format!("{host}:{}{path} {}", ports.join(","), options.join(", "))
}
