//! `/init`: what a node tells the agent before it lets clients in.
//!
//! The first call sets the token, and every later one has to know it: a node that comes back
//! does, and somebody inside the sandbox doesn't. Until then nothing asks for a token, since a
//! socket that only its node can reach is no one else's to use. In a virtual machine that begins as
//! another one was, process 1 has the agent forget that one's.

use crate::error::Refusal;
use crate::{Agent, FORGET};
use axum::extract::{FromRequest, Request, State};
use axum::{Json, http::StatusCode};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use subtle::ConstantTimeEq;
use tokio::signal::unix::{SignalKind, signal};

/// What is in force.
pub(crate) struct Given {
    token: Option<String>,
    /// Variables of every command, under those of its request.
    pub(crate) environment: BTreeMap<String, String>,
    /// The user of requests that name none.
    pub(crate) user: String,
    /// What an empty path means, if not the user's home.
    pub(crate) workdir: Option<PathBuf>,
}

impl Given {
    pub(crate) fn new(user: &str, workdir: Option<PathBuf>) -> Self {
        Self {
            token: None,
            environment: BTreeMap::new(),
            user: user.to_owned(),
            workdir,
        }
    }

    /// Whether a client that shows this may come in. Takes as long for a wrong token as for
    /// the right one.
    pub(crate) fn admits(&self, shown: Option<&[u8]>) -> bool {
        let Some(token) = &self.token else {
            return true;
        };
        shown.is_some_and(|shown| token.as_bytes().ct_eq(shown).into())
    }

    /// The token, once there is one.
    pub(crate) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    fn apply(&mut self, order: Order) -> Result<(), Refusal> {
        order.check()?;
        if let Some(token) = order.access_token.filter(|token| !token.is_empty()) {
            self.token = Some(token);
        }
        if let Some(environment) = order.env_vars {
            self.environment = environment;
        }
        if let Some(user) = order.default_user.filter(|user| !user.is_empty()) {
            self.user = user;
        }
        if let Some(workdir) = order.default_workdir.filter(|path| !path.is_empty()) {
            self.workdir = Some(workdir.into());
        }
        Ok(())
    }
}

/// The request. Fields that other agents have and this one has no use for (the clock, an
/// address for logs, a life cycle's id) are passed over; what would change the sandbox and
/// can't be done here is refused.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Order {
    access_token: Option<String>,
    env_vars: Option<BTreeMap<String, String>>,
    default_user: Option<String>,
    default_workdir: Option<String>,
    volume_mounts: Option<Vec<serde_json::Value>>,
    ca_bundle: Option<String>,
}

impl Order {
    fn check(&self) -> Result<(), Refusal> {
        if self.volume_mounts.as_ref().is_some_and(|m| !m.is_empty()) {
            return Err(Refusal::invalid("volumeMounts: the agent mounts nothing"));
        }
        if self.ca_bundle.as_ref().is_some_and(|b| !b.is_empty()) {
            return Err(Refusal::invalid(
                "caBundle: authorities are placed when the sandbox is made",
            ));
        }
        let relative = |path: &String| !path.is_empty() && !Path::new(path).is_absolute();
        if self.default_workdir.as_ref().is_some_and(relative) {
            return Err(Refusal::invalid("defaultWorkdir: has to begin with '/'"));
        }
        for (name, value) in self.env_vars.iter().flatten() {
            if !crate::users::is_variable(name, value) {
                let message = format!("envVars: '{}' can't be a variable", name.escape_debug());
                return Err(Refusal::invalid(message));
            }
        }
        Ok(())
    }
}

/// Forgets who may come in whenever the signal for that comes.
pub(crate) fn forget_when_told(agent: &Arc<Agent>) -> crate::Result<()> {
    let kind = SignalKind::from_raw(FORGET.as_raw());
    let mut told = signal(kind).map_err(|e| crate::Error::io("wait for a signal", &e))?;
    let agent = Arc::clone(agent);
    tokio::spawn(async move {
        while told.recv().await.is_some() {
            agent.given().token = None;
        }
    });
    Ok(())
}

/// How long its few bytes may take: nobody who calls it has shown a token yet.
const PATIENCE: Duration = Duration::from_secs(10);

/// POST /init.
pub(crate) async fn init(
    State(agent): State<Arc<Agent>>,
    request: Request,
) -> Result<StatusCode, Refusal> {
    let order = tokio::time::timeout(PATIENCE, Json::<Order>::from_request(request, &())).await;
    let late = |_| Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body took too long");
    let Json(order) = order
        .map_err(late)?
        .map_err(|e| Refusal::invalid(e.body_text()))?;
    let mut given = agent.given();
    if !given.admits(order.access_token.as_ref().map(|t| t.as_bytes())) {
        return Err(Refusal::unauthenticated("access token does not match"));
    }
    given.apply(order)?;
    Ok(StatusCode::NO_CONTENT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(text: &str) -> Order {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_first_call_sets_the_token() {
        let mut given = Given::new("user", None);
        assert!(given.admits(None));
        given.apply(order(r#"{"accessToken":"abc"}"#)).unwrap();
        assert!(given.admits(Some(b"abc")));
        for wrong in [
            None,
            Some(&b""[..]),
            Some(b"ab"),
            Some(b"abcd"),
            Some(b"abd"),
        ] {
            assert!(!given.admits(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn an_empty_token_opens_nothing() {
        let mut given = Given::new("user", None);
        given.apply(order(r#"{"accessToken":"abc"}"#)).unwrap();
        given.apply(order(r#"{"accessToken":""}"#)).unwrap();
        assert!(!given.admits(Some(b"")));
    }

    #[test]
    fn what_is_absent_stays() {
        let mut given = Given::new("user", None);
        let full = r#"{"envVars":{"A":"1"},"defaultUser":"root","defaultWorkdir":"/w","x":1}"#;
        given.apply(order(full)).unwrap();
        given.apply(order("{}")).unwrap();
        assert_eq!(given.environment["A"], "1");
        assert_eq!(
            (given.user.as_str(), given.workdir),
            ("root", Some("/w".into()))
        );
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        let mut given = Given::new("user", None);
        for text in [
            r#"{"volumeMounts":[{"name":"v","path":"/v"}]}"#,
            r#"{"caBundle":"-----BEGIN"}"#,
            r#"{"defaultWorkdir":"w"}"#,
            r#"{"envVars":{"A=B":"1"}}"#,
            r#"{"envVars":{"":"1"}}"#,
            r#"{"envVars":{"A":"\u0000"}}"#,
        ] {
            let refusal = given.apply(order(text)).unwrap_err();
            assert_eq!(refusal.status, StatusCode::BAD_REQUEST, "{text}");
        }
    }
}
