//! A byte stream to a port, for programs that don't speak HTTP.
//!
//! A client asks for it by an upgrade to `casemate-tcp`, which the gateway itself agrees to once the
//! program inside has accepted; from then on every byte goes as it comes. Who may reach a port by
//! HTTP may so too, and nobody else.

use super::upgrade::{Flow, restore, wanted};
use crate::answer::{Answer, Body, empty};
use crate::class::Class;
use crate::dial::dial;
use crate::gateway::Shared;
use crate::inside::Inside;
use crate::route::Target;
use casemate_core::node::Door;
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::time::Instant;

const PROTOCOL: &str = "casemate-tcp";

/// True if this is asked for.
pub(super) fn is_wanted(target: &Target, parts: &Parts) -> bool {
    matches!(target.door, Door::Port(_))
        && wanted(parts).is_some_and(|own| own.as_bytes().eq_ignore_ascii_case(PROTOCOL.as_bytes()))
}

/// Opens it.
pub(super) async fn open(
    shared: &Shared,
    target: &Target,
    inside: Arc<Inside>,
    ours: OnUpgrade,
) -> Result<Response<Body>, Answer> {
    let (id, settings) = (&target.id, &shared.settings);
    let place = inside.place(Class::Port).ok_or_else(|| Answer::busy(id))?;
    let began = Instant::now();
    let socket = dial(&*shared.node, id, target.door, &settings.patience).await;
    let theirs = socket.map_err(|refusal| Answer::refused(id, &refusal))?;
    settings.metrics.dialled(Class::Port, began.elapsed());
    let open = settings.metrics.open(Class::Port);
    let flow = Flow {
        inside,
        counts: settings.metrics.bytes(Class::Port),
    };
    shared.tunnels.spawn(async move {
        let _kept = (place, open);
        // A client that is gone gets no upgrade.
        if let Ok(ours) = ours.await {
            flow.run(TokioIo::new(ours), theirs).await;
        }
    });
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    restore(response.headers_mut(), HeaderValue::from_static(PROTOCOL));
    Ok(response)
}
