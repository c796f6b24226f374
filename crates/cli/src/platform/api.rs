//! The REST interface, as far as the commands need it.

use super::http::{self, Answer, Body, Failed, accepted, empty, full, json, soon};
use super::server::Server;
use ::http::header::CONTENT_TYPE;
use ::http::{Method, Request, Response};
use casemate_core::error::{Error, Result};
use hyper::body::Incoming;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;

/// Pages of a list; each has up to a hundred entries.
const MOST_PAGES: usize = 1000;

/// A sandbox, as it is listed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Listed {
    #[serde(rename = "sandboxID")]
    pub(super) id: String,
    pub(super) state: String,
    pub(super) started_at: jiff::Timestamp,
    pub(super) end_at: jiff::Timestamp,
    #[serde(default)]
    pub(super) metadata: BTreeMap<String, String>,
}

/// A sandbox, with what is needed to use it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Detail {
    #[serde(rename = "sandboxID")]
    pub(super) id: String,
    pub(super) state: String,
    pub(super) envd_access_token: Option<String>,
    pub(super) domain: Option<String>,
    #[serde(default)]
    pub(super) network: Network,
    #[serde(default)]
    pub(super) lifecycle: Lifecycle,
}

/// What is asked about a sandbox's network.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct Network {
    pub(super) allow_public_traffic: Option<bool>,
}

/// What is asked about a sandbox's life.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct Lifecycle {
    #[serde(default)]
    auto_resume: bool,
}

impl Detail {
    /// Refuses a sandbox that is paused and that no request wakes.
    pub(super) fn awake(self, step: &str) -> Result<Self> {
        if self.state != "paused" || self.lifecycle.auto_resume {
            return Ok(self);
        }
        let hint = format!("`casemate resume {}` lets it go on", self.id);
        Err(Error::rule(step, "the sandbox is paused")
            .on(&self.id)
            .hint(hint))
    }
}

/// The key of a sandbox's name among its metadata.
pub(super) const NAME: &str = "name";

impl Server {
    /// Asks the API; the answer is a success.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Answer<Response<Incoming>> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("x-api-key", &self.key);
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body: Body = body.map_or_else(empty, |body| full(body.to_string()));
        let request = request.body(body).map_err(|error| {
            Failed::Lost(Error::rule("put a request together", error.to_string()))
        })?;
        soon(async { accepted(self.api.send(request).await?).await }).await
    }

    /// Asks for a value.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Answer<T> {
        let response = self.ask(Method::GET, path, None).await?;
        soon(json(response)).await
    }

    /// Does something that has no answer.
    pub(super) async fn change(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Answer<()> {
        let response = self.ask(method, path, body).await?;
        soon(http::whole(response)).await.map(drop)
    }

    /// All sandboxes in these states, the newest first.
    pub(super) async fn list<T: DeserializeOwned>(&self, states: &str) -> Answer<Vec<T>> {
        self.pages(&format!("/v2/sandboxes?limit=100&state={states}"))
            .await
    }

    /// All that a list has which comes page by page.
    pub(super) async fn pages<T: DeserializeOwned>(&self, first: &str) -> Answer<Vec<T>> {
        let mut all = Vec::new();
        let mut next = None::<String>;
        for _ in 0..MOST_PAGES {
            let mut path = first.to_owned();
            if let Some(next) = &next {
                path.push_str("&nextToken=");
                path.extend(form_urlencoded::byte_serialize(next.as_bytes()));
            }
            let response = self.ask(Method::GET, &path, None).await?;
            let token = response.headers().get("x-next-token");
            next = token.and_then(|token| Some(token.to_str().ok()?.to_owned()));
            all.extend(soon(json::<Vec<T>>(response)).await?);
            if next.is_none() {
                break;
            }
        }
        Ok(all)
    }

    /// The id that is meant by an id, the beginning of one that no other has, or a name.
    pub(super) async fn resolve(&self, step: &str, meant: &str) -> Result<String> {
        if meant.parse::<casemate_core::sandbox::SandboxId>().is_ok() {
            return Ok(meant.to_owned());
        }
        let all = self.list::<Listed>("running,paused").await;
        let all = all.map_err(|failed| failed.during("list the sandboxes", &self.api))?;
        let named = all.iter().filter(|one| {
            let name = one.metadata.get(NAME).map(String::as_str);
            !meant.is_empty() && (one.id.starts_with(meant) || name == Some(meant))
        });
        let mut named = named.map(|one| one.id.as_str());
        match (named.next(), named.next()) {
            (Some(one), None) => Ok(one.to_owned()),
            (None, _) => Err(Error::rule(
                step,
                "no sandbox has an id that begins so, or this name",
            )
            .on(meant.escape_debug())
            .hint("`casemate ps -a` lists the sandboxes")),
            (Some(one), Some(other)) => {
                let count = 2 + named.count();
                let why = format!("{count} sandboxes are meant, {one} and {other} among them");
                Err(Error::rule(step, why)
                    .on(meant.escape_debug())
                    .hint("give more of the id"))
            }
        }
    }

    /// What is needed to use a sandbox.
    pub(super) async fn detail(&self, step: &str, meant: &str) -> Result<Detail> {
        let id = self.resolve(step, meant).await?;
        let found = self.get(&format!("/sandboxes/{id}")).await;
        found.map_err(|failed| failed.during(step, &id))
    }
}
