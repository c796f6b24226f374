//! Requests to the proxy itself with absolute targets (RFC 9112 §3.2.2). Each names its place, so
//! each is decided anew; the connection to a server is kept while they name the same one.

use super::Inspected;
use super::answer::Answer;
use super::http1::{Next, exchange, request};
use super::link::Link;
use super::session::Session;
use crate::http1::RequestHead;
use crate::proxy::accept::fail;
use crate::proxy::decide::Permit;
use crate::proxy::explicit::{self, Refused};
use crate::proxy::shared::Shared;
use std::sync::Arc;
use tokio::net::TcpStream;

async fn open(shared: &Arc<Shared>, permit: Permit) -> Result<Inspected, Answer> {
    let way = shared
        .dialer
        .to_host(shared, &permit)
        .await
        .map_err(|failed| {
            fail(shared, &permit, &failed);
            Answer::unreachable(&failed)
        })?;
    Inspected::open(shared, permit, way, false)
}

fn park(place: &Inspected, server: Option<Link>) {
    if let Some(server) = server {
        server.park(place.session());
    }
}

/// Serves the request and those that follow it. `said` is what the program said after its head.
pub(in crate::proxy) async fn forward(
    shared: &Arc<Shared>,
    program: TcpStream,
    permit: Permit,
    head: RequestHead,
    said: Vec<u8>,
) {
    let patience = shared.inspection.patience;
    let identity = Arc::clone(&permit.identity);
    let mut client = Link::new(Box::new(program), patience.answer);
    client.incoming.buffer = said;
    let mut head = head;
    let mut decided = Ok(permit);
    let mut last: Option<(Inspected, Option<Link>)> = None;
    loop {
        let permit = match decided {
            Ok(permit) => permit,
            Err(Refused(answer)) => {
                let _ = client.outgoing.write(&answer).await;
                break;
            }
        };
        let same = |session: &Session| {
            session.permit.host == permit.host && session.permit.port == permit.port
        };
        let before = match last.take() {
            Some((place, server)) if !same(place.session()) => {
                park(&place, server);
                None
            }
            before => before,
        };
        let (place, mut kept) = match before {
            Some(before) => before,
            None => match open(shared, permit).await {
                Ok(place) => (place, None),
                Err(answer) => {
                    let _ = client.outgoing.write(&answer.message(&head, false)).await;
                    break;
                }
            },
        };
        let next = place
            .watched(exchange(place.session(), &mut client, &mut kept, head))
            .await;
        match next {
            Some(Next::Again) => {}
            Some(Next::Close) => {
                park(&place, kept);
                break;
            }
            Some(Next::Abort) | None => return,
        }
        let Some(following) = request(place.session(), &mut client).await else {
            park(&place, kept);
            break;
        };
        last = Some((place, kept));
        decided = explicit::decide_request(shared, &identity, &following);
        head = following;
    }
    client.close().await;
}
