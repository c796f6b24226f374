//! How a sandbox is made: a folder, a keeper that says when it is up, an agent that is told who
//! may use it. What was done is undone if a later step fails.

use super::Local;
use super::kept::Kept;
use crate::folder::{AGENT, Folder, LAUNCH};
use crate::keeper::launch::USER;
use crate::keeper::{Launch, READY};
use bytes::Bytes;
use casemate_core::error::{Error, Result};
use casemate_core::node::Refusal;
use casemate_core::sandbox::{SandboxId, Wish};
use casemate_sys::channel::connect_stream;
use http::{Method, Request, StatusCode, header};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustix::fd::{AsFd, OwnedFd};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::json;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::process::Command;

/// How long a sandbox may take to come up.
const PATIENCE: Duration = Duration::from_secs(20);
/// The template that is always there.
const BASE: &str = "base";

/// A keeper that is being started; dropped, it is killed and its folder removed.
struct Draft {
    folder: Folder,
    process: Option<OwnedFd>,
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(process) = &self.process {
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
        if !self.folder.path().as_os_str().is_empty() {
            self.folder.remove();
        }
    }
}

impl Local {
    /// Makes a sandbox.
    pub(super) async fn start(
        self: &Arc<Self>,
        id: &SandboxId,
        wish: &Wish,
    ) -> Result<(), Refusal> {
        if wish.template != BASE {
            return Err(Refusal::NoTemplate(wish.template.clone()));
        }
        let outside = self.ids.take();
        match tokio::time::timeout(PATIENCE, self.try_start(id, wish, outside)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                self.ids.give_back(outside);
                Err(error.into())
            }
            Err(_) => {
                self.ids.give_back(outside);
                Err(Refusal::Slow(PATIENCE))
            }
        }
    }

    async fn try_start(
        self: &Arc<Self>,
        id: &SandboxId,
        wish: &Wish,
        outside: Option<u32>,
    ) -> Result<()> {
        let launch = Launch {
            id: id.clone(),
            wish: wish.clone(),
            outside,
            root: self.settings.root.clone(),
        };
        let folder = self.folders.of(id);
        folder.create()?;
        let mut draft = Draft {
            folder: folder.clone(),
            process: None,
        };
        folder.write(LAUNCH, &launch)?;
        let fail = |error: &std::io::Error| Error::io("start a sandbox's keeper", error).on(id);
        let mut keeper = Command::new(&self.settings.program)
            .arg("keep")
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(folder.log()?)
            .spawn()
            .map_err(|error| fail(&error))?;
        let pid = keeper.id().and_then(|pid| Pid::from_raw(pid as i32));
        // It is a child that nobody has reaped, so its id is its own.
        let process = pid
            .ok_or(rustix::io::Errno::SRCH)
            .and_then(|pid| pidfd_open(pid, PidfdFlags::NONBLOCK));
        draft.process = Some(process.map_err(|errno| fail(&errno.into()))?);
        let mut line = Vec::new();
        if let Some(out) = &mut keeper.stdout {
            let mut out = out.take(64);
            out.read_to_end(&mut line)
                .await
                .map_err(|error| fail(&error))?;
        }
        if line != READY {
            let why = folder.last_words();
            return Err(Error::rule("start a sandbox", why).on(id));
        }
        introduce(&folder, wish).await?;
        let Some(process) = draft.process.take() else {
            return Err(Error::rule("start a sandbox", "its keeper is gone").on(id));
        };
        let kept = Arc::new(Kept::hold(id.clone(), folder, process, outside)?);
        // From here on, the end of the keeper is what cleans up.
        draft.folder = Folder::at(std::path::Path::new(""));
        self.table().insert(id.clone(), Arc::clone(&kept));
        tokio::spawn(kept.watch(Arc::clone(self)));
        Ok(())
    }
}

/// Tells the agent who may use it, and what every program gets. It answers as soon as it lives: its
/// socket was there before it was.
async fn introduce(folder: &Folder, wish: &Wish) -> Result<()> {
    let step = "tell the sandbox's agent who may use it";
    let fail = |error: std::io::Error| Error::io(step, &error);
    let other = |error: hyper::Error| Error::rule(step, error.to_string());
    let place = folder.open()?;
    let socket = connect_stream(place.as_fd(), AGENT)
        .map_err(|errno| Error::errno(step, errno.raw_os_error()))?;
    let stream = UnixStream::from_std(socket.into()).map_err(fail)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(other)?;
    let driven = tokio::spawn(connection);
    let body = json!({
        "accessToken": wish.access_token,
        "envVars": wish.environment,
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
        status => Err(Error::rule(step, format!("it answered {status}"))),
    }
}
