//! The host's end: it begins sessions and opens streams.

use crate::ended::{Ended, Fault, Unopened};
use crate::frame::{Decoded, Nonce, VERSION, decode};
use crate::link::{Inbox, say, write};
use crate::resync::{Awaiting, hello};
use crate::shared::{Shared, Side};
use crate::{Door, Stream};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf, split};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// See [`Host::connect`].
#[derive(Debug)]
pub struct Host;

impl Host {
    /// Begins a session on a channel to a guest, in whatever state either has left it.
    ///
    /// The guest may still be on its way to listening: what is said waits in the channel. Where the
    /// channel forgets, try again.
    ///
    /// # Errors
    /// The channel failed, or no guest answered in time, or one of another version.
    pub async fn connect<T>(channel: T, patience: Duration) -> Result<Session, Ended>
    where
        T: AsyncRead + AsyncWrite + Send + 'static,
    {
        let mut nonce = Nonce::default();
        getrandom::fill(&mut nonce).map_err(|_| Ended::Gone(io::ErrorKind::Unsupported))?;
        let (mut from, mut to) = split(Box::pin(channel));
        let mut inbox = Inbox::new();
        let mut begin = Vec::new();
        hello(nonce, &mut begin);
        // The guest may have to say something before it can listen.
        let meet = async {
            tokio::try_join!(
                say(&mut to, &begin),
                welcomed(&mut inbox, &mut from, Awaiting::new(nonce)),
            )
        };
        let met = tokio::time::timeout(patience, meet).await;
        let ((), version) = met.map_err(|_| Ended::Late)??;
        if version != VERSION {
            return Err(Ended::Version(version));
        }
        let wake = Arc::new(Notify::new());
        let shared = Shared::new(Side::Host, Arc::clone(&wake));
        let task = tokio::spawn(run(Over(Arc::clone(&shared)), wake, inbox, from, to));
        Ok(Session(Arc::new(Inner { shared, task })))
    }
}

async fn welcomed(
    inbox: &mut Inbox,
    from: &mut (impl AsyncRead + Unpin),
    awaiting: Awaiting,
) -> Result<u8, Ended> {
    loop {
        let (done, version) = awaiting.look(inbox.held());
        inbox.done(done);
        if let Some(version) = version {
            return Ok(version);
        }
        inbox.more(from).await?;
    }
}

/// Ends the session with its task, however that ends.
struct Over(Arc<Shared>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.end(Ended::Left, false);
    }
}

async fn run<T: AsyncRead + AsyncWrite + Unpin>(
    over: Over,
    wake: Arc<Notify>,
    mut inbox: Inbox,
    mut from: ReadHalf<T>,
    to: WriteHalf<T>,
) {
    let shared = &over.0;
    let ended = tokio::select! {
        ended = write(to, &wake, |batch| shared.fill(batch)) => ended,
        ended = read(shared, &mut inbox, &mut from) => ended,
    };
    shared.end(ended, false);
}

async fn read(shared: &Shared, inbox: &mut Inbox, from: &mut (impl AsyncRead + Unpin)) -> Ended {
    loop {
        let done = match decode(inbox.held()) {
            Decoded::Frame(crate::frame::Frame::Reset { stream: 0, code }, _) => {
                return Ended::Refused(code);
            }
            Decoded::Frame(frame, length) => match shared.receive(frame) {
                Ok(_) => length,
                Err(fault) => return Ended::Broken(fault),
            },
            Decoded::Not => return Ended::Broken(Fault::Malformed),
            Decoded::Partial => match inbox.more(from).await {
                Ok(()) => 0,
                Err(ended) => return ended,
            },
        };
        inbox.done(done);
    }
}

/// A session with a guest. Clones are the same session, which ends with the last of them.
#[derive(Debug, Clone)]
pub struct Session(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Session {
    /// Opens a stream. Whether somebody is behind the door is known from [`Stream::opened`], or from
    /// what is read.
    ///
    /// # Errors
    /// There are too many, or the session is over.
    pub fn open(&self, door: Door) -> Result<Stream, Unopened> {
        let id = self.0.shared.open(door)?;
        Ok(Stream::new(Arc::clone(&self.0.shared), id, door))
    }

    /// Asks the guest for a sign of life; how long that took. Give it a deadline: a guest that is
    /// stopped never answers.
    ///
    /// # Errors
    /// The session is over, or too many wait for an answer already.
    pub async fn ping(&self) -> Result<Duration, Ended> {
        let mut token = [0; 8];
        getrandom::fill(&mut token).map_err(|_| Ended::Gone(io::ErrorKind::Unsupported))?;
        let started = Instant::now();
        let over = || self.0.shared.ended().unwrap_or(Ended::Late);
        let answer = self.0.shared.ping(token).ok_or_else(over)?;
        answer.await.map_err(|_| over())?;
        Ok(started.elapsed())
    }

    /// Waits until the session is over; why.
    pub async fn closed(&self) -> Ended {
        let mut over = self.0.shared.over();
        match over.wait_for(Option::is_some).await {
            Ok(ended) => ended.unwrap_or(Ended::Left),
            Err(_) => Ended::Left,
        }
    }

    /// Why it is over, if it is.
    pub fn ended(&self) -> Option<Ended> {
        self.0.shared.ended()
    }

    /// What waits here to be read or sent, bytes.
    pub fn kept(&self) -> usize {
        self.0.shared.kept()
    }
}
