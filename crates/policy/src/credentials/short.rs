//! A credential in one line, for a command line: `NAME=env:VAR@HOST:PORT/PATH`.

use std::path::PathBuf;

use super::place::is_plain_path;
use super::{Credential, Holds, Place, Source, is_variable};
use crate::network::checked_host;
use crate::position::{Located, Position};
use crate::quote::quoted;

const FORM: &str = "expected NAME[=env:VAR|=file:PATH]@HOST[:PORT][/PATH], such as \
                    API_KEY@api.example.com or API_KEY=file:/etc/keys/api@api.example.com/v1";

/// Reads `NAME[=SOURCE]@PLACE`. The name is that of the variable inside; without a source, the
/// caller's variable of the same name has the secret. A place may begin with `http://` if the
/// secret is to be sent without TLS.
///
/// # Errors
/// What is wrong with it.
pub fn short(text: &str) -> Result<Credential, String> {
    // A file's name may have an `@` in it, a place has none.
    let (given, place) = text.rsplit_once('@').ok_or(FORM)?;
    let (name, source) = match given.split_once('=') {
        Some((name, source)) => (name, source_of(source)?),
        None => (given, Source::Env(given.to_owned())),
    };
    if !is_variable(name) {
        return Err(format!(
            "{} can't be the name of a variable; {FORM}",
            quoted(name)
        ));
    }
    let here = |text: &str| Located::new(text.to_owned(), Position::START);
    Ok(Credential {
        key: here(name),
        env: Some(here(name)),
        prefix: None,
        holds: Holds::Secret(Located::new(source, Position::START)),
        endpoints: vec![place_of(place)?],
        inject: None,
    })
}

fn source_of(text: &str) -> Result<Source, String> {
    match text.split_once(':') {
        Some(("env", name)) if !name.is_empty() => Ok(Source::Env(name.to_owned())),
        Some(("file", path)) if !path.is_empty() => Ok(Source::File(PathBuf::from(path))),
        // It may be the secret itself, so it isn't repeated.
        _ => Err(format!("what stands after `=` is no source; {FORM}")),
    }
}

fn place_of(text: &str) -> Result<Place, String> {
    let (secure, rest) = match text.strip_prefix("http://") {
        Some(rest) => (false, rest),
        None => (true, text.strip_prefix("https://").unwrap_or(text)),
    };
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let (host, port) = match authority.rsplit_once(':') {
        // The last colon of an address is part of it, unless the brackets are closed before.
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let port = match port {
        None if secure => 443,
        None => 80,
        Some(port) => port
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| format!("{} is no port", quoted(port)))?,
    };
    let host = checked_host(host)?;
    if !host
        .split('.')
        .all(|label| label == "*" || !label.contains('*'))
    {
        return Err("a `*` in a host is one whole label".to_owned());
    }
    if !is_plain_path(path) {
        return Err(format!(
            "{} is no path below which all is meant",
            quoted(path)
        ));
    }
    Ok(Place {
        position: Position::START,
        host,
        ports: vec![port],
        path: path.to_owned(),
        secure,
    })
}
