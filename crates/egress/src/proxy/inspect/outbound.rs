//! A connection of HTTP/2 to a server. It's one program's connection's at a time, so that its
//! bytes are known to be that one's; the next one gets it only if every message on it ended.

use super::account::Line;
use super::http2::Body;
use super::session::Session;
use super::tasks::{Ends, Tasks};
use super::upstream::Upstream;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::rt::Executor as _;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a decoded head: more than of a client's, since cookies are set in many fields.
const MOST_HEAD: u32 = 64 << 10;
/// Bytes of a stream and of a connection that may be on the way.
pub(super) const WINDOWS: (u32, u32) = (256 << 10, 1 << 20);

/// See the module.
pub(super) struct Outbound {
    sender: SendRequest<Body>,
    line: Arc<Line>,
    _tasks: Ends,
}

impl Outbound {
    pub(super) async fn new(upstream: Upstream) -> hyper::Result<Self> {
        let tasks = Ends(Tasks::default());
        let mut client = Builder::new(tasks.0.clone());
        client
            .timer(TokioTimer::new())
            .max_header_list_size(MOST_HEAD)
            .initial_stream_window_size(WINDOWS.0)
            .initial_connection_window_size(WINDOWS.1);
        let (sender, connection) = client.handshake(TokioIo::new(upstream.stream)).await?;
        tasks.0.execute(async move {
            // The requests on it fail by themselves.
            let _ = connection.await;
        });
        Ok(Self {
            sender,
            line: upstream.line,
            _tasks: tasks,
        })
    }

    /// For requests, unless the connection has ended.
    pub(super) fn sender(&self) -> Option<SendRequest<Body>> {
        (!self.sender.is_closed()).then(|| self.sender.clone())
    }

    /// Keeps it for others.
    pub(super) fn park(self, session: &Session) {
        let peer = self.line.peer();
        let (Some(peer), Some(purpose)) = (peer, session.purpose()) else {
            return;
        };
        if self.sender.is_closed() {
            return;
        }
        self.line.discharge();
        let (shared, spare) = (&session.shared, session.patience().spare);
        let pool = &shared.inspection.upstreams.idle.1;
        let is_in_force = |policy: &_| Arc::ptr_eq(policy, &shared.policy.load());
        pool.park((purpose, peer.ip()), self, spare, is_in_force);
    }

    /// One that others have left.
    pub(super) fn unparked(session: &Session) -> Option<Self> {
        let pool = &session.shared.inspection.upstreams.idle.1;
        let purpose = session.purpose()?;
        loop {
            let own = pool.take(&purpose, &session.way, Duration::MAX)?;
            if !own.sender.is_closed() {
                own.line.charge(&session.account);
                return Some(own);
            }
        }
    }
}
