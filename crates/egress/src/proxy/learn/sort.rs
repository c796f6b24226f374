//! One connection that is let through: where it goes, and what is spoken.

use super::Learning;
use super::seen::Place;
use crate::proxy::decide::{self, Permit};
use crate::proxy::dial::{Failed, Way};
use crate::proxy::shared::Shared;
use crate::proxy::sniff::{self, Start};
use casemate_policy::learn::Spoken;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A program that says nothing for so long waits for its server to speak.
const SILENCE: Duration = Duration::from_millis(750);
/// For the whole of what tells what is spoken.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection whose bytes are relayed, and where it was written down. Two places if it's to one
/// host by its name, and means another one by that of TLS.
pub(in crate::proxy) struct Noted {
    learning: Arc<Learning>,
    place: Mutex<Option<Place>>,
}

impl Noted {
    /// None if nothing is learnt.
    pub(in crate::proxy) fn new(shared: &Shared, permit: &Permit) -> Option<Self> {
        let learning = shared.policy.load().learning.clone()?;
        let place = permit.learning().map(|own| own.connected(permit));
        Some(Self {
            learning,
            place: Mutex::new(place),
        })
    }

    /// What the program said first.
    pub(in crate::proxy) fn heard(
        &self,
        shared: &Shared,
        (program, permit): (&TcpStream, &Permit),
        start: &Start,
    ) {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let spoken = match start {
            Start::Tls(hello, _) => {
                let name = hello.server_name.as_ref();
                let other = name.filter(|name| **name != permit.host).and_then(|name| {
                    let identity = &permit.identity;
                    decide::host(shared, identity, name.clone(), permit.port).ok()
                });
                if let Some(other) = other {
                    self.means(shared, program, &mut place, &other);
                }
                Spoken::Tls
            }
            Start::Other(first) if first.is_empty() => return,
            Start::Other(first) if is_http(first) => Spoken::Http,
            Start::Other(_) => Spoken::Other,
        };
        if let Some(place) = &*place {
            self.learning.spoke(place, spoken);
        }
    }

    /// The connection means another host than its address was taken for.
    fn means(
        &self,
        shared: &Shared,
        program: &TcpStream,
        place: &mut Option<Place>,
        other: &Permit,
    ) {
        if other.learning().is_none() {
            return;
        }
        let there = Place::of(other);
        match place
            .as_ref()
            .filter(|_| is_name_of(shared, program, other))
        {
            Some(first) => self.learning.renamed(first, &there),
            None => drop(self.learning.connected(other)),
        }
        *place = Some(there);
    }

    pub(in crate::proxy) fn moved(&self, bytes: u64) {
        let place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = &*place {
            self.learning.moved(place, bytes);
        }
    }
}

/// Whether the sandbox was given this name for the address that the program connected to.
fn is_name_of(shared: &Shared, program: &TcpStream, permit: &Permit) -> bool {
    casemate_sys::fence::listen::destination(program)
        .is_ok_and(|to| shared.names.of(to.ip()).contains(&permit.host))
}

/// What becomes of a connection that is to be looked into if that is possible.
pub(in crate::proxy) enum Sorted {
    /// It's looked into.
    Inspect(Way, Vec<u8>),
    /// Its bytes are relayed.
    Relay(TcpStream, Vec<u8>),
}

/// Waits for what the program says first: what isn't HTTP, with or without TLS, is relayed.
pub(in crate::proxy) async fn sort(
    shared: &Shared,
    (program, permit): (&TcpStream, &Permit),
    way: Way,
    said: Vec<u8>,
) -> Result<Sorted, Failed> {
    let pinned = permit.learning().is_some_and(|own| own.is_pinned(permit));
    // Nothing is read before something is there: a server that speaks first is still heard.
    let mut one = [0];
    let silent = said.is_empty() && timeout(SILENCE, program.peek(&mut one)).await.is_err();
    let said = match silent {
        true => said,
        false => {
            let start = timeout(PATIENCE, sniff::start(program, said)).await;
            let start = start.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            let start = start.map_err(Failed::Unreachable)?;
            let inspect = !pinned && can_be_seen(shared, program, permit, &start);
            let (Start::Tls(_, said) | Start::Other(said)) = start;
            if inspect {
                return Ok(Sorted::Inspect(way, said));
            }
            said
        }
    };
    let socket = way.connect(shared, permit.port).await?;
    Ok(Sorted::Relay(socket, said))
}

fn can_be_seen(shared: &Shared, program: &TcpStream, permit: &Permit, start: &Start) -> bool {
    match start {
        Start::Other(first) => is_http(first),
        // A host that was asked for by its address has no name to give.
        Start::Tls(hello, _) => hello.server_name.as_ref().is_none_or(|name| {
            let other = || decide::host(shared, &permit.identity, name.clone(), permit.port);
            *name == permit.host || other().is_ok_and(|own| is_name_of(shared, program, &own))
        }),
    }
}

/// Whether this is the beginning of a request of HTTP/1: a method and a target.
fn is_http(first: &[u8]) -> bool {
    let method = first.iter().take_while(|byte| byte.is_ascii_uppercase());
    let method = method.count();
    let target = first[method..].strip_prefix(b" ");
    let target = target.is_some_and(|rest| rest.starts_with(b"/") || rest.starts_with(b"http://"));
    (1..=32).contains(&method) && target
}

#[cfg(test)]
mod tests {
    use super::is_http;

    #[test]
    fn requests_are_told_from_other_commands() {
        for (first, http) in [
            (&b"GET / HTTP/1.1\r\n"[..], true),
            (b"PROPFIND /a", true),
            (b"GET http://a.example/ HTTP/1.1", true),
            (b"", false),
            (b"GET", false),
            (b"PRI * HTTP/2.0", false),
            (b"EHLO me.example\r\n", false),
            (b"get / HTTP/1.1", false),
            (b"SSH-2.0-x", false),
            (b" /", false),
        ] {
            assert_eq!(is_http(first), http, "{}", first.escape_ascii());
        }
    }
}
