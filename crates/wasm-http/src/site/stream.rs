//! Bodies that come piece by piece: a canister answers the first, and a token to ask for the next by.

use super::record::{Next, decode_more, encode_token};
use crate::fault::{Fault, Kind};
use crate::numbers::Work;
use crate::owner::{Ask, Owner};
use crate::server::Shared;
use axum::body::{Body, Bytes};
use futures_util::stream::try_unfold;
use std::sync::Arc;

/// Pieces of one body.
const MOST: usize = 10_000;

/// What is still to come.
struct Rest {
    shared: Arc<Shared>,
    name: String,
    first: Option<Bytes>,
    next: Option<Next>,
    pieces: usize,
}

/// A body that begins with this.
pub(super) fn body(shared: Arc<Shared>, name: String, first: Bytes, next: Option<Next>) -> Body {
    if next.is_none() {
        return Body::from(first);
    }
    let rest = Rest {
        shared,
        name,
        first: Some(first),
        next,
        pieces: 0,
    };
    Body::from_stream(try_unfold(rest, |mut rest| async move {
        if let Some(first) = rest.first.take() {
            return Ok(Some((first, rest)));
        }
        let Some(next) = rest.next.take() else {
            return Ok(None);
        };
        // A body that breaks off is seen to be broken: its last chunk never comes.
        rest.pieces += 1;
        if rest.pieces > MOST {
            return Err(Fault::new(Kind::Answer, "the body never ends"));
        }
        let (canister, shared) = (rest.name.clone(), rest.shared.clone());
        let job = move |owner: &dyn Owner| more(owner, &canister, next);
        let deadline = shared.deadline();
        let (piece, next) = shared.work(Work::site, &rest.name, deadline, job).await?;
        rest.next = next;
        Ok(Some((piece, rest)))
    }))
}

/// Asks for one more piece.
fn more(owner: &dyn Owner, name: &str, next: Next) -> Result<(Bytes, Option<Next>), Fault> {
    if owner.status(name)?.canister != next.canister {
        let why = "its body goes on in another canister, which isn't asked";
        return Err(Fault::new(Kind::Answer, why));
    }
    let ask = Ask {
        method: next.method.clone(),
        argument: encode_token(&next.token)?,
        ..Ask::default()
    };
    let (reply, _) = super::reply(owner.query(name, ask)?)?;
    let (piece, token) = decode_more(&reply)?;
    let next = token.map(|token| Next { token, ..next });
    Ok((piece.into(), next))
}
