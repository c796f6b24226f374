//! Messages of WebSocket: put together, judged, and sent on in frames of our own.
//!
//! A text message of the client is a request by the method [`WEBSOCKET_TEXT`]; where the endpoint's
//! rules are about GraphQL, one that starts operations is judged by those.
//!
//! So is a binary one, since servers differ on whether they tell the two apart: it may be said
//! where any text may, and never where texts have to be read as GraphQL.

use super::judge::Own;
use super::link::Link;
use super::said::operations;
use super::session::Session;
use super::stream::{Incoming, Outgoing};
use crate::credentials::{Destination, Escape, Rewriter};
use crate::proxy::decide::Permit;
use crate::websocket::graphql::{self, ClientMessage};
use crate::websocket::{Decoder, Limits, Message, Role, WebSocketError, encode};
use casemate_policy::compiled::{Request, WEBSOCKET_TEXT};
use std::io;
use tokio::sync::Mutex;

/// What a client says that is refused by the policy (RFC 6455 §7.4.1).
const POLICY: u16 = 1008;

/// What a binary message is called in the audit log.
const WEBSOCKET_BINARY: &str = "WEBSOCKET_BINARY";

/// Why a direction ended.
enum Stop {
    /// With a Close, or with the connection.
    Ended,
    /// Both sides are told this.
    Refused(u16, String),
}

/// Where one side's messages go. A frame is written whole before another is begun.
struct Sink<'a> {
    outgoing: Mutex<&'a mut Outgoing>,
    /// Only clients mask.
    masks: bool,
}

/// What messages are judged by.
struct Judged<'a> {
    session: &'a Session,
    permit: &'a Permit,
    path: &'a str,
}

/// Relays both directions until one of them ends.
pub(super) async fn relay(
    session: &Session,
    permit: &Permit,
    path: &str,
    client: &mut Link,
    mut server: Link,
) {
    let judged = Judged {
        session,
        permit,
        path,
    };
    let (to_client, to_server) = (
        Sink::new(&mut client.outgoing, false),
        Sink::new(&mut server.outgoing, true),
    );
    let out = judged.out(&mut client.incoming, &to_server);
    let back = judged.back(&mut server.incoming, &to_client);
    let stop = tokio::select! {
        stop = out => stop,
        stop = back => stop,
    };
    if let Stop::Refused(code, why) = stop {
        session.refused("l7", &why);
        let close = Message::Close(Some((code, why)));
        let _ = to_server
            .send(&Message::Close(Some((1001, String::new()))))
            .await;
        let _ = to_client.send(&close).await;
    }
    server.outgoing.end().await;
}

impl Judged<'_> {
    async fn out(&self, from: &mut Incoming, to: &Sink<'_>) -> Stop {
        let mut decoder = Decoder::new(Role::Client, Limits::default());
        loop {
            match next(self.session, from, &mut decoder).await {
                Ok(message) => {
                    let message = match message {
                        Message::Text(text) => match self.text(text) {
                            Ok(text) => Message::Text(text),
                            Err(stop) => return stop,
                        },
                        Message::Binary(bytes) => match self.binary() {
                            Ok(()) => Message::Binary(bytes),
                            Err(stop) => return stop,
                        },
                        other => other,
                    };
                    if to.send(&message).await.is_err() {
                        return Stop::Ended;
                    }
                }
                Err(stop) => return stop,
            }
        }
    }

    async fn back(&self, from: &mut Incoming, to: &Sink<'_>) -> Stop {
        let mut decoder = Decoder::new(Role::Server, Limits::default());
        loop {
            match next(self.session, from, &mut decoder).await {
                Ok(message) => {
                    let ends = matches!(message, Message::Close(_));
                    if to.send(&message).await.is_err() || ends {
                        return Stop::Ended;
                    }
                }
                Err(stop) => return stop,
            }
        }
    }

    /// Whether a binary message may go out.
    fn binary(&self) -> Result<(), Stop> {
        let refused = |why: &str| Stop::Refused(POLICY, why.to_owned());
        let policy = self.session.shared.policy.load_full();
        let permit = self.permit.under(policy);
        let permit = permit.ok_or_else(|| refused("the policy no longer allows it"))?;
        let grant = permit.grant();
        let grant = grant.ok_or_else(|| refused("the policy no longer allows it"))?;
        let request = Request {
            method: WEBSOCKET_TEXT,
            path: self.path,
            ..Request::default()
        };
        let endpoint = grant.endpoint_for(self.path);
        let decision = match endpoint.is_some_and(|own| own.reads_graphql_messages()) {
            true => {
                let unread = Err("it's a binary message".to_owned());
                operations(&request, &unread, |request| grant.request(request))
            }
            false => grant.request(&request),
        };
        let decided = self
            .session
            .decided(&permit, (WEBSOCKET_BINARY, self.path), decision);
        decided.map_err(|_| refused("the policy doesn't allow this message"))
    }

    /// A text message as it goes out, if it may.
    fn text(&self, text: String) -> Result<String, Stop> {
        let refused = |why: &str| Stop::Refused(POLICY, why.to_owned());
        let policy = self.session.shared.policy.load_full();
        let permit = self.permit.under(policy);
        let permit = permit.ok_or_else(|| refused("the policy no longer allows it"))?;
        let grant = permit.grant();
        let grant = grant.ok_or_else(|| refused("the policy no longer allows it"))?;
        let endpoint = grant.endpoint_for(self.path);
        let request = Request {
            method: WEBSOCKET_TEXT,
            path: self.path,
            ..Request::default()
        };
        let decision = if endpoint.is_some_and(|own| own.reads_graphql_messages()) {
            let most = endpoint.map_or(0, |own| own.declared().body.graphql as usize);
            match graphql::parse(&text, most) {
                // It opens, keeps or ends something, and asks for nothing.
                Ok(ClientMessage::Control) => return Ok(text),
                Ok(ClientMessage::Operation(read)) => {
                    operations(&request, &Ok(read), |request| grant.request(request))
                }
                Err(bad) => operations(&request, &Err(bad.0), |request| grant.request(request)),
            }
        } else {
            grant.request(&request)
        };
        let decided = self
            .session
            .decided(&permit, (WEBSOCKET_TEXT, self.path), decision);
        decided.map_err(|_| refused("the policy doesn't allow this message"))?;
        let text = self.session.cleaned_text(&permit, text);
        let text = text.map_err(|_| refused("a middleware can't look at this message"))?;
        let fills = endpoint.is_some_and(|own| own.declared().websocket_credential_rewrite);
        if !fills {
            return Ok(text);
        }
        let credentials = &self.session.shared.inspection.credentials;
        let own = Own::of(endpoint);
        let destination = Destination {
            secure: self.session.secure,
            provider: own.provider.as_deref(),
            ..Destination::new(&permit.host, permit.port, self.path)
        };
        let rewriter = Rewriter::new(credentials, destination);
        match rewriter.text(text.as_bytes(), Escape::Plain) {
            Ok(None) => Ok(text),
            Ok(Some(mut filled)) => String::from_utf8(std::mem::take(&mut *filled))
                .map_err(|_| refused("a credential isn't text")),
            Err(refusal) => {
                self.session.unfilled(&permit, &refusal);
                Err(refused("a credential doesn't belong there"))
            }
        }
    }
}

/// The next message of a side.
async fn next(
    session: &Session,
    from: &mut Incoming,
    decoder: &mut Decoder,
) -> Result<Message, Stop> {
    let bad = |bad: WebSocketError| Stop::Refused(bad.code(), bad.why().to_owned());
    loop {
        let (taken, message) = decoder.push(&from.buffer).map_err(bad)?;
        from.buffer.drain(..taken);
        if let Some(message) = message {
            return Ok(message);
        }
        match from.fill(session.patience().answer).await {
            Ok(0) | Err(_) => return Err(Stop::Ended),
            Ok(_) => {}
        }
    }
}

impl<'a> Sink<'a> {
    fn new(outgoing: &'a mut Outgoing, masks: bool) -> Self {
        Self {
            outgoing: Mutex::new(outgoing),
            masks,
        }
    }

    async fn send(&self, message: &Message) -> io::Result<()> {
        let mut mask = None;
        if self.masks {
            let mut random = [0u8; 4];
            aws_lc_rs::rand::fill(&mut random).map_err(io::Error::other)?;
            mask = Some(random);
        }
        let mut frame = Vec::new();
        encode(message, mask, &mut frame);
        self.outgoing.lock().await.write(&frame).await
    }
}
