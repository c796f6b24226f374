//! Connections as they arrive.
//!
//! Each gets a task of its own. One that fails, or is refused, is reset and written down, and
//! concerns no other. If this process has no descriptors left, connections wait in the listener's
//! queue; the supervisor and the open connections go on.

use super::decide::{self, Permit};
use super::dial::Way;
use super::learn::{self, Noted, Sorted};
use super::phases::Phase;
use super::quota::Meter;
use super::relay::{self, Traffic};
use super::shared::Shared;
use super::sniff::{self, Start};
use super::{dial, explicit, inspect, named, spans};
use casemate_core::error::{Error, Result};
use casemate_core::flow::Flows;
use casemate_identity::Identity;
use casemate_identity::Shown;
use rustix::fd::OwnedFd;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Connections at one time; more wait to be accepted.
pub(super) const MOST: usize = 4096;
/// How long to wait before accepting again when there are no descriptors.
const BREATH: Duration = Duration::from_millis(20);

/// Accepts on a listener of the sandbox.
pub(super) fn serve(shared: &Arc<Shared>, listener: OwnedFd) -> Result<()> {
    let listener = TcpListener::from_std(listener.into())
        .map_err(|error| Error::io("take the sandbox's listener", &error))?;
    let own = listener
        .local_addr()
        .map_err(|error| Error::io("take the sandbox's listener", &error))?;
    let shared = Arc::clone(shared);
    let room = Arc::new(Semaphore::new(MOST));
    // Owned by the runtime, which ends with the proxy.
    tokio::spawn(async move {
        loop {
            let Ok(room) = Arc::clone(&room).acquire_owned().await else {
                return;
            };
            match listener.accept().await {
                Ok((program, from)) => {
                    let shared = Arc::clone(&shared);
                    let there = Arc::clone(&shared);
                    spans::spawn(&there.phases, async move {
                        connection(&shared, program, from, own).await;
                        drop(room);
                    });
                }
                Err(_) => tokio::time::sleep(BREATH).await,
            }
        }
    });
    Ok(())
}

async fn connection(shared: &Arc<Shared>, program: TcpStream, from: SocketAddr, own: SocketAddr) {
    let Ok(to) = casemate_sys::fence::listen::destination(&program) else {
        return;
    };
    let from = SocketAddr::new(from.ip().to_canonical(), from.port());
    let _ = program.set_nodelay(true);
    let (_open, begun) = (shared.count(), shared.phases.begin());
    let opener = shared.openers.take((from, to), shared).await;
    shared.phases.end(Phase::SocketToPid, begun);
    let Some(identity) = opener else {
        shared
            .ledger
            .denied("", &to.ip().to_string(), to.port(), "unidentified");
        return reset(program);
    };
    let _place = match shared.enter(&identity) {
        Ok(place) => place,
        Err(why) => {
            let host = to.ip().to_string();
            refuse(shared, &identity, (&host, to.port()), "limits", &why);
            return reset(program);
        }
    };
    if to == own {
        return explicit::serve(shared, program, identity).await;
    }
    let decision = decide::destination(shared, &identity, to);
    shared.phases.end(Phase::EvaluationTotal, begun);
    match decision {
        (host, decided) if named::is_asked(shared, to.port(), decided.as_ref().ok()) => {
            named::serve(shared, (program, identity), to, (host, decided)).await;
        }
        (_, Ok(permit)) => transparent(shared, program, permit, to).await,
        (host, Err(denial)) => {
            refuse(
                shared,
                &identity,
                (&host.to_string(), to.port()),
                "policy",
                &denial.reason,
            );
            reset(program);
        }
    }
}

/// A connection whose program believes that it has the other side.
pub(super) async fn transparent(
    shared: &Arc<Shared>,
    program: TcpStream,
    permit: Permit,
    to: SocketAddr,
) {
    let way = shared.dialer.to_address(&permit, to);
    let world = match way {
        Ok(way) => World::open(shared, &permit, way).await,
        Err(failed) => Err(failed),
    };
    match world {
        Ok(world) => carry(shared, program, world, permit, Vec::new()).await,
        Err(failed) => {
            fail(shared, &permit, &failed);
            reset(program);
        }
    }
}

/// The other side of a connection.
pub(super) enum World {
    /// It's there.
    Open(TcpStream),
    /// It's dialled when something may be said to it.
    Later(Way),
}

impl World {
    pub(super) async fn open(
        shared: &Shared,
        permit: &Permit,
        way: Way,
    ) -> Result<Self, dial::Failed> {
        if permit.is_inspected() {
            return Ok(Self::Later(way));
        }
        inspect::may_be_unseen(shared, permit)?;
        way.connect(shared, permit.port).await.map(Self::Open)
    }
}

/// Relays a connection that is allowed, until it ends or the policy no longer allows it.
pub(super) async fn carry(
    shared: &Arc<Shared>,
    program: TcpStream,
    world: World,
    permit: Permit,
    said: Vec<u8>,
) {
    let permit = match &world {
        World::Open(world) => match world.peer_addr() {
            Ok(to) => permit.reaching(&[to.ip().to_canonical()]),
            Err(_) => return reset(program),
        },
        World::Later(way) => permit.toward(way),
    };
    let Some(grant) = permit.grant() else {
        return reset(program);
    };
    let meter = match shared.quotas.open(grant.limits()) {
        Ok(meter) => meter,
        Err(why) => {
            refuse(
                shared,
                &permit.identity,
                (&permit.host.to_string(), permit.port),
                "limits",
                &why,
            );
            return reset(program);
        }
    };
    drop(grant);
    let (world, said) = match world {
        World::Open(world) => (world, said),
        World::Later(way) if permit.learning().is_some() => {
            match learn::sort(shared, (&program, &permit), way, said).await {
                Ok(Sorted::Relay(world, said)) => (world, said),
                Ok(Sorted::Inspect(way, said)) => {
                    return inspect::serve(shared, program, way, permit, said, meter).await;
                }
                Err(failed) => {
                    fail(shared, &permit, &failed);
                    return reset(program);
                }
            }
        }
        World::Later(way) => {
            return inspect::serve(shared, program, way, permit, said, meter).await;
        }
    };
    let binary = Shown(&permit.identity.executable.path).to_string();
    let host = permit.host.to_string();
    shared
        .ledger
        .allowed(&binary, &host, permit.port, &permit.entry);
    shared.journal.allowed(&permit, world.peer_addr().ok());
    let (traffic, noted) = (Traffic::default(), Noted::new(shared, &permit));
    let first = first_words(shared, &program, (&permit, noted.as_ref()), said);
    let ended = tokio::select! {
        ended = relayed(&program, &world, (&traffic, &meter, shared.flows.as_deref()), first) => ended,
        () = withdrawn(shared, &permit) => Err(io::Error::other("the policy no longer allows it")),
    };
    let (sent, received) = (
        traffic.sent.load(Ordering::Relaxed),
        traffic.received.load(Ordering::Relaxed),
    );
    shared
        .ledger
        .moved((&binary, &host, permit.port, &permit.entry), sent, received);
    shared.journal.closed(&permit, sent, received);
    if let Some(noted) = noted {
        noted.moved(sent + received);
    }
    if ended.is_err() {
        reset(program);
        reset(world);
    }
}

async fn relayed(
    program: &TcpStream,
    world: &TcpStream,
    (traffic, meter, flows): (&Traffic, &Meter, Option<&Flows>),
    first: impl Future<Output = io::Result<Vec<u8>>>,
) -> io::Result<()> {
    let out = async {
        let first = first.await?;
        meter.take(first.len() as u64)?;
        traffic
            .sent
            .fetch_add(first.len() as u64, Ordering::Relaxed);
        relay::write_all(world, &first).await?;
        let out = (&traffic.sent, flows.map(|flows| &flows.out));
        relay::one_way(program, world, out, meter).await
    };
    // Meanwhile the other side is heard: it may be the one that speaks first.
    let into = (&traffic.received, flows.map(|flows| &flows.into));
    let back = relay::one_way(world, program, into, meter);
    tokio::try_join!(out, back).map(|_| ())
}

/// What the program says first, if it may say that.
async fn first_words(
    shared: &Shared,
    program: &TcpStream,
    (permit, noted): (&Permit, Option<&Noted>),
    said: Vec<u8>,
) -> io::Result<Vec<u8>> {
    let start = sniff::start(program, said).await?;
    if let Some(noted) = noted {
        noted.heard(shared, (program, permit), &start);
    }
    match start {
        Start::Other(first) => Ok(first),
        Start::Tls(hello, first) => {
            let begun = shared.phases.begin();
            let checked = sniff::check(shared, permit, &hello);
            shared.phases.end(Phase::Tls, begun);
            if let Err(why) = checked {
                let host = permit.host.to_string();
                refuse(shared, &permit.identity, (&host, permit.port), "tls", &why);
                return Err(io::Error::other(why));
            }
            Ok(first)
        }
    }
}

/// Waits until the policy in force doesn't allow the connection.
pub(super) async fn withdrawn(shared: &Shared, permit: &Permit) {
    let mut revision = shared.revision.subscribe();
    loop {
        // The first time, too: it may have changed since the decision.
        if permit.under(shared.policy.load_full()).is_none() {
            let host = permit.host.to_string();
            refuse(
                shared,
                &permit.identity,
                (&host, permit.port),
                "policy",
                "the policy no longer allows it",
            );
            return;
        }
        if revision.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Writes a refusal down.
pub(super) fn refuse(
    shared: &Shared,
    identity: &Identity,
    to: (&str, u16),
    engine: &'static str,
    why: &str,
) {
    let binary = Shown(&identity.executable.path).to_string();
    shared.ledger.denied(&binary, to.0, to.1, why);
    shared.journal.denied(identity, to, engine, why);
    if let Some(learning) = &shared.policy.load().learning {
        learning.refused(Some(identity), to, engine, why);
    }
}

/// Writes down why nobody could be reached.
pub(super) fn fail(shared: &Shared, permit: &Permit, failed: &dial::Failed) {
    let (host, why) = (permit.host.to_string(), failed.reason());
    match failed {
        dial::Failed::Guarded(_) => {
            refuse(shared, &permit.identity, (&host, permit.port), "ssrf", &why);
        }
        dial::Failed::Unseen(..) => {
            refuse(shared, &permit.identity, (&host, permit.port), "l7", &why);
        }
        _ => shared.journal.failed(permit, &why),
    }
}

/// Ends a connection so that its program sees an error, not an end (RFC 9293, 3.10.4).
pub(super) fn reset(connection: TcpStream) {
    let _ = rustix::net::sockopt::set_socket_linger(&connection, Some(Duration::ZERO));
    drop(connection);
}

/// Says something to a program that is about to be refused, so that it can read it.
pub(super) async fn say(program: &mut TcpStream, text: &[u8]) {
    let _ = program.write_all(text).await;
    let _ = program.shutdown().await;
}
