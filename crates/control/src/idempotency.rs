//! A request that is sent twice is done once.
//!
//! The client names a request by `Idempotency-Key`. Who sends the same one again, at the same time
//! or within a day, gets the first one's answer; who uses the name for another request is told so.
//! Only what succeeded is remembered: what failed may be tried again.

use crate::census::lock;
use crate::clock::later;
use crate::control::Control;
use crate::problem::Problem;
use crate::store::{Answer, Change};
use http::StatusCode;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::sync::{Mutex as Gate, OwnedMutexGuard};

/// How long an answer is kept.
pub(crate) const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// Bytes of a request's name.
const LONGEST: usize = 255;

/// The requests that are being done.
#[derive(Default)]
pub(crate) struct Repeats(Mutex<HashMap<Name, Weak<Gate<()>>>>);

/// A key's id, and its name of a request.
type Name = (String, String);

impl Repeats {
    /// Waits until no other request of this name is being done.
    async fn turn(&self, key: &str, request: &str) -> OwnedMutexGuard<()> {
        let gate = {
            let mut all = lock(&self.0);
            all.retain(|_, gate| gate.strong_count() > 0);
            let name = (key.to_owned(), request.to_owned());
            let known = all.get(&name).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let gate = Arc::new(Gate::new(()));
                all.insert(name, Arc::downgrade(&gate));
                gate
            })
        };
        gate.lock_owned().await
    }
}

/// A request as its client named it.
pub(crate) struct Named {
    pub(crate) key: String,
    pub(crate) request: String,
    /// SHA-256 of what it asks for.
    pub(crate) asked: Vec<u8>,
}

impl Named {
    /// Reads the name; `what` is the request's method and path.
    pub(crate) fn read(
        key: &str,
        headers: &http::HeaderMap,
        what: &str,
        body: &[u8],
    ) -> Result<Option<Self>, Problem> {
        let Some(name) = headers.get("idempotency-key") else {
            return Ok(None);
        };
        let name = name
            .to_str()
            .ok()
            .filter(|name| !name.is_empty() && name.len() <= LONGEST);
        let name = name.ok_or_else(|| {
            Problem::bad(format!(
                "Idempotency-Key: not 1 to {LONGEST} printable characters of ASCII"
            ))
        })?;
        let asked = Sha256::new()
            .chain_update(what)
            .chain_update(b"\n")
            .chain_update(body);
        // What our own headers ask for is asked for, too.
        let ours = headers
            .iter()
            .filter(|(name, _)| name.as_str().starts_with("casemate-"));
        let asked = ours.fold(asked, |asked, (name, value)| {
            asked
                .chain_update(b"\n")
                .chain_update(name.as_str())
                .chain_update(b"\n")
                .chain_update(value.as_bytes())
        });
        Ok(Some(Self {
            key: key.to_owned(),
            request: name.to_owned(),
            asked: asked.finalize().to_vec(),
        }))
    }
}

/// An answer, and whether it was given before.
pub(crate) struct Done {
    pub(crate) status: StatusCode,
    pub(crate) body: String,
    pub(crate) before: bool,
}

impl Named {
    /// What is to be written beside what the request changes: both are there or neither.
    pub(crate) fn answered(&self, status: StatusCode, body: &str, now: Timestamp) -> Change {
        Change::Answer(Answer {
            key: self.key.clone(),
            request: self.request.clone(),
            asked: self.asked.clone(),
            status: status.as_u16(),
            body: body.to_owned(),
            expires: later(now, KEPT),
        })
    }
}

impl Control {
    /// Does the request, unless it was done before.
    pub(crate) async fn once(
        &self,
        named: Option<&Named>,
        request: impl Future<Output = Result<(StatusCode, String), Problem>>,
    ) -> Result<Done, Problem> {
        let _turn = match named {
            None => None,
            Some(named) => {
                let turn = self.repeats.turn(&named.key, &named.request).await;
                let now = self.clock.now();
                let known = self.store.answer(&named.key, &named.request, now).await;
                if let Some(answer) = known.map_err(|error| Problem::store(&error))? {
                    return again(named, answer);
                }
                Some(turn)
            }
        };
        let (status, body) = request.await?;
        Ok(Done {
            status,
            body,
            before: false,
        })
    }
}

fn again(named: &Named, answer: Answer) -> Result<Done, Problem> {
    if answer.asked != named.asked {
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!(
                "the Idempotency-Key '{}' was used for another request",
                named.request
            ),
        ));
    }
    Ok(Done {
        status: StatusCode::from_u16(answer.status).unwrap_or(StatusCode::CREATED),
        body: answer.body,
        before: true,
    })
}
