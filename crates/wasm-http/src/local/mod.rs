//! The socket in the folder of the canisters: commands of the same user, who needs no key.
//!
//! While a server has the folder, a command can't take it; it asks the server by [`Remote`] instead,
//! over the same routes. Who connects has to be the same user, which the kernel says (SO_PEERCRED of
//! unix(7)); besides, the socket is nobody else's to open. It is reached by way of its folder's
//! descriptor, so that the length of the folder's path doesn't matter.

mod remote;

pub use remote::Remote;

use crate::callers::{Caller, Callers};
use crate::fault::Fault;
use crate::rest::no_route;
use crate::server::Server;
use axum::response::{IntoResponse as _, Response};
use casemate_core::error::{Error, Result};
use http::HeaderMap;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;
use std::fs::Permissions;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The socket's name in the folder.
const NAME: &str = "socket";
/// Connections at a time; more wait.
const MOST: usize = 256;
/// From a request's first byte to the end of its head.
const HEAD: Duration = Duration::from_secs(10);
/// What requests may take to end when the server stops.
const DRAIN: Duration = Duration::from_secs(10);

/// The socket, listened at. Its file goes with it.
pub struct Listener {
    listener: UnixListener,
    folder: Folder,
}

/// An open folder, and how a socket in it is called however long its path is.
struct Folder(OwnedFd);

impl Folder {
    fn open(path: &Path) -> rustix::io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(CWD, path, flags, Mode::empty()).map(Self)
    }

    fn socket(&self) -> PathBuf {
        format!("/proc/self/fd/{}/{NAME}", self.0.as_raw_fd()).into()
    }

    fn remove(&self) -> rustix::io::Result<()> {
        match unlinkat(&self.0, NAME, AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            done => done,
        }
    }
}

impl Listener {
    /// Listens in this folder, which the caller has to own by its lock: what is left there of an
    /// earlier server is removed.
    ///
    /// # Errors
    /// The socket can't be made.
    pub fn open(path: &Path) -> Result<Self> {
        let fail = |error: std::io::Error| {
            Error::io("listen for commands", &error).on(path.join(NAME).display())
        };
        let folder = Folder::open(path).map_err(|errno| fail(errno.into()))?;
        folder.remove().map_err(|errno| fail(errno.into()))?;
        // The folder is its owner's alone (0700), so nobody comes before its mode is set.
        let listener = UnixListener::bind(folder.socket()).map_err(fail)?;
        std::fs::set_permissions(folder.socket(), Permissions::from_mode(0o600)).map_err(fail)?;
        Ok(Self { listener, folder })
    }

    /// Serves commands until `stop`, and then what was begun for a while.
    pub async fn serve(self, server: &Server, stop: CancellationToken) {
        let router = server
            .router(Arc::new(Themselves))
            .fallback(no_route)
            .layer(axum::middleware::map_response(told_all));
        let (tasks, places) = (TaskTracker::new(), Arc::new(Semaphore::new(MOST)));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                break;
            };
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stop.cancelled() => break,
            };
            let stream = match accepted {
                Ok((stream, _)) if is_ours(&stream) => stream,
                Ok(_) => continue,
                Err(error) => {
                    tracing::warn!(%error, "a command couldn't be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let service = TowerToHyperService::new(router.clone());
            let stop = stop.clone();
            tasks.spawn(async move {
                let mut connection = std::pin::pin!(
                    http1::Builder::new()
                        .timer(TokioTimer::new())
                        .header_read_timeout(HEAD)
                        .serve_connection(TokioIo::new(stream), service)
                );
                // Who breaks off is told nothing, and nobody else has to know.
                let ended = tokio::select! {
                    ended = connection.as_mut() => Some(ended),
                    () = stop.cancelled() => None,
                };
                if ended.is_none() {
                    connection.as_mut().graceful_shutdown();
                    let _ = connection.await;
                }
                drop(place);
            });
        }
        // First nobody finds it any more; the folder's lock is free only later.
        if let Err(error) = self.folder.remove() {
            tracing::warn!(%error, "the socket for commands couldn't be removed");
        }
        tasks.close();
        let _ = tokio::time::timeout(DRAIN, tasks.wait()).await;
    }
}

/// The log is this user's, too.
async fn told_all(mut response: Response) -> Response {
    match response.extensions_mut().remove::<Fault>() {
        Some(fault) => (response.status(), axum::Json(fault.json())).into_response(),
        None => response,
    }
}

/// True if it is this user who connected.
fn is_ours(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    let peer = stream.peer_cred().map(|peer| peer.uid());
    let is_ours = peer.as_ref().is_ok_and(|peer| *peer == own);
    if !is_ours {
        tracing::warn!(?peer, "another user connected to the socket for commands");
    }
    is_ours
}

/// The folder's own user.
struct Themselves;

impl Callers for Themselves {
    fn recognise(&self, _: &HeaderMap) -> std::result::Result<Caller, Fault> {
        Ok(Caller::user())
    }

    fn note(&self, _: &Caller, action: &'static str, target: &str, outcome: Option<&Fault>) {
        match outcome {
            None => tracing::info!(target_id = target, "{action}"),
            Some(why) => tracing::warn!(target_id = target, %why, "{action} failed"),
        }
    }
}
