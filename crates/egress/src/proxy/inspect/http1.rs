//! Requests of HTTP/1.1, one after the other: read, judged, written anew, answered.
//!
//! Nothing of a request goes out before it was judged. Whatever goes wrong in the middle of a
//! message closes both connections, since nobody knows where the next one begins; a request that is
//! only refused leaves the client's connection as it is, if its body has been read.

use super::answer::Answer;
use super::body::{self, Broke, Unread};
use super::judge::Asked;
use super::link::Link;
use super::session::Session;
use super::stream::{Incoming, NoHead, Outgoing, Stream};
use super::upstream::Upstream;
use super::websocket;
use crate::denial::ErrorCode;
use crate::http1::{
    Forward, Framing, Limits, Malformed, RequestHead, RequestTarget, ResponseHead, Version,
};
use crate::proxy::accept::fail;
use crate::proxy::dial::Failed;
use crate::proxy::spans;
use crate::websocket::handshake::Offer;
use std::io;
use zeroize::Zeroizing;

/// Bytes that most heads have room in.
const HEAD: usize = 4 << 10;
/// Heads before the one that answers: 103 and the like.
const MOST_INTERIM: usize = 16;

/// Whether the client's connection can be used for another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Again,
    Close,
    /// It has to look broken, since it's in the middle of an answer.
    Abort,
}

/// A request that may be sent.
struct Ready {
    asked: Asked,
    target: String,
    body: Body,
    offer: Option<Offer>,
}

enum Body {
    Read(Vec<u8>),
    /// It's relayed as it comes, in this framing.
    Coming(Framing),
}

/// A refusal, and whether the client's request was read to its end.
struct Refusal(Answer, bool);

/// Serves a connection whose place is known until it ends.
pub(super) async fn serve(session: &Session, stream: Stream, kept: Option<Upstream>) {
    let patience = session.patience();
    let mut client = Link::new(stream, patience.answer);
    let mut kept = kept.map(|upstream| Link::to_server(upstream, patience.answer));
    loop {
        let Some(head) = request(session, &mut client).await else {
            break;
        };
        match exchange(session, &mut client, &mut kept, head).await {
            Next::Again => {}
            Next::Close => break,
            Next::Abort => return,
        }
    }
    if let Some(server) = kept {
        server.park(session);
    }
    client.close().await;
}

/// The next head; one that can't be read is answered.
pub(super) async fn request(session: &Session, client: &mut Link) -> Option<RequestHead> {
    let (patience, limits) = (session.patience(), Limits::default());
    let head = client.incoming.head(patience.idle, patience.head, &limits);
    let parsed = match head.await {
        Ok(head) => RequestHead::parse(&head, &limits),
        Err(NoHead::Malformed(malformed)) => Err(malformed),
        Err(NoHead::Closed | NoHead::Broken(_)) => return None,
    };
    match parsed {
        Ok(head) => Some(head),
        Err(malformed) => {
            session.refused("l7", &malformed.to_string());
            let answer = Answer::malformed(&malformed).last_message();
            let _ = client.outgoing.write(&answer).await;
            None
        }
    }
}

/// One request and its answer.
pub(super) async fn exchange(
    session: &Session,
    client: &mut Link,
    kept: &mut Option<Link>,
    mut head: RequestHead,
) -> Next {
    let _serving = spans::serving();
    match prepare(session, client, &mut head).await {
        Ok(ready) => forward(session, client, kept, &head, ready).await,
        Err(Refusal(answer, was_read)) => {
            spans::status(answer.status());
            let again = was_read && head.keep_alive;
            let message = answer.message(&head, again);
            match client.outgoing.write(&message).await {
                Ok(()) if again => Next::Again,
                _ => Next::Close,
            }
        }
    }
}

/// Everything that is decided before the server hears of it.
async fn prepare(
    session: &Session,
    client: &mut Link,
    head: &mut RequestHead,
) -> Result<Ready, Refusal> {
    let bodiless = matches!(head.framing, Framing::None | Framing::Length(0));
    let early = |answer| Refusal(answer, bodiless);
    let origin = origin(session, head).map_err(early)?;
    let asked = session.asked(&head.method, head.host.as_ref(), &origin);
    let mut asked = asked.map_err(early)?;
    let offer = match head.websocket {
        true => Some(Offer::take(head)),
        false => None,
    };
    let offer = offer
        .transpose()
        .map_err(|bad| early(Answer::malformed(&bad)))?;
    let length = match head.framing {
        Framing::None => Some(0),
        Framing::Length(length) => Some(length),
        Framing::Chunked | Framing::UntilClose => None,
    };
    let mut body = match asked.most_read(&head.headers, length) {
        None => Body::Coming(head.framing),
        Some(most) => Body::Read(read(session, client, head, most).await?),
    };
    let was_read = bodiless || matches!(body, Body::Read(_));
    let late = |answer| Refusal(answer, was_read);
    let said: &[u8] = match &body {
        Body::Read(body) => body,
        Body::Coming(_) => &[],
    };
    session.judge(&asked, &head.headers, said).map_err(late)?;
    let read = match &mut body {
        Body::Read(read) => Some(read),
        Body::Coming(_) => None,
    };
    let target = session.outgoing(&mut asked, &mut head.headers, read);
    let target = target.map_err(late)?;
    Ok(Ready {
        asked,
        target,
        body,
        offer,
    })
}

fn origin(session: &Session, head: &RequestHead) -> Result<String, Answer> {
    let invalid = |why: &str| Answer::failed(ErrorCode::InvalidRequestTarget, why);
    match &head.target {
        RequestTarget::Origin(origin) => Ok(origin.clone()),
        RequestTarget::Absolute { scheme, origin, .. } => {
            let expected = if session.secure { "https" } else { "http" };
            match scheme == expected {
                true => Ok(origin.clone()),
                false => Err(invalid("the target has another scheme than the connection")),
            }
        }
        RequestTarget::Connect(_) => Err(invalid("CONNECT inside of a connection")),
        RequestTarget::Asterisk => Err(invalid("no rule can be about the target *")),
    }
}

/// Reads a body that has to be judged or rewritten.
async fn read(
    session: &Session,
    client: &mut Link,
    head: &RequestHead,
    most: usize,
) -> Result<Vec<u8>, Refusal> {
    let broken = |_| {
        Refusal(
            Answer::malformed(&Malformed::bad("the body was cut off")),
            false,
        )
    };
    if head.expects_continue && head.framing != Framing::None {
        go_on(client).await.map_err(broken)?;
    }
    let patience = session.patience().body;
    let read = body::whole(&mut client.incoming, head.framing, most, patience).await;
    read.map_err(|unread| match unread {
        Unread::TooLarge => Refusal(Answer::too_large(most), false),
        Unread::Malformed(bad) => Refusal(Answer::malformed(&bad), false),
        Unread::Broken(error) => broken(error),
    })
}

/// The client waits for this before it sends its body (RFC 9110 §10.1.1).
async fn go_on(client: &mut Link) -> io::Result<()> {
    client
        .outgoing
        .write(b"HTTP/1.1 100 Continue\r\n\r\n")
        .await
}

/// Sends a request and relays what is answered.
async fn forward(
    session: &Session,
    client: &mut Link,
    kept: &mut Option<Link>,
    head: &RequestHead,
    ready: Ready,
) -> Next {
    let message = message(session, head, &ready);
    let coming = match ready.body {
        Body::Coming(framing) => framing,
        Body::Read(_) => Framing::None,
    };
    let repeatable = matches!(head.method.as_str(), "GET" | "HEAD" | "OPTIONS")
        && coming == Framing::None
        && ready.offer.is_none();
    let patience = session.patience();
    let within = if repeatable {
        patience.spare
    } else {
        patience.recent
    };
    let mut idle = kept.take().filter(|_| ready.offer.is_none());
    idle = idle.and_then(Link::quiet);
    if idle.is_none() && ready.offer.is_none() {
        idle = Link::unparked(session, within);
    }
    loop {
        let reused = idle.take();
        let was_used = reused.is_some();
        let mut server = match reused {
            Some(link) => link,
            None => match session.connect(false).await {
                Ok(upstream) => Link::to_server(upstream, session.patience().answer),
                Err(failed) => return refuse(client, head, &Answer::unreachable(&failed)).await,
            },
        };
        server.bind(is_of_connection(head));
        let before = server.written();
        let turn = Turn {
            session,
            head,
            offer: ready.offer.as_ref(),
        };
        let ended = turn.take(client, &mut server, &message, coming).await;
        return match ended {
            Ok(Ended::Upgraded) => {
                let path = ready.asked.target.path();
                websocket::relay(session, &ready.asked.permit, path, client, server).await;
                Next::Close
            }
            Ok(Ended::Answered {
                server: keeps,
                client: again,
            }) => {
                *kept = keeps.then_some(server);
                if again { Next::Again } else { Next::Close }
            }
            // It was closed just as it was to be used again (RFC 9110 §9.2.2).
            Err(Trouble { begun: false, .. })
                if was_used && (repeatable || server.written() == before) =>
            {
                continue;
            }
            Err(Trouble { begun: false, why }) => {
                let failed = Failed::Unreachable(why);
                fail(&session.shared, &ready.asked.permit, &failed);
                refuse(client, head, &Answer::unreachable(&failed)).await
            }
            // The client must not take what it has for the whole.
            Err(_) => Next::Abort,
        };
    }
}

/// Whether a request proves who its user is for the whole connection (RFC 4559 §6).
fn is_of_connection(head: &RequestHead) -> bool {
    let Ok(Some(value)) = head.headers.only("authorization") else {
        // Several can't be told apart.
        return head.headers.has("authorization");
    };
    let scheme = value.split(' ').next().unwrap_or_default();
    ["ntlm", "negotiate"].contains(&scheme.to_ascii_lowercase().as_str())
}

async fn refuse(client: &mut Link, head: &RequestHead, answer: &Answer) -> Next {
    spans::status(answer.status());
    let _ = client.outgoing.write(&answer.message(head, false)).await;
    Next::Close
}

/// What is written to the server: the head, and the body if it was read.
fn message(session: &Session, head: &RequestHead, ready: &Ready) -> Zeroizing<Vec<u8>> {
    let authority = session.place_of(&ready.asked.permit);
    let framing = match &ready.body {
        Body::Coming(framing) => *framing,
        Body::Read(_) if head.framing == Framing::None => Framing::None,
        Body::Read(body) => Framing::Length(body.len() as u64),
    };
    // Enough for most, so that it isn't moved, which would leave a copy behind.
    let body = match &ready.body {
        Body::Read(body) => body.len(),
        Body::Coming(_) => 0,
    };
    let mut message = Zeroizing::new(Vec::with_capacity(HEAD + body));
    let forward = Forward {
        target: &ready.target,
        authority: &authority,
        framing,
        keep_alive: true,
    };
    head.write(&forward, &mut message);
    if let (Body::Read(body), Framing::Length(_)) = (&ready.body, framing) {
        message.extend_from_slice(body);
    }
    message
}

/// A request on its way over one connection, and its answer on the way back.
struct Turn<'a> {
    session: &'a Session,
    head: &'a RequestHead,
    offer: Option<&'a Offer>,
}

/// How it went.
enum Ended {
    /// Whether each side can be used again.
    Answered { server: bool, client: bool },
    /// Both sides speak WebSocket now.
    Upgraded,
}

/// Why there is no answer, or not all of it.
struct Trouble {
    /// The client has got a part of it.
    begun: bool,
    why: io::Error,
}

impl Turn<'_> {
    async fn take(
        &self,
        client: &mut Link,
        server: &mut Link,
        message: &[u8],
        coming: Framing,
    ) -> Result<Ended, Trouble> {
        let early = |why| Trouble { begun: false, why };
        server.outgoing.write(message).await.map_err(early)?;
        let bodiless = matches!(coming, Framing::None | Framing::Length(0));
        if self.head.expects_continue && !bodiless {
            go_on(client)
                .await
                .map_err(|why| Trouble { begun: true, why })?;
        }
        let patience = self.session.patience().body;
        let both = (&mut client.incoming, &mut server.outgoing);
        let sending = body::relay(both.0, both.1, (coming, coming), patience);
        let answering = self.answer(&mut server.incoming, &mut client.outgoing);
        tokio::pin!(sending, answering);
        let mut sent = bodiless;
        let mut listens = true;
        let ended = loop {
            tokio::select! {
                result = &mut sending, if !sent && listens => match result {
                    Ok(()) => sent = true,
                    // It may have answered already, without reading everything.
                    Err(Broke::To(_)) => listens = false,
                    // What it has got is no request.
                    Err(Broke::From(why)) => return Err(Trouble { begun: true, why }),
                },
                ended = &mut answering => break ended?,
            }
        };
        Ok(match ended {
            Ended::Upgraded => Ended::Upgraded,
            Ended::Answered { server, client } => Ended::Answered {
                server: server && sent,
                client: client && sent,
            },
        })
    }

    async fn answer(&self, from: &mut Incoming, to: &mut Outgoing) -> Result<Ended, Trouble> {
        let early = |why| Trouble { begun: false, why };
        let response = self.response(from, to).await?;
        spans::status(response.status);
        if response.status == 101 {
            let offer = self
                .offer
                .ok_or(Malformed::bad("an upgrade that nobody wanted"));
            let checked = offer.and_then(|offer| offer.check(&response));
            checked.map_err(|bad| early(invalid(bad)))?;
        }
        let late = |why| Trouble { begun: true, why };
        // Without chunks, only the end of the connection could tell that an answer is whole.
        let framing = match (response.framing, self.head.version) {
            (Framing::UntilClose, Version::Http11) => Framing::Chunked,
            (Framing::Chunked, Version::Http10) => Framing::UntilClose,
            (framing, _) => framing,
        };
        let mut out = Vec::new();
        response.write(framing, self.head.keep_alive, self.head.version, &mut out);
        to.write(&out).await.map_err(late)?;
        if response.status == 101 {
            return Ok(Ended::Upgraded);
        }
        let patience = self.session.patience().answer;
        let relayed = body::relay(from, to, (response.framing, framing), patience).await;
        relayed.map_err(|broke| match broke {
            Broke::From(why) | Broke::To(why) => late(why),
        })?;
        Ok(Ended::Answered {
            server: response.keep_alive && from.buffer.is_empty(),
            client: self.head.keep_alive && framing != Framing::UntilClose,
        })
    }

    /// The head that answers; those before it are handed on, except 100, which was answered here.
    async fn response(
        &self,
        from: &mut Incoming,
        to: &mut Outgoing,
    ) -> Result<ResponseHead, Trouble> {
        let early = |why| Trouble { begun: false, why };
        let (patience, limits) = (self.session.patience().answer, Limits::default());
        for _ in 0..MOST_INTERIM {
            let head = match from.head(patience, patience, &limits).await {
                Ok(head) => head,
                Err(NoHead::Closed) => return Err(early(io::ErrorKind::UnexpectedEof.into())),
                Err(NoHead::Broken(why)) => return Err(early(why)),
                Err(NoHead::Malformed(bad)) => return Err(early(invalid(bad))),
            };
            let head = ResponseHead::parse(&head, &self.head.method, &limits);
            let head = head.map_err(|bad| early(invalid(bad)))?;
            if !head.is_interim() {
                return Ok(head);
            }
            if head.status != 100 && self.head.version == Version::Http11 {
                let mut out = Vec::new();
                head.write(Framing::None, true, Version::Http11, &mut out);
                to.write(&out).await.map_err(early)?;
            }
        }
        Err(early(invalid(Malformed::bad(
            "too many heads before the answer",
        ))))
    }
}

fn invalid(malformed: Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, malformed)
}
