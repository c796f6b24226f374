//! What is asked of a keeper: one channel, one question at a time.

use crate::folder::CONTROL;
use crate::keeper::wire::{self, Answer, Ask};
use casemate_core::error::{Error, Result};
use casemate_core::node::Refusal;
use casemate_sys::channel::Channel;
use rustix::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

/// How long an answer may take. Keepers give up a little sooner, and say so.
const ANSWER: Duration = Duration::from_secs(15);

/// The way to a keeper.
pub(super) struct Line {
    /// The folder that its socket is in, whatever that is called by now.
    pub(super) place: OwnedFd,
    /// The channel, unless its last question was not answered.
    channel: Mutex<Option<Channel>>,
}

impl Line {
    pub(super) fn new(place: OwnedFd) -> Self {
        Self {
            place,
            channel: Mutex::default(),
        }
    }

    /// Asks, on a thread that may wait.
    pub(super) async fn ask(self: &Arc<Self>, ask: Ask) -> Result<(Answer, Vec<OwnedFd>), Refusal> {
        let own = Arc::clone(self);
        let asked = tokio::task::spawn_blocking(move || {
            let mut kept = own.channel.lock().unwrap_or_else(PoisonError::into_inner);
            // One whose answer didn't come is never used again: the answer may still come.
            let channel = match kept.take() {
                Some(channel) => channel,
                None => own.reach()?,
            };
            let answer = wire::ask(&channel, &ask)?;
            *kept = Some(channel);
            Ok::<_, Error>(answer)
        });
        let answered = asked
            .await
            .map_err(|error| Error::rule("ask a keeper", error.to_string()))?;
        match answered? {
            (Answer::Failed(why), _) => Err(Error::rule("change a sandbox", why).into()),
            answer => Ok(answer),
        }
    }

    fn reach(&self) -> Result<Channel> {
        let fail = |errno: rustix::io::Errno| {
            Error::errno("reach a sandbox's keeper", errno.raw_os_error())
        };
        let channel = Channel::connect(self.place.as_fd(), CONTROL).map_err(fail)?;
        channel.set_patience(ANSWER).map_err(fail)?;
        Ok(channel)
    }

    /// Waits until the keeper has ended, or is about to; at once if it can't be reached.
    pub(super) async fn until_closed(&self) {
        if let Some(mut line) = self.silent() {
            // Nothing ever comes but the end.
            let _ = line.read(&mut [0]).await;
        }
    }

    /// A channel on which nothing is said, so that its end is all that is heard.
    fn silent(&self) -> Option<UnixStream> {
        let channel = Channel::connect(self.place.as_fd(), CONTROL).ok()?;
        let stream = std::os::unix::net::UnixStream::from(OwnedFd::from(channel));
        stream.set_nonblocking(true).ok()?;
        UnixStream::from_std(stream).ok()
    }
}
