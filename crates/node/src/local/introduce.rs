//! How an agent learns whose it is: who may use it, and what every program gets. It answers as soon
//! as it lives: its socket was there before it was.

use super::kept::Kept;
use crate::keeper::launch::USER;
use bytes::Bytes;
use casemate_core::error::Error;
use casemate_core::node::{Door, Refusal};
use casemate_core::sandbox::Wish;
use http::{Method, Request, StatusCode, header};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::json;
use std::collections::BTreeMap;
use tokio::net::UnixStream;

impl Kept {
    /// Tells it.
    pub(super) async fn introduce(&self, wish: &Wish) -> Result<(), Refusal> {
        let step = "tell the sandbox's agent who may use it";
        let fail = |error: std::io::Error| Error::io(step, &error).on(&self.id);
        let other = |error: hyper::Error| Error::rule(step, error.to_string()).on(&self.id);
        let socket = std::os::unix::net::UnixStream::from(self.dial(Door::Agent).await?);
        let stream = UnixStream::from_std(socket).map_err(fail)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(other)?;
        let driven = tokio::spawn(connection);
        // What programs in E2B's sandboxes find; a client's own variables win.
        let known = [
            ("E2B_SANDBOX", "true"),
            ("E2B_SANDBOX_ID", self.id.as_str()),
            ("E2B_TEMPLATE_ID", &wish.template),
        ];
        let mut environment: BTreeMap<&str, &str> = known.into();
        let own = wish.environment.iter();
        environment.extend(own.map(|(name, value)| (name.as_str(), value.as_str())));
        let body = json!({
            "accessToken": wish.access_token,
            "envVars": environment,
            "defaultUser": USER,
        });
        let request = Request::builder()
            .method(Method::POST)
            .uri("/init")
            .header(header::HOST, "agent")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.to_string())))
            .map_err(|error| Error::rule(step, error.to_string()))?;
        let response = sender.send_request(request).await.map_err(other)?;
        driven.abort();
        match response.status() {
            StatusCode::NO_CONTENT | StatusCode::OK => Ok(()),
            status => Err(Error::rule(step, format!("it answered {status}"))
                .on(&self.id)
                .into()),
        }
    }
}
