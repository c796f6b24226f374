//! The guest's end: it answers whatever host comes, one after another on the same channel.

use crate::ended::{Code, Ended, Fault};
use crate::frame::{Decoded, Frame, Nonce, VERSION, decode, encode};
use crate::link::{Inbox, write};
use crate::resync::{Begin, Listening, welcome};
use crate::shared::{Shared, Side};
use crate::{Door, Stream};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncRead, AsyncWrite, split};
use tokio::sync::Notify;

/// See [`Guest::serve`].
#[derive(Debug)]
pub struct Guest;

impl Guest {
    /// Serves a channel until it ends or fails, and says how it did. The handler gets each stream as
    /// it is opened, and mustn't wait: what takes time is a task of its own.
    ///
    /// A channel whose host has left and may come again must wait then, not end.
    pub async fn serve<T>(channel: T, handler: impl FnMut(Door, Stream)) -> Ended
    where
        T: AsyncRead + AsyncWrite,
    {
        let (mut from, to) = split(Box::pin(channel));
        let wake = Arc::new(Notify::new());
        let turn = Over(Turn {
            wake: Arc::clone(&wake),
            now: Mutex::default(),
        });
        let ended = tokio::select! {
            ended = write(to, &wake, |batch| turn.0.fill(batch)) => ended,
            ended = read(&turn.0, &mut from, handler) => ended,
        };
        turn.0.end(ended);
        ended
    }
}

/// Whose turn it is to be served.
struct Turn {
    wake: Arc<Notify>,
    now: Mutex<Now>,
}

/// Ends the session with the future that serves it.
struct Over(Turn);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.end(Ended::Left);
    }
}

#[derive(Default)]
struct Now {
    session: Option<Arc<Shared>>,
    /// To be said before anything of the session.
    welcome: Option<Nonce>,
    /// The last session ended so.
    farewell: Option<Code>,
}

impl Turn {
    fn change(&self, why: Ended, now: Now) {
        let mut current = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *current, now);
        drop(current);
        if let Some(session) = old.session {
            // Whoever has its streams isn't made to read them first.
            session.end(why, true);
        }
        self.wake.notify_one();
    }

    fn end(&self, why: Ended) {
        self.change(why, Now::default());
    }

    fn begin(&self, begin: Begin) -> Option<Arc<Shared>> {
        let is_ours = begin.version == VERSION;
        let session = is_ours.then(|| Shared::new(Side::Guest, Arc::clone(&self.wake)));
        let now = Now {
            session: session.clone(),
            welcome: Some(begin.nonce),
            farewell: None,
        };
        self.change(Ended::Superseded, now);
        session
    }

    /// The host broke a rule, and is told so.
    fn refuse(&self, fault: Fault) {
        let now = Now {
            farewell: Some(Code::Violation),
            ..Now::default()
        };
        self.change(Ended::Broken(fault), now);
    }

    fn fill(&self, out: &mut Vec<u8>) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(nonce) = now.welcome.take() {
            welcome(nonce, out);
        }
        if let Some(code) = now.farewell.take() {
            encode(Frame::Reset { stream: 0, code }, out);
        }
        if let Some(session) = &now.session {
            session.fill(out);
        }
    }
}

/// Where the reader is.
enum Hearing {
    /// Between sessions.
    Nothing(Listening),
    A(Arc<Shared>),
}

impl Hearing {
    fn nothing() -> Self {
        Self::Nothing(Listening::default())
    }
}

async fn read(
    turn: &Turn,
    from: &mut (impl AsyncRead + Unpin),
    mut handler: impl FnMut(Door, Stream),
) -> Ended {
    let mut inbox = Inbox::new();
    let mut hearing = Hearing::nothing();
    loop {
        let session = match &mut hearing {
            Hearing::Nothing(listening) => {
                let (done, begin) = listening.look(inbox.held());
                inbox.done(done);
                match begin {
                    Some(begin) => {
                        let session = turn.begin(begin);
                        hearing = session.map_or_else(Hearing::nothing, Hearing::A);
                    }
                    None => match inbox.more(from).await {
                        Ok(()) => {}
                        Err(ended) => return ended,
                    },
                }
                continue;
            }
            Hearing::A(session) => session,
        };
        match decode(inbox.held()) {
            // A zero, or what zeros have made of a frame: another session begins. What there is of
            // them is looked at again.
            Decoded::Not => {
                turn.end(Ended::Superseded);
                hearing = Hearing::nothing();
            }
            Decoded::Partial => match inbox.more(from).await {
                Ok(()) => {}
                Err(ended) => return ended,
            },
            Decoded::Frame(Frame::Reset { stream: 0, code }, length) => {
                inbox.done(length);
                turn.end(Ended::Refused(code));
                hearing = Hearing::nothing();
            }
            Decoded::Frame(frame, length) => {
                match session.receive(frame) {
                    Ok(None) => {}
                    Ok(Some((id, door))) => {
                        handler(door, Stream::new(Arc::clone(session), id, door));
                    }
                    Err(fault) => {
                        turn.refuse(fault);
                        hearing = Hearing::nothing();
                    }
                }
                inbox.done(length);
            }
        }
    }
}
