//! What is said to an agent: whose it is, which is who may use it and what every program gets; and
//! whether it is well. It answers as soon as it lives: its socket was there before it was.

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
use std::time::Duration;
use tokio::net::UnixStream;

const STEP: &str = "tell the sandbox's agent who may use it";

/// How often it is told again, and after how long.
const TRIES: u32 = 200;
const PAUSE: Duration = Duration::from_millis(10);
/// How long it may take to say that it is well.
const GREETING: Duration = Duration::from_secs(5);

impl Kept {
    /// Tells it. One that was another's may take a moment to forget that.
    pub(super) async fn introduce(&self, wish: &Wish) -> Result<(), Refusal> {
        let mut told = self.tell(wish).await?;
        let mut tries = wish.from.as_ref().map_or(0, |_| TRIES);
        while told == StatusCode::UNAUTHORIZED && tries > 0 {
            tokio::time::sleep(PAUSE).await;
            told = self.tell(wish).await?;
            tries -= 1;
        }
        match told {
            StatusCode::NO_CONTENT | StatusCode::OK => Ok(()),
            status => Err(Error::rule(STEP, format!("it answered {status}"))
                .on(&self.id)
                .into()),
        }
    }

    async fn tell(&self, wish: &Wish) -> Result<StatusCode, Refusal> {
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
        self.ask(STEP, Method::POST, "/init", body.to_string())
            .await
    }

    /// Waits for a word of it.
    pub(super) async fn greet(&self) -> Result<(), Refusal> {
        let step = "wait for the sandbox's agent";
        let asked = self.ask(step, Method::GET, "/health", String::new());
        let asked = tokio::time::timeout(GREETING, asked).await;
        let status = asked.map_err(|_| Refusal::Slow(GREETING))??;
        match status.is_success() {
            true => Ok(()),
            false => Err(Error::rule(step, format!("it answered {status}"))
                .on(&self.id)
                .into()),
        }
    }

    async fn ask(
        &self,
        step: &'static str,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<StatusCode, Refusal> {
        let fail = |error: std::io::Error| Error::io(step, &error).on(&self.id);
        let other = |error: hyper::Error| Error::rule(step, error.to_string()).on(&self.id);
        let socket = std::os::unix::net::UnixStream::from(self.dial(Door::Agent).await?);
        let stream = UnixStream::from_std(socket).map_err(fail)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(other)?;
        let driven = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "agent")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| Error::rule(step, error.to_string()))?;
        let response = sender.send_request(request).await.map_err(other)?;
        driven.abort();
        Ok(response.status())
    }
}
