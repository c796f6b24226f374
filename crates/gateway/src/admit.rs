//! Whether a request may enter a sandbox, and that it's awake.

use crate::answer::{Answer, TRAFFIC_TOKEN};
use crate::gateway::Shared;
use crate::route::Target;
use crate::sandboxes::{Sandbox, Traffic};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use casemate_core::node::Door;
use casemate_core::sandbox::lifecycle::State;
use http::request::Parts;
use std::time::Instant;

/// The agent's token, in a request.
const ACCESS_TOKEN: &str = "x-access-token";

/// What is known of the sandbox, which runs now.
pub(crate) async fn admit(
    shared: &Shared,
    target: &Target,
    path: &str,
    parts: &Parts,
) -> Result<Sandbox, Answer> {
    let id = &target.id;
    let gone = || Answer::Gone(id.clone());
    let mut sandbox = shared.sandboxes.find(id).await.ok_or_else(gone)?;
    if let (Door::Port(_), Traffic::Private(token)) = (target.door, &sandbox.traffic)
        && !shows(parts, TRAFFIC_TOKEN, token)
    {
        return Err(Answer::Private(id.clone()));
    }
    match sandbox.state {
        State::Running => return Ok(sandbox),
        // A client that paused or connected knows; all others wait for it with the request.
        State::Resuming => {}
        State::Paused | State::Pausing if sandbox.resumes => {
            may_wake(target, &sandbox, path, parts)?
        }
        State::Paused | State::Pausing => return Err(gone()),
        State::Creating | State::Stopping | State::Stopped | State::Failed => return Err(gone()),
    }
    let asleep = Instant::now();
    let woken = shared.sandboxes.wake(id).await;
    woken.map_err(|refusal| Answer::refused(id, &refusal))?;
    shared.settings.metrics.woke(asleep.elapsed());
    sandbox.state = State::Running;
    Ok(sandbox)
}

/// Only who may use the agent may wake a sandbox through it; what the agent answers without a token
/// is for it to judge.
fn may_wake(target: &Target, sandbox: &Sandbox, path: &str, parts: &Parts) -> Result<(), Answer> {
    let signed = || {
        let query = parts.uri.query().unwrap_or_default();
        path == "/files" && query.contains("signature=")
    };
    match (target.door, &sandbox.access_token) {
        (Door::Agent, Some(token))
            if path != "/health" && !signed() && !shows(parts, ACCESS_TOKEN, token) =>
        {
            Err(Answer::Unauthorized)
        }
        _ => Ok(()),
    }
}

fn shows(parts: &Parts, name: &str, token: &str) -> bool {
    let shown = parts.headers.get(name);
    shown.is_some_and(|shown| verify_slices_are_equal(shown.as_bytes(), token.as_bytes()).is_ok())
}
