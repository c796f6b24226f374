//! Which server a command talks to, and with which key.

use super::client_file::ClientFile;
use super::http::{Own, Site};
use crate::state;
use casemate_core::error::{Error, Result};
use clap::Args;
use std::path::PathBuf;

/// The URL of the API, as for E2B's clients.
const API_URL: &str = "E2B_API_URL";
/// The URL that sandboxes are reached at; the API's own if it isn't set.
const SANDBOX_URL: &str = "E2B_SANDBOX_URL";
/// A domain whose names both are, if neither is set.
const DOMAIN: &str = "E2B_DOMAIN";
/// The key.
const API_KEY: &str = "E2B_API_KEY";
/// Where `casemate serve` listens unless it is told otherwise.
const USUAL: &str = "http://127.0.0.1:3000";

// The arguments that name a server.
#[derive(Args, Default)]
pub(crate) struct ServerArgs {
    /// The server [default: E2B_API_URL, or E2B_DOMAIN's, or the one of --data, or http://127.0.0.1:3000]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The API key; others see it in the process list [default: E2B_API_KEY, or the one of --data]
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// The data folder of a server of yours on this machine [default: casemate in XDG_STATE_HOME]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// A server, and what it is shown.
pub(super) struct Server {
    /// Where the API is.
    pub(super) api: Site,
    /// Where sandboxes are.
    pub(super) sandboxes: Site,
    /// The API key.
    pub(super) key: String,
}

impl ServerArgs {
    /// Finds it. The key of a server's file goes nowhere but to that server.
    pub(super) fn server(self) -> Result<Server> {
        let (url, key) = (given(self.url, API_URL)?, given(self.key, API_KEY)?);
        let (url, below) = match (url, given(None, DOMAIN)?) {
            (None, Some(domain)) => {
                let [api, sandboxes] = urls(&domain);
                (Some(api), Some(sandboxes))
            }
            (url, _) => (url, None),
        };
        let file = match self.data.or_else(state::folder) {
            Some(folder) if url.is_none() || key.is_none() => ClientFile::read(&folder)?,
            _ => None,
        };
        let api = match (url, &file) {
            (Some(url), _) => url,
            (None, Some(file)) => file.url.clone(),
            (None, None) => USUAL.into(),
        };
        let file = file.filter(|file| same(&file.url, &api));
        let (key, own, sandboxes) = match (key, file) {
            (Some(key), _) => (key, None, given(None, SANDBOX_URL)?.or(below)),
            // The token of a sandbox is as good as the key: no variable says where it goes.
            (None, Some(file)) => {
                let own = Own {
                    address: file.address,
                    authority: file.authority.clone(),
                };
                (file.key.clone(), Some(own), file.sandboxes.clone())
            }
            (None, None) => return Err(no_key(&api)),
        };
        let site = |url: &str| Site::parse(url, own.clone());
        Ok(Server {
            sandboxes: site(sandboxes.as_deref().unwrap_or(&api))?,
            api: site(&api)?,
            key,
        })
    }
}

/// Where a domain has the API, and where it has all sandboxes, for headers to say which.
pub(crate) fn urls(domain: &str) -> [String; 2] {
    ["api", "sandbox"].map(|name| format!("https://{name}.{domain}"))
}

fn same(a: &str, b: &str) -> bool {
    a.trim_end_matches('/') == b.trim_end_matches('/')
}

fn no_key(url: &str) -> Error {
    Error::rule("talk to the server", "there is no API key")
        .on(url)
        .hint(
            "set E2B_API_KEY; `casemate serve` prints the first one, and keeps it for its own \
             user's commands on this machine (--data DIR names its folder)",
        )
}

/// A flag, or else a variable; an empty one is none.
fn given(flag: Option<String>, variable: &str) -> Result<Option<String>> {
    if flag.is_some() {
        return Ok(flag);
    }
    match std::env::var(variable) {
        Ok(value) if value.is_empty() => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(Error::rule("read a variable", "it isn't UTF-8").on(variable))
        }
    }
}
