//! The way to what an agent does: routes, and who may take them.

use crate::error::Refusal;
use crate::{Agent, files, filesystem, init, metrics, process};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use casemate_proto::connectrpc::compression::CompressionPolicy;
use casemate_proto::connectrpc::{self, ConnectRpcService, DeadlinePolicy, Limits};
use http::{HeaderMap, Method, StatusCode};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes of one message to a Connect service, unpacked. Input to a command is the largest.
const MESSAGE: usize = 16 << 20;
/// Bytes of the body of `/init`.
const INIT: usize = 1 << 20;
/// The header that carries the token.
const TOKEN: &str = "x-access-token";

/// All routes.
pub(crate) fn router(agent: &Arc<Agent>) -> Router {
    Router::new()
        .route("/health", get(|| async { StatusCode::NO_CONTENT }))
        .route("/init", post(init::init).layer(DefaultBodyLimit::max(INIT)))
        .route("/envs", get(envs))
        .route("/metrics", get(metrics::metrics))
        .merge(files::router())
        .with_state(Arc::clone(agent))
        .fallback_service(services(agent))
        .layer(from_fn_with_state(Arc::clone(agent), admit))
}

/// The Connect services. Their answers aren't compressed: they travel inside one machine, and
/// a frame that waits for a compressor is a keystroke that waits.
fn services(agent: &Arc<Agent>) -> ConnectRpcService {
    let limits = Limits::default()
        .with_max_request_body_size(MESSAGE)
        .with_max_message_size(MESSAGE);
    let router = connectrpc::Router::new()
        .add_service(Arc::new(process::Service::new(agent)))
        .add_service(Arc::new(filesystem::service::Service::new(agent)));
    ConnectRpcService::new(router)
        .with_limits(limits)
        .with_compression_policy(CompressionPolicy::disabled())
        .with_deadline_policy(DeadlinePolicy::new().with_enforce_on_streams(true))
}

/// Lets a request in that shows the token, or that has another way to prove itself.
async fn admit(State(agent): State<Arc<Agent>>, mut request: Request, next: Next) -> Response {
    use axum::response::IntoResponse;
    let shown = request.headers().get(TOKEN).map(|value| value.as_bytes());
    let open = is_exempt(request.method(), request.uri().path());
    if !open && !agent.given().admits(shown) {
        return Refusal::unauthenticated("missing or wrong access token").into_response();
    }
    drop_zero_timeout(request.headers_mut());
    next.run(request).await
}

/// What is answered without the token: whether there is an agent, what sets the token, and
/// files, whose addresses may be signed.
fn is_exempt(method: &Method, path: &str) -> bool {
    matches!(
        (method.as_str(), path),
        ("GET", "/health") | ("POST", "/init") | ("GET" | "HEAD" | "POST", "/files")
    )
}

/// A time limit of 0 means none to the clients of this contract, and "already late" to Connect.
fn drop_zero_timeout(headers: &mut HeaderMap) {
    const NAME: &str = "connect-timeout-ms";
    let zero = |value: &http::HeaderValue| value.as_bytes().iter().all(|&b| b == b'0');
    if headers.get(NAME).is_some_and(zero) {
        headers.remove(NAME);
    }
}

/// GET /envs: the variables from `/init`.
async fn envs(State(agent): State<Arc<Agent>>) -> Json<BTreeMap<String, String>> {
    Json(agent.given().environment.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_these_need_no_token() {
        for (method, path) in [
            (Method::GET, "/health"),
            (Method::POST, "/init"),
            (Method::GET, "/files"),
            (Method::POST, "/files"),
            (Method::HEAD, "/files"),
        ] {
            assert!(is_exempt(&method, path), "{method} {path}");
        }
        for (method, path) in [
            (Method::POST, "/health"),
            (Method::GET, "/init"),
            (Method::POST, "/files/compose"),
            (Method::DELETE, "/files"),
            (Method::GET, "/files/"),
            (Method::GET, "//health"),
            (Method::GET, "/envs"),
            (Method::POST, "/process.Process/Start"),
        ] {
            assert!(!is_exempt(&method, path), "{method} {path}");
        }
    }

    #[test]
    fn a_limit_of_zero_is_none() {
        for (value, stays) in [("0", false), ("000", false), ("1", true), ("10", true)] {
            let mut headers = HeaderMap::new();
            headers.insert("connect-timeout-ms", value.parse().unwrap());
            drop_zero_timeout(&mut headers);
            assert_eq!(headers.contains_key("connect-timeout-ms"), stays, "{value}");
        }
    }
}
