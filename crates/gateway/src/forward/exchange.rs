//! A request sent, and the head of its response received.

use super::headers::Outgoing;
use super::upload::Upload;
use crate::answer::{Answer, Body, empty};
use crate::class::Class;
use crate::dial::dial;
use crate::gateway::Shared;
use crate::inside::Inside;
use crate::link::{Link, Way};
use crate::paced::Paced;
use casemate_core::node::{Door, Refusal};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::ext::on_informational;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

/// See the module.
pub(super) struct Exchange<'a> {
    shared: &'a Shared,
    inside: &'a Inside,
    class: Class,
    way: Way,
    /// The sandbox may be woken if it was paused since it was found awake.
    resumes: bool,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(
        shared: &'a Shared,
        inside: &'a Inside,
        class: Class,
        way: Way,
        resumes: bool,
    ) -> Self {
        Self {
            shared,
            inside,
            class,
            way,
            resumes,
        }
    }

    /// Sends it, unless the sandbox ends before it's answered.
    pub(super) async fn send(
        &self,
        outgoing: Outgoing,
        upload: Upload,
    ) -> Result<(Response<Incoming>, Link), Answer> {
        tokio::select! {
            biased;
            () = self.inside.gone() => Err(Answer::Gone(self.inside.id.clone())),
            sent = self.sent(outgoing, upload) => sent,
        }
    }

    async fn sent(
        &self,
        outgoing: Outgoing,
        mut upload: Upload,
    ) -> Result<(Response<Incoming>, Link), Answer> {
        let mut link = match self.spare(&outgoing) {
            Some(link) => link,
            None => self.dialled().await?,
        };
        // Only what was used before may just be closing.
        let again = (link.used && outgoing.repeatable).then(|| outgoing.clone());
        let leave = outgoing.expects.then(|| upload.hold());
        let broken = upload.broken();
        let mut request = outgoing.request(upload.boxed_unsync());
        if let Some(leave) = leave.clone() {
            on_informational(&mut request, move |response| {
                if response.status() == StatusCode::CONTINUE {
                    leave.notify_one();
                }
            });
        }
        loop {
            let mut failed = match self.tried(&mut link, request, leave.as_deref()).await {
                Ok(response) => return Ok((response, link)),
                Err(failed) => failed,
            };
            request = match (failed.take_message(), &again) {
                (Some(unsent), _) if link.used => unsent,
                (None, Some(again)) if link.used => again.clone().request(empty()),
                _ if broken.load(Ordering::Relaxed) => {
                    return Err(Answer::Bad("the request's body broke off"));
                }
                _ => return Err(self.broken().await),
            };
            link = self.dialled().await?;
        }
    }

    /// Sends it over this connection. A client that waits for leave gets it from the program, or
    /// when the program has said nothing for a while: not all know the expectation.
    async fn tried(
        &self,
        link: &mut Link,
        request: Request<Body>,
        leave: Option<&Notify>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Body>>> {
        let sending = link.send(request);
        let Some(leave) = leave else {
            return sending.await;
        };
        tokio::pin!(sending);
        tokio::select! {
            sent = &mut sending => return sent,
            () = sleep(self.shared.settings.patience.expect) => leave.notify_one(),
        }
        sending.await
    }

    /// A connection from the pool. The agent keeps its own for longer than the pool does; a port's
    /// server may close one at any moment, which only a repeatable request survives.
    fn spare(&self, outgoing: &Outgoing) -> Option<Link> {
        let may = self.way.door == Door::Agent || outgoing.repeatable;
        let place = self.inside.place(self.class).filter(|_| may)?;
        let mut link = self.shared.pools.take(self.class, &self.way)?;
        link.place = Some(place);
        self.shared.settings.metrics.reused(self.class);
        Some(link)
    }

    async fn dialled(&self) -> Result<Link, Answer> {
        let (id, patience) = (&self.inside.id, &self.shared.settings.patience);
        let place = self.inside.place(self.class);
        let place = place.ok_or_else(|| Answer::busy(id))?;
        let began = Instant::now();
        let dialled = || dial(&*self.shared.node, id, self.way.door, patience);
        let refused = |refusal| Answer::refused(id, &refusal);
        let socket = match dialled().await {
            Err(Refusal::State(_)) if self.resumes => {
                self.shared.sandboxes.wake(id).await.map_err(refused)?;
                dialled().await
            }
            socket => socket,
        };
        let socket = socket.map_err(refused)?;
        let metrics = &self.shared.settings.metrics;
        metrics.dialled(self.class, began.elapsed());
        let open = metrics.open(self.class);
        let socket = Paced::new(socket, self.inside.flows(self.class));
        let link = Link::new(socket, self.way.clone(), self.class, place, open).await;
        link.map_err(|_| Answer::broken(id, "The sandbox closed the connection"))
    }

    /// Why there's no response: the agent's death is often the whole sandbox's.
    async fn broken(&self) -> Answer {
        let (id, grief) = (&self.inside.id, self.shared.settings.patience.grief);
        let gone = match self.way.door {
            Door::Agent => timeout(grief, self.inside.gone()).await.is_ok(),
            Door::Port(_) => self.inside.is_gone(),
        };
        match gone {
            true => Answer::Gone(id.clone()),
            false => Answer::broken(id, "The program in the sandbox gave no valid answer"),
        }
    }
}
