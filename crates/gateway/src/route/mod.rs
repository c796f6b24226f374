//! Whose a request is.
//!
//! | | where it says so | what comes first |
//! |---|---|---|
//! | host | `{port}-{id}.domain`, `{port}-{id}-….domain` | wins over all others |
//! | headers | `E2b-Sandbox-Id` and `E2b-Sandbox-Port`, at localhost, an address, `sandbox.…`, or a name that isn't under our domain | |
//! | path | `/proxy/{id}/{port}/…` at any other name | the only one whose path is changed |
//! | | `/proxy/absolute/{id}/{port}/…` | for programs that are told what precedes their paths |
//! | signature | `/files?…&signature=…` | which sandbox it is, the control plane finds out |
//! | | none of these | it's for the API |

mod authority;
mod internal;
mod query;

pub(crate) use authority::Authority;
pub(crate) use internal::is_internal;

use crate::answer::Answer;
use crate::sandboxes::{Operation, Signed};
use casemate_core::node::Door;
use casemate_core::sandbox::SandboxId;
use http::request::Parts;
use http::{HeaderMap, Method, Uri};

/// The agent's port, as clients write it.
pub(crate) const AGENT: u16 = 49983;

const ID: &str = "e2b-sandbox-id";
const PORT: &str = "e2b-sandbox-port";
/// How the hosts of canisters begin.
const SITE: &str = "wasm";
const FOLDER: &str = "/proxy/";
/// What is below is left as it is. No sandbox has this id.
const WHOLE: &str = "absolute/";

/// Whose a request is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// The platform's.
    Api,
    /// The sandbox's that has this signature.
    Signed(Signed),
    /// This one's.
    Sandbox(Target),
}

/// A door of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) id: SandboxId,
    pub(crate) door: Door,
    /// In path mode, what precedes the program's own path.
    pub(crate) prefix: Option<Prefix>,
}

/// What precedes a program's path outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Prefix {
    /// `/proxy/{id}/{port}`.
    pub(crate) path: String,
    /// It precedes the path inside, too.
    pub(crate) kept: bool,
}

impl Target {
    fn new(id: SandboxId, port: u16) -> Self {
        let door = match port {
            AGENT => Door::Agent,
            port => Door::Port(port),
        };
        Self {
            id,
            door,
            prefix: None,
        }
    }

    /// The port, as the client knows it.
    pub(crate) fn port(&self) -> u16 {
        match self.door {
            Door::Agent => AGENT,
            Door::Port(port) => port,
        }
    }
}

/// Finds out whose a request is.
pub(crate) fn route(
    parts: &Parts,
    host: &Authority,
    domain: Option<&str>,
) -> Result<Route, Answer> {
    if parts.method == Method::CONNECT {
        return Err(Answer::NoConnect);
    }
    if let Some(target) = by_host(host)? {
        return Ok(Route::Sandbox(target));
    }
    if host.takes_headers(domain)
        && let Some(target) = by_headers(&parts.headers)?
    {
        return Ok(Route::Sandbox(target));
    }
    if let Some(target) = by_path(&parts.uri)? {
        return Ok(Route::Sandbox(target));
    }
    Ok(signed(&parts.method, &parts.uri).map_or(Route::Api, Route::Signed))
}

/// The target of a request that was signed for this sandbox.
pub(crate) fn of_signed(id: SandboxId) -> Target {
    Target::new(id, AGENT)
}

fn by_host(host: &Authority) -> Result<Option<Target>, Answer> {
    let Some((label, _)) = host.name().split_once('.') else {
        return Ok(None);
    };
    let mut parts = label.splitn(3, '-');
    let (Some(port), Some(id)) = (parts.next(), parts.next()) else {
        return Ok(None);
    };
    let Ok(id) = id.parse() else {
        return Ok(None);
    };
    // `wasm-NAME` is the site of a canister, which is the API's, whatever the name.
    if port == SITE {
        return Ok(None);
    }
    Ok(Some(Target::new(id, self::port(port)?)))
}

fn by_headers(headers: &HeaderMap) -> Result<Option<Target>, Answer> {
    let Some(id) = only(headers, ID)? else {
        return Ok(None);
    };
    let port = only(headers, PORT)?;
    let port = port.ok_or(Answer::Bad("E2b-Sandbox-Id comes without E2b-Sandbox-Port"))?;
    let id = id.parse();
    let id = id.map_err(|_| Answer::Bad("E2b-Sandbox-Id is no sandbox id"))?;
    Ok(Some(Target::new(id, self::port(port)?)))
}

fn by_path(uri: &Uri) -> Result<Option<Target>, Answer> {
    let Some(rest) = uri.path().strip_prefix(FOLDER) else {
        return Ok(None);
    };
    let (rest, kept) = match rest.strip_prefix(WHOLE) {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let mut segments = rest.splitn(3, '/');
    let (Some(id), Some(port)) = (segments.next(), segments.next()) else {
        return Ok(None);
    };
    let Ok(id) = id.parse::<SandboxId>() else {
        return Ok(None);
    };
    let whole = if kept { WHOLE } else { "" };
    let path = format!("{FOLDER}{whole}{id}/{port}");
    let mut target = Target::new(id, self::port(port)?);
    // The agent has no such paths, and what is asked of it is known by its path.
    if kept && target.door == Door::Agent {
        return Err(Answer::NotFound);
    }
    target.prefix = Some(Prefix { path, kept });
    Ok(Some(target))
}

fn signed(method: &Method, uri: &Uri) -> Option<Signed> {
    let operation = match *method {
        Method::GET | Method::HEAD => Operation::Read,
        Method::POST => Operation::Write,
        _ => return None,
    };
    let query = uri.query().filter(|_| uri.path() == "/files")?;
    Some(Signed {
        signature: query::value(query, "signature")?,
        path: query::value(query, "path").unwrap_or_default(),
        user: query::value(query, "username").unwrap_or_default(),
        expiration: query::value(query, "signature_expiration"),
        operation,
    })
}

fn only<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Answer> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value
            .to_str()
            .map(|value| Some(value.trim()))
            .map_err(|_| Answer::Bad("a header that names a sandbox isn't ASCII")),
        (Some(_), Some(_)) => Err(Answer::Bad("a header that names a sandbox comes twice")),
    }
}

fn port(text: &str) -> Result<u16, Answer> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.parse().ok().filter(|port| digits && *port != 0);
    port.ok_or(Answer::Bad("a port is a number from 1 to 65535"))
}

#[cfg(test)]
mod tests;
