//! Connections whose host is what the program says first.
//!
//! Where [names are allowed](crate::open), an address that nobody was given for a name says
//! nothing: a program may have kept it for long, or have it from somewhere else. Two protocols name
//! the host before anything else: TLS in its hello, at port 443, and HTTP/1.1 at port 80. So what
//! comes is read before it's refused, and then the name decides. It's only a program's word, so
//! the host is resolved here, and what it leads to is dialled, wherever the program believes to be.
//!
//! The same is asked where headers are set for some hosts: an address may be that of several, and
//! only to those TLS is terminated. There the address was allowed, and stays what is dialled.

use super::accept::{World, carry, fail, refuse, reset, transparent};
use super::decide::{self, HTTP, HTTPS, Permit};
use super::shared::Shared;
use super::sniff::{self, Start};
use crate::hello::Ech;
use crate::host::Host;
use crate::http1::{HeadScanner, Limits, RequestHead};
use casemate_identity::Identity;
use casemate_policy::compiled::Denial;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// For a program to say whom it means.
const PATIENCE: Duration = Duration::from_secs(30);
/// A program that is allowed in any case, and says nothing for so long, waits for its server.
const SILENCE: Duration = Duration::from_millis(750);

/// What was decided by the address alone.
type Decided = (Host, Result<Permit, Box<Denial>>);

/// Whom a program means, by its own word.
struct Heard {
    name: Option<Host>,
    said: Vec<u8>,
}

/// Whether a connection to this port, decided like this by its address, has to be heard first.
pub(super) fn is_asked(shared: &Shared, port: u16, permit: Option<&Permit>) -> bool {
    let policy = shared.policy.load();
    let open = policy.open.as_ref();
    open.is_some_and(|open| match permit {
        Some(_) => port == HTTPS && open.sets_any_headers(),
        None => (port == HTTP || port == HTTPS) && open.asks_for_names(),
    })
}

/// Serves a connection whose host is to be heard.
pub(super) async fn serve(
    shared: &Arc<Shared>,
    (mut program, identity): (TcpStream, Arc<Identity>),
    to: SocketAddr,
    (host, decided): Decided,
) {
    if decided.is_ok() && timeout(SILENCE, program.readable()).await.is_err() {
        if let Ok(permit) = decided {
            transparent(shared, program, permit, to).await;
        }
        return;
    }
    let no = |host: &Host, engine, why: &str| {
        let host = host.to_string();
        refuse(shared, &identity, (&host, to.port()), engine, why);
    };
    let heard = match timeout(PATIENCE, hear(&mut program, to.port())).await {
        Ok(Ok(heard)) => heard,
        Ok(Err(error)) => {
            no(&host, "tls", &error.to_string());
            return reset(program);
        }
        Err(_) => {
            no(
                &host,
                "policy",
                "the program didn't say in time which host it means",
            );
            return reset(program);
        }
    };
    let is_there = decided.is_ok();
    let decided = match (heard.name, decided) {
        (Some(name), decided) => match decide::host(shared, &identity, name.clone(), to.port()) {
            Ok(permit) => Ok(permit),
            // Whoever is at an address that is allowed may be called anything.
            Err(_) if is_there => decided,
            Err(denial) => {
                no(&name, "policy", &denial.reason);
                return reset(program);
            }
        },
        (None, decided) => decided,
    };
    let permit = match decided {
        Ok(permit) => permit,
        Err(denial) => {
            no(&host, "policy", &denial.reason);
            return reset(program);
        }
    };
    let way = match is_there {
        true => shared.dialer.to_address(&permit, to),
        false => shared.dialer.to_host(shared, &permit).await,
    };
    let world = match way {
        Ok(way) => World::open(shared, &permit, way).await,
        Err(failed) => Err(failed),
    };
    match world {
        Ok(world) => carry(shared, program, world, permit, heard.said).await,
        Err(failed) => {
            fail(shared, &permit, &failed);
            reset(program);
        }
    }
}

/// Reads until it is clear who is meant.
async fn hear(program: &mut TcpStream, port: u16) -> io::Result<Heard> {
    match sniff::start(program, Vec::new()).await? {
        Start::Tls(hello, _) if hello.ech == Ech::Inner => Err(io::Error::other(
            "the TLS hello claims to be an encrypted one's inside",
        )),
        Start::Tls(hello, said) => Ok(Heard {
            name: hello.server_name.filter(|_| port == HTTPS),
            said,
        }),
        Start::Other(mut said) => {
            let name = match port {
                HTTP => requested(program, &mut said).await?,
                _ => None,
            };
            Ok(Heard { name, said })
        }
    }
}

/// The host that a request names, if it is one. What was read is kept.
async fn requested(program: &mut TcpStream, said: &mut Vec<u8>) -> io::Result<Option<Host>> {
    let limits = Limits::default();
    let mut scanner = HeadScanner::default();
    let mut buffer = [0u8; 4096];
    loop {
        if !said.first().is_some_and(u8::is_ascii_uppercase) {
            return Ok(None);
        }
        let Ok(scanned) = scanner.scan(said, &limits) else {
            return Ok(None);
        };
        if let Some(length) = scanned {
            let head = RequestHead::parse(&said[..length], &limits).ok();
            return Ok(head.and_then(|head| head.host).map(|own| own.host));
        }
        match program.read(&mut buffer).await? {
            0 => return Ok(None),
            count => said.extend_from_slice(&buffer[..count]),
        }
    }
}
