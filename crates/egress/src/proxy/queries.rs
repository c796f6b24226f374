//! DNS: only names that the policy allows are answered, with addresses that may be reached.
//!
//! A query is attributed to the program whose socket it came from. Its name is resolved by the
//! host's resolver, and only if the policy could allow that very program a connection to it:
//! nothing that a program writes into a name leaves this machine otherwise.

use super::decide;
use super::lookup::Lost;
use super::phases::Phase;
use super::shared::Shared;
use crate::dns::{Answer, DnsQuery, MAX_QUERY_BYTES, Rejected, Transport};
use crate::host::Host;
use casemate_core::error::{Error, Result};
use casemate_identity::{Identity, Subject};
use casemate_sys::fence::dns::{DnsSocket, Query};
use casemate_sys::fence::listen::{Family, destination};
use casemate_sys::owners::Processes;
use rustix::fd::OwnedFd;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Queries that are being answered; more are dropped, and asked again.
const MOST: usize = 256;
/// For a program to send a query over TCP.
const PATIENCE: Duration = Duration::from_secs(10);
/// Processes and descriptors that are looked at to find who asked.
const MOST_PROCESSES: usize = 8192;
const MOST_DESCRIPTORS: usize = 1 << 18;
const PORT: u16 = 53;

/// Serves both transports of one IP version.
pub(super) fn serve(
    shared: &Arc<Shared>,
    family: Family,
    streams: OwnedFd,
    datagrams: OwnedFd,
) -> Result<()> {
    let fail = |error| Error::io("take the sandbox's DNS sockets", &error);
    let socket = Datagrams::new(family, datagrams).map_err(fail)?;
    let listener = TcpListener::from_std(streams.into()).map_err(fail)?;
    let room = Arc::new(Semaphore::new(MOST));
    tokio::spawn(datagrams_of(
        Arc::clone(shared),
        Arc::new(socket),
        Arc::clone(&room),
    ));
    tokio::spawn(streams_of(Arc::clone(shared), listener, room));
    Ok(())
}

/// A socket for queries, and the reactor's view of it.
struct Datagrams {
    own: DnsSocket,
    ready: UdpSocket,
}

impl Datagrams {
    fn new(family: Family, socket: OwnedFd) -> io::Result<Self> {
        let ready = UdpSocket::from_std(socket.try_clone()?.into())?;
        Ok(Self {
            own: DnsSocket::from_fd(socket, family),
            ready,
        })
    }

    async fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, Query)> {
        let receive = || self.own.receive(buffer).map_err(io::Error::from);
        self.ready.async_io(Interest::READABLE, receive).await
    }
}

async fn datagrams_of(shared: Arc<Shared>, socket: Arc<Datagrams>, room: Arc<Semaphore>) {
    let mut buffer = [0u8; MAX_QUERY_BYTES + 1];
    loop {
        // What one program sent wrong concerns no other.
        let Ok((length, query)) = socket.receive(&mut buffer).await else {
            continue;
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            continue;
        };
        let (bytes, shared, socket) = (
            buffer[..length].to_vec(),
            Arc::clone(&shared),
            Arc::clone(&socket),
        );
        tokio::spawn(async move {
            let asked = SocketAddr::new(query.server, PORT);
            let asker = match is_answered_to_all(&shared, &bytes) {
                true => None,
                false => identify(&shared, query, asked).await,
            };
            if let Some(answer) = answer(&shared, asker.as_deref(), &bytes, Transport::Udp).await {
                // A lost answer is asked for again.
                let _ = socket.own.answer(&answer, &query);
            }
            drop(permit);
        });
    }
}

async fn streams_of(shared: Arc<Shared>, listener: TcpListener, room: Arc<Semaphore>) {
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let Ok((stream, from)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            // Whatever is wrong with it ends this one stream.
            let _ = timeout(PATIENCE, stream_of(&shared, stream, from)).await;
            drop(permit);
        });
    }
}

async fn stream_of(
    shared: &Arc<Shared>,
    mut stream: TcpStream,
    from: SocketAddr,
) -> io::Result<()> {
    let to = destination(&stream)?;
    let from = SocketAddr::new(from.ip().to_canonical(), from.port());
    let asker = shared.openers.take((from, to), shared).await;
    loop {
        let length = usize::from(stream.read_u16().await?);
        if length > MAX_QUERY_BYTES {
            return Ok(());
        }
        let mut bytes = vec![0; length];
        stream.read_exact(&mut bytes).await?;
        let Some(answer) = answer(shared, asker.as_deref(), &bytes, Transport::Tcp).await else {
            return Ok(());
        };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        stream.write_u16(length).await?;
        stream.write_all(&answer).await?;
    }
}

async fn answer(
    shared: &Shared,
    asker: Option<&Identity>,
    bytes: &[u8],
    transport: Transport,
) -> Option<Vec<u8>> {
    let query = match DnsQuery::parse(bytes) {
        Ok(query) => query,
        Err(Rejected::Reply(reply)) => return Some(reply),
        Err(Rejected::Drop) => return None,
    };
    let Host::Name(name) = query.name() else {
        return Some(query.answer(Answer::Refused, transport));
    };
    let policy = shared.policy.load_full();
    let allowed = match &policy.open {
        Some(open) => open.resolves(query.name()),
        None => asker.is_some_and(|asker| {
            decide::with_subject(asker, |subject| {
                policy.compiled.may_resolve_for(subject, name)
            })
        }),
    };
    let learning = match (allowed, asker) {
        (false, Some(_)) => policy.learns(query.name()),
        _ => None,
    };
    if !allowed && learning.is_none() {
        refuse(shared, asker, name);
        return Some(query.answer(Answer::Refused, transport));
    }
    let begun = shared.phases.begin();
    let found = shared.find(query.name()).await;
    shared.phases.end(Phase::Dns, begun);
    let answer = match found {
        Ok(found) => {
            shared.names.learn(query.name(), &found.addresses);
            if let Some(learning) = learning {
                learning.resolved(query.name());
            }
            query.answer(Answer::Addresses(&found.addresses, found.ttl), transport)
        }
        Err(Lost::Absent) => query.answer(Answer::NxDomain, transport),
        Err(Lost::Failed) => query.answer(Answer::ServFail, transport),
    };
    Some(answer).filter(|answer| !answer.is_empty())
}

/// Whether it doesn't matter whose query this is, so that nobody has to be looked for.
fn is_answered_to_all(shared: &Shared, bytes: &[u8]) -> bool {
    let policy = shared.policy.load();
    policy
        .open
        .as_ref()
        .is_some_and(|open| DnsQuery::parse(bytes).is_ok_and(|query| open.resolves(query.name())))
}

fn refuse(shared: &Shared, asker: Option<&Identity>, name: &str) {
    let why = match shared.policy.load().open {
        Some(_) => "network.allowOut doesn't have this name, and all else is denied",
        None => "no entry of the policy has this name for this program",
    };
    match asker {
        Some(asker) => super::accept::refuse(shared, asker, (name, PORT), "dns", why),
        None => shared.ledger.denied("", name, PORT, "unidentified"),
    }
}

/// Who sent a datagram: whoever holds its socket. None if that can't be said, or if it is several
/// different programs.
async fn identify(shared: &Arc<Shared>, query: Query, asked: SocketAddr) -> Option<Arc<Identity>> {
    let shared = Arc::clone(shared);
    let work = move || {
        let begun = shared.phases.begin();
        let inode = {
            let diag = shared.diag.lock().unwrap_or_else(PoisonError::into_inner);
            diag.udp(query.from, asked).ok()??.inode
        };
        let processes = Processes::own().ok()?;
        let pids = processes.below(shared.init, MOST_PROCESSES).ok()?;
        // Init holds none, and may not be looked into by an ordinary user.
        let pids: Vec<i32> = pids.into_iter().filter(|pid| *pid != shared.init).collect();
        let holders = processes.holding(&pids, inode, MOST_DESCRIPTORS).ok()?;
        shared.phases.end(Phase::SocketToPid, begun);
        let begun = shared.phases.begin();
        let owners = holders
            .into_iter()
            .map(|pid| shared.identifier.identify(Subject::Task(pid)));
        let owners: std::result::Result<Vec<_>, _> = owners.collect();
        shared.phases.end(Phase::PeerIdentity, begun);
        Identity::of_owners(owners.ok()?).ok()
    };
    tokio::task::spawn_blocking(work).await.ok()?
}
