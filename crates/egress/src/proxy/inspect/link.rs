//! One side of HTTP/1.1, and a server's side between two programs' connections.

use super::account::Line;
use super::session::Session;
use super::stream::{Incoming, Outgoing, Stream, split};
use super::upstream::Upstream;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Bytes that are thrown away so that a client reads its answer before the connection ends.
const MOST_THROWN_AWAY: usize = 256 << 10;
/// For that.
const LINGERING: Duration = Duration::from_secs(2);

/// A program's side, or a server's.
pub(super) struct Link {
    pub(super) incoming: Incoming,
    pub(super) outgoing: Outgoing,
    /// That to a server.
    line: Option<Arc<Line>>,
    /// What was said made the server take all that follows for the same user's.
    bound: bool,
}

impl Link {
    pub(super) fn new(stream: Stream, patience: Duration) -> Self {
        let (incoming, outgoing) = split(stream, patience);
        Self {
            incoming,
            outgoing,
            line: None,
            bound: false,
        }
    }

    pub(super) fn to_server(upstream: Upstream, patience: Duration) -> Self {
        Self {
            line: Some(upstream.line),
            ..Self::new(upstream.stream, patience)
        }
    }

    /// The connection, if it can be used again.
    pub(super) fn quiet(mut self) -> Option<Self> {
        let incoming = &mut self.incoming;
        let quiet = match &self.line {
            Some(line) => line.asking(|| incoming.is_quiet()),
            None => incoming.is_quiet(),
        };
        quiet.then_some(self)
    }

    /// From now on it's one user's, if what is said makes it that.
    pub(super) fn bind(&mut self, binds: bool) {
        self.bound |= binds;
    }

    /// Bytes that the server's end has taken.
    pub(super) fn written(&self) -> u64 {
        self.line.as_ref().map_or(0, |line| line.written())
    }

    /// Keeps a connection to a server for others, if it can be used again.
    pub(super) fn park(self, session: &Session) {
        let Some(link) = self.quiet().filter(|link| !link.bound) else {
            return;
        };
        let line = link.line.as_ref();
        let peer = line.and_then(|line| Some(line.peer()?.ip()));
        if let (Some(line), Some(peer), Some(purpose)) = (line, peer, session.purpose()) {
            line.discharge();
            let (shared, spare) = (&session.shared, session.patience().spare);
            let pool = &shared.inspection.upstreams.idle.0;
            let is_in_force = |policy: &_| Arc::ptr_eq(policy, &shared.policy.load());
            pool.park((purpose, peer), link, spare, is_in_force);
        }
    }

    /// A connection to the server that others have left, not longer ago than `within`.
    pub(super) fn unparked(session: &Session, within: Duration) -> Option<Self> {
        let (purpose, pool) = (
            session.purpose()?,
            &session.shared.inspection.upstreams.idle.0,
        );
        loop {
            let link = pool.take(&purpose, &session.way, within)?;
            if let Some(link) = link.quiet() {
                let line = link.line.as_ref()?;
                line.charge(&session.account);
                return Some(link);
            }
        }
    }

    /// Says that nothing follows, and reads on for a little: bytes that nobody has read would make
    /// the kernel take back what was written (RFC 9112 §9.6).
    pub(super) async fn close(mut self) {
        self.outgoing.end().await;
        let until = Instant::now() + LINGERING;
        let mut thrown = 0;
        while thrown < MOST_THROWN_AWAY {
            self.incoming.buffer.clear();
            match timeout_at(until, self.incoming.fill(LINGERING)).await {
                Ok(Ok(count)) if count > 0 => thrown += count,
                _ => return,
            }
        }
    }
}
