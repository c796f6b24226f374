//! Clients that no wall of ours is around: in containers and virtual machines that exist already.
//!
//! They know the proxy and ask it explicitly. Who they are is what they can prove: at a Unix
//! socket the kernel names the process that connected; at a port only the address tells, which
//! whoever starts the proxy has given a name.

use super::explicit;
use super::shared::Shared;
use super::spans;
use casemate_identity::{Digest, Executable, Identity, Subject};
use casemate_sys::socket::peer;
use rustix::fd::{AsFd, OwnedFd};
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// Connections at one time; more wait to be accepted.
const MOST: usize = 4096;
/// Before accepting again when there are no descriptors.
const BREATH: Duration = Duration::from_millis(20);

/// Where explicit clients connect to.
pub enum Entrance {
    /// A socket in the file system: clients are identified by the process that connects.
    Unix(UnixListener),
    /// A port: clients are the addresses that have a name here; all others are refused.
    Tcp(TcpListener, HashMap<IpAddr, String>),
}

/// Serves one, on the current runtime.
pub(super) fn serve(shared: &Arc<Shared>, entrance: Entrance) -> io::Result<()> {
    let (shared, room) = (Arc::clone(shared), Arc::new(Semaphore::new(MOST)));
    // Owned by the runtime, which ends with the proxy.
    match entrance {
        Entrance::Unix(listener) => {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::UnixListener::from_std(listener)?;
            tokio::spawn(async move {
                loop {
                    let Ok(room) = Arc::clone(&room).acquire_owned().await else {
                        return;
                    };
                    let Ok((stream, _)) = listener.accept().await else {
                        tokio::time::sleep(BREATH).await;
                        continue;
                    };
                    let shared = Arc::clone(&shared);
                    let there = Arc::clone(&shared);
                    spans::spawn(&there.phases, async move {
                        if let Ok(stream) = stream.into_std() {
                            at_socket(&shared, stream.into()).await;
                        }
                        drop(room);
                    });
                }
            });
        }
        Entrance::Tcp(listener, clients) => {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let clients: HashMap<_, _> = clients
                .into_iter()
                .map(|(address, name)| (address.to_canonical(), Arc::new(named(&name))))
                .collect();
            tokio::spawn(async move {
                loop {
                    let Ok(room) = Arc::clone(&room).acquire_owned().await else {
                        return;
                    };
                    let Ok((stream, from)) = listener.accept().await else {
                        tokio::time::sleep(BREATH).await;
                        continue;
                    };
                    let Some(identity) = clients.get(&from.ip().to_canonical()).cloned() else {
                        stranger(
                            &shared,
                            &from.ip().to_string(),
                            "no --client has this address",
                        );
                        continue;
                    };
                    let shared = Arc::clone(&shared);
                    let there = Arc::clone(&shared);
                    spans::spawn(&there.phases, async move {
                        let _ = stream.set_nodelay(true);
                        let _open = shared.count();
                        explicit::serve(&shared, stream, identity).await;
                        drop(room);
                    });
                }
            });
        }
    }
    Ok(())
}

async fn at_socket(shared: &Arc<Shared>, stream: OwnedFd) {
    let _open = shared.count();
    let asking = Arc::clone(shared);
    let begun = shared.phases.begin();
    let work = move || {
        let pidfd = peer::pidfd(stream.as_fd());
        let pidfd = pidfd.map_err(|errno| format!("the kernel doesn't say who it is: {errno}"));
        asking.phases.end(super::Phase::SocketToPid, begun);
        let identified = pidfd.and_then(|pidfd| {
            let subject = Subject::Pidfd(pidfd.as_fd());
            let begun = asking.phases.begin();
            let found = asking.identifier.identify(subject);
            asking.phases.end(super::Phase::PeerIdentity, begun);
            found.map_err(|refusal| refusal.to_string())
        });
        (stream, identified)
    };
    // It may hash the client's executable.
    let work = tokio::task::spawn_blocking(|| spans::collected(work));
    let Ok(((stream, identified), done)) = work.await else {
        return;
    };
    spans::earlier(&done);
    match identified {
        Ok(identity) => {
            // From here on, only what all stream sockets can is asked of it.
            if let Ok(stream) = TcpStream::from_std(stream.into()) {
                explicit::serve(shared, stream, identity).await;
            }
        }
        Err(why) => stranger(shared, "unix socket", &why),
    }
}

/// Somebody who can't be told from others is refused without a word.
fn stranger(shared: &Shared, from: &str, why: &str) {
    shared.ledger.denied("", from, 0, "unidentified");
    shared.journal.stranger(from, why);
}

/// A client of whom only the name is known. What it has in place of an executable can't be the
/// path of a file, since that has no NUL in it; a policy meets it by `/**` or `/client/NAME/*`.
fn named(name: &str) -> Identity {
    let path = format!("/client/{name}/\0").into_bytes();
    Identity {
        pid: 0,
        executable: Executable {
            path: path.into(),
            digest: Digest([0; 32]),
            deleted: false,
        },
        ancestors: Box::default(),
        script: None,
        argv: Default::default(),
    }
}
