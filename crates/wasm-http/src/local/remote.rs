//! A server, asked over its socket.

mod carry;

use super::Folder;
use crate::fault::{Fault, Kind};
use crate::owner::{Ask, Installation, Line, Mode, Outcome, Owner, Replayed, Status};
use crate::rest::{ARGUMENT_LENGTH, OUTCOME};
use axum::body::Body;
use bytes::Bytes;
use casemate_core::error::{Error, Result};
use http::header::{ACCEPT, CONTENT_TYPE, HOST};
use http::request::Builder;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

/// Bytes of an answer.
const LONGEST: usize = 256 << 20;
/// What a server may take beyond the time that it is given.
const GRACE: Duration = Duration::from_secs(5);
/// What it is given if nothing is said.
const PATIENCE: Duration = Duration::from_secs(600);

/// See the module.
pub struct Remote {
    path: PathBuf,
    folder: Folder,
    runtime: Runtime,
}

#[derive(Deserialize)]
struct Names {
    canisters: Vec<String>,
}

#[derive(Deserialize)]
struct Logs {
    logs: Vec<Line>,
}

/// A fault as it is told.
#[derive(Deserialize)]
struct Told {
    kind: Kind,
    message: String,
    hint: Option<String>,
    reject_code: Option<u8>,
}

impl From<Told> for Fault {
    fn from(told: Told) -> Self {
        Self {
            kind: told.kind,
            message: told.message,
            hint: told.hint,
            reject_code: told.reject_code,
            retry_after: None,
        }
    }
}

impl Remote {
    /// The server that has this folder; `None` if none has.
    ///
    /// # Errors
    /// Somebody listens there who can't be asked.
    pub fn find(path: &Path) -> Result<Option<Self>> {
        const STEP: &str = "ask the server that has the canisters";
        let fail = |error: std::io::Error| Error::io(STEP, &error).on(path.display());
        let Ok(folder) = Folder::open(path) else {
            return Ok(None);
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(fail)?;
        let remote = Self {
            path: path.to_owned(),
            folder,
            runtime,
        };
        let connected = remote
            .runtime
            .block_on(UnixStream::connect(remote.folder.socket()));
        match connected {
            Ok(stream) => {
                let own = rustix::process::geteuid().as_raw();
                let peer = stream.peer_cred().map_err(fail)?.uid();
                if peer != own {
                    let why =
                        format!("it is user {peer} who listens there, and this is user {own}");
                    return Err(Error::rule(STEP, why).on(path.display()));
                }
                Ok(Some(remote))
            }
            // What is left of one that is gone, or nothing at all.
            Err(error) if is_nobody(&error) => Ok(None),
            Err(error) => Err(fail(error)),
        }
    }

    /// It answers nothing that could be understood.
    fn lost(&self, why: impl std::fmt::Display) -> Fault {
        let why = format!("the server that has {}: {why}", self.path.display());
        Fault::new(Kind::Broken, why)
            .hint("it isn't known whether it was done; `casemate wasm status` says how it is now")
    }

    fn send(
        &self,
        request: Builder,
        body: Bytes,
        by: Instant,
    ) -> Result<(StatusCode, Bytes), Fault> {
        let request = request.header(HOST, "localhost");
        let request: Request<Body> = request
            .body(body.into())
            .map_err(|why| Fault::new(Kind::Bad, why.to_string()))?;
        let exchange = async {
            let stream = UnixStream::connect(self.folder.socket()).await?;
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
                .await
                .map_err(std::io::Error::other)?;
            let answered = async {
                let response = sender.send_request(request).await;
                let (head, body) = response.map_err(std::io::Error::other)?.into_parts();
                let body = Limited::new(body, LONGEST).collect().await;
                Ok((head.status, body.map_err(std::io::Error::other)?.to_bytes()))
            };
            // The connection works as long as somebody waits for its answer.
            let mut answered = std::pin::pin!(answered);
            tokio::select! {
                answered = &mut answered => answered,
                _ = connection => answered.await,
            }
        };
        self.runtime.block_on(async {
            let by = tokio::time::Instant::from_std(by + GRACE);
            let answered = tokio::time::timeout_at(by, exchange).await;
            let late = |_| self.lost("no answer in time");
            let answered: std::io::Result<_> = answered.map_err(late)?;
            answered.map_err(|why| self.lost(why))
        })
    }

    fn ask<T: DeserializeOwned>(
        &self,
        request: Builder,
        body: Bytes,
        by: Instant,
    ) -> Result<T, Fault> {
        let answer = self.bytes(request, body, by)?;
        serde_json::from_slice(&answer).map_err(|why| odd(&why))
    }

    fn bytes(&self, request: Builder, body: Bytes, by: Instant) -> Result<Bytes, Fault> {
        let (status, answer) = self.send(request, body, by)?;
        match status.is_success() {
            true => Ok(answer),
            false => Err(told(&answer)),
        }
    }

    fn simple<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<T, Fault> {
        self.ask(request(method, path), Bytes::new(), soon())
    }

    fn change(&self, method: Method, path: &str) -> Result<(), Fault> {
        self.bytes(request(method, path), Bytes::new(), soon())
            .map(drop)
    }

    fn candid(&self, request: Builder, body: Bytes) -> Result<Option<String>, Fault> {
        match self.bytes(request, body, soon()) {
            Ok(text) => Ok(Some(String::from_utf8_lossy(&text).into_owned())),
            Err(fault) if fault.kind == Kind::NoInterface => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    fn method(&self, kind: &str, name: &str, ask: Ask) -> Result<Outcome, Fault> {
        let path = format!("/wasm/{}/{kind}/{}", segment(name), segment(&ask.method));
        let mut request = request(Method::POST, &path)
            .header(ACCEPT, OUTCOME)
            .header(CONTENT_TYPE, "application/octet-stream");
        if let Some(key) = ask.key {
            request = request.header("idempotency-key", key);
        }
        let by = ask.deadline.unwrap_or_else(soon);
        let left = by.saturating_duration_since(Instant::now()).min(PATIENCE);
        request = request.header("casemate-deadline", left.as_millis().max(1).to_string());
        self.ask(request, ask.argument.into(), by)
    }
}

fn is_nobody(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused
    )
}

/// The fault in an answer.
fn told(answer: &[u8]) -> Fault {
    serde_json::from_slice::<Told>(answer).map_or_else(|why| odd(&why), Fault::from)
}

fn odd(why: &serde_json::Error) -> Fault {
    Fault::new(
        Kind::Broken,
        format!("the server's answer isn't what it should be: {why}"),
    )
    .hint("it may be of another version than this program: start it again")
}

fn soon() -> Instant {
    Instant::now() + PATIENCE
}

fn request(method: Method, path: &str) -> Builder {
    Request::builder().method(method).uri(path)
}

/// A name as one segment of a path.
fn segment(name: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte);
    let written = name.bytes().map(|byte| match plain(&byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    });
    written.collect()
}

fn at(name: &str, rest: &str) -> String {
    format!("/wasm/{}{rest}", segment(name))
}

impl Owner for Remote {
    fn names(&self) -> Result<Vec<String>, Fault> {
        let names: Names = self.simple(Method::GET, "/wasm")?;
        Ok(names.canisters)
    }

    fn call(&self, name: &str, ask: Ask) -> Result<Outcome, Fault> {
        self.method("call", name, ask)
    }

    fn query(&self, name: &str, ask: Ask) -> Result<Outcome, Fault> {
        self.method("query", name, ask)
    }

    fn install(&self, name: &str, how: Installation) -> Result<Outcome, Fault> {
        let (method, query) = match how.mode {
            Mode::Install => (Method::POST, ""),
            Mode::Upgrade => (Method::PUT, ""),
            Mode::Reinstall => (Method::PUT, "?mode=reinstall"),
        };
        let request = request(method, &at(name, query))
            .header(ACCEPT, OUTCOME)
            .header(ARGUMENT_LENGTH, how.argument.len())
            .header("casemate-deadline", PATIENCE.as_millis().to_string());
        let body = [&how.argument[..], &how.module].concat();
        self.ask(request, body.into(), soon())
    }

    fn start(&self, name: &str) -> Result<(), Fault> {
        self.change(Method::POST, &at(name, "/start"))
    }

    fn stop(&self, name: &str) -> Result<(), Fault> {
        self.change(Method::POST, &at(name, "/stop"))
    }

    fn remove(&self, name: &str) -> Result<(), Fault> {
        self.change(Method::DELETE, &at(name, ""))
    }

    fn status(&self, name: &str) -> Result<Status, Fault> {
        self.simple(Method::GET, &at(name, ""))
    }

    fn logs(&self, name: &str) -> Result<Vec<Line>, Fault> {
        let logs: Logs = self.simple(Method::GET, &at(name, "/logs"))?;
        Ok(logs.logs)
    }

    fn interface(&self, name: &str, method: Option<&str>) -> Result<Option<String>, Fault> {
        let method = method.map(|method| format!("?method={}", segment(method)));
        let path = at(name, &format!("/candid{}", method.unwrap_or_default()));
        self.candid(request(Method::GET, &path), Bytes::new())
    }

    fn inspect(&self, module: Bytes) -> Result<Option<String>, Fault> {
        self.candid(request(Method::POST, "/wasm/-/inspect"), module)
    }

    fn encode(&self, _: &str, _: &str, _: &Value) -> Result<Vec<u8>, Fault> {
        Err(here())
    }

    fn decode(&self, _: &str, _: &str, _: &[u8]) -> Result<Value, Fault> {
        Err(here())
    }

    fn export(&self, name: &str, archive: &mut dyn Write) -> Result<(), Fault> {
        self.download(request(Method::GET, &at(name, "/export")), archive)
    }

    fn import(&self, name: &str, archive: &mut dyn Read, _: Option<&str>) -> Result<String, Fault> {
        #[derive(Deserialize)]
        struct Made {
            canister: String,
        }
        // A refusal may not be heard by whoever is still sending.
        if self.names()?.iter().any(|taken| taken == name) {
            return Err(Fault::taken(name));
        }
        let answer = self.upload(request(Method::POST, &at(name, "/import")), archive)?;
        let made: Made = serde_json::from_slice(&answer).map_err(|why| odd(&why))?;
        Ok(made.canister)
    }

    fn replay(&self, name: &str, from: Option<u64>) -> Result<Replayed, Fault> {
        let from = from.map(|from| format!("?from={from}")).unwrap_or_default();
        let request = request(Method::POST, &at(name, &format!("/replay{from}")));
        self.ask(request, Bytes::new(), carry::by())
    }

    fn tick(&self) -> Result<(), Fault> {
        self.change(Method::POST, "/wasm/-/tick")
    }
}

/// Commands have the interface, and turn arguments into bytes themselves.
fn here() -> Fault {
    Fault::new(
        Kind::Media,
        "JSON is turned into bytes before the server is asked",
    )
}

#[cfg(test)]
mod tests {
    use super::segment;

    #[test]
    fn a_method_is_one_segment_whatever_its_name() {
        assert_eq!(segment("get_0-a.b~"), "get_0-a.b~");
        assert_eq!(segment("a/b ?#%é"), "a%2Fb%20%3F%23%25%C3%A9");
        assert_eq!(segment(".."), "..");
    }
}
