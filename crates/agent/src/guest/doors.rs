//! Where the host's connections lead to in the machine.

use super::children::Children;
use super::{control, port};
use crate::{Error, Result};
use casemate_mux::{Code, Door, Guest, Stream};
use rustix::fd::OwnedFd;
use std::convert::Infallible;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Only root may enter it, so that nobody else reaches what is in it.
const FOLDER: &str = "/run/casemate";
const AGENT: &str = "/run/casemate/agent";

/// A program that takes no connection for so long is not there.
const CONNECT: Duration = Duration::from_secs(20);
/// The driver learns the port's name from the host, some time after it has found the port.
const TRIES: u32 = 6000;
const PAUSE: Duration = Duration::from_millis(10);

/// The listening socket that every agent inherits, so that connections wait while there is none.
pub(super) fn agent_socket() -> Result<OwnedFd> {
    let failed = |error: io::Error| Error::io("make the agent's socket", &error).on(AGENT);
    DirBuilder::new()
        .mode(0o700)
        .create(FOLDER)
        .map_err(failed)?;
    let socket = OwnedFd::from(UnixListener::bind(AGENT).map_err(failed)?);
    fs::set_permissions(AGENT, Permissions::from_mode(0o600)).map_err(failed)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::empty())
        .map_err(|errno| failed(errno.into()))?;
    Ok(socket)
}

/// Serves the host for as long as there is a port to it.
pub(super) async fn serve(children: Arc<Children>) -> Result<Infallible> {
    let port = port::Port::open(&found().await?)?;
    let mut connections = JoinSet::new();
    let ended = Guest::serve(port, |door, stream| {
        while connections.try_join_next().is_some() {}
        connections.spawn(attend(door, stream, Arc::clone(&children)));
    });
    let ended = ended.await;
    Err(Error::rule("serve the host", ended.to_string()))
}

async fn found() -> Result<PathBuf> {
    for _ in 1..TRIES {
        if let Ok(port) = port::find() {
            return Ok(port);
        }
        sleep(PAUSE).await;
    }
    port::find()
}

async fn attend(door: Door, mut stream: Stream, children: Arc<Children>) {
    match door {
        Door::Agent => relay(stream, UnixStream::connect(AGENT).await).await,
        Door::Port(port) => relay(stream, loopback(port).await).await,
        Door::Control => {
            stream.accept();
            if control::converse(&mut stream, &children).await.is_err() {
                stream.reset(Code::Failed);
            }
        }
    }
}

async fn relay(mut stream: Stream, target: io::Result<impl AsyncRead + AsyncWrite + Unpin>) {
    let Ok(mut target) = target else {
        stream.reset(Code::Closed);
        return;
    };
    stream.accept();
    if copy_bidirectional(&mut stream, &mut target).await.is_err() {
        stream.reset(Code::Failed);
    }
}

/// A server may listen on either of the loopback addresses.
async fn loopback(port: u16) -> io::Result<TcpStream> {
    let old = connect(Ipv4Addr::LOCALHOST.into(), port).await;
    let found = match old {
        Err(_) => connect(Ipv6Addr::LOCALHOST.into(), port).await?,
        Ok(found) => found,
    };
    // A keystroke is one small packet, and waits for nothing.
    found.set_nodelay(true)?;
    Ok(found)
}

async fn connect(address: IpAddr, port: u16) -> io::Result<TcpStream> {
    timeout(CONNECT, TcpStream::connect((address, port))).await?
}

#[cfg(test)]
mod tests {
    use super::*;
    use casemate_mux::{Host, Session};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    async fn session() -> (Session, JoinSet<()>) {
        let (host, guest) = tokio::io::duplex(64 << 10);
        let settings = super::super::Settings {
            program: "/none".into(),
            arguments: Vec::new(),
            agent: Vec::new(),
        };
        let null = fs::File::open("/dev/null").unwrap();
        let children = Arc::new(Children::new(settings, null.into()));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            let handler = |door, stream| {
                connections.spawn(attend(door, stream, Arc::clone(&children)));
            };
            Guest::serve(guest, handler).await;
        });
        let session = Host::connect(host, Duration::from_secs(60)).await.unwrap();
        (session, tasks)
    }

    #[tokio::test]
    async fn a_port_is_one_of_either_loopback_address() {
        let (session, _tasks) = session().await;
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address).await else {
                eprintln!("skipped: nobody can listen on {address}");
                continue;
            };
            let port = listener.local_addr().unwrap().port();
            let mut stream = session.open(Door::Port(port)).unwrap();
            let (mut inside, _) = listener.accept().await.unwrap();
            stream.opened().await.unwrap();
            stream.write_all(b"ask").await.unwrap();
            stream.shutdown().await.unwrap();
            let mut heard = String::new();
            inside.read_to_string(&mut heard).await.unwrap();
            assert_eq!(heard, "ask");
            inside.write_all(b"answer").await.unwrap();
            drop(inside);
            heard.clear();
            stream.read_to_string(&mut heard).await.unwrap();
            assert_eq!(heard, "answer");
        }
    }

    #[tokio::test]
    async fn a_port_that_nobody_listens_on_is_closed() {
        let (session, _tasks) = session().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let refused = session.open(Door::Port(port)).unwrap().opened().await;
        assert_eq!(Code::of(&refused.unwrap_err()), Some(Code::Closed));
    }

    #[tokio::test]
    async fn control_answers_and_goes_on() {
        let (session, _tasks) = session().await;
        let mut stream = session.open(Door::Control).unwrap();
        stream.opened().await.unwrap();
        for _ in 0..2 {
            stream.write_all(b"{\"do\":\"sync\"}\n").await.unwrap();
            stream.flush().await.unwrap();
            let mut answer = [0; 7];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"\"done\"\n");
        }
    }
}
