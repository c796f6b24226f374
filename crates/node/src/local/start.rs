//! How a sandbox is made: a folder, a keeper that says when it is up, an agent that is told who
//! may use it. What was done is undone if a later step fails.

use super::Local;
use super::kept::{Kept, reach, reap};
use crate::folder::{AGENT, Folder, LAUNCH, OWNED};
use crate::keeper::launch::USER;
use crate::keeper::wire::{self, Answer, Ask};
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
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, OwnedFd};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde_json::json;
use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

/// How long a sandbox may take to come up.
const PATIENCE: Duration = Duration::from_secs(20);
/// The template that is always there.
const BASE: &str = "base";

/// A sandbox that is up and nobody's yet; dropped, it is ended and its folder removed.
pub(super) struct Draft {
    launch: Launch,
    folder: Folder,
    process: Option<OwnedFd>,
    local: Arc<Local>,
}

impl Drop for Draft {
    fn drop(&mut self) {
        let Some(process) = self.process.take() else {
            // It belongs to somebody, or never came to be.
            return;
        };
        let _ = pidfd_send_signal(&process, Signal::KILL);
        let (folder, local, outside) = (
            self.folder.clone(),
            Arc::clone(&self.local),
            self.launch.outside,
        );
        let reap = move || {
            reap(&process);
            folder.remove();
            local.ids.give_back(outside);
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(reap)),
            Err(_) => reap(),
        }
    }
}

impl Draft {
    /// Whether somebody with this wish can have it: what can still be changed is where it may
    /// connect to.
    pub(super) fn suits(&self, wish: &Wish) -> bool {
        let own = &self.launch.wish;
        own.template == wish.template && own.resources == wish.resources
    }

    /// Ends it, and waits until nothing of it is left.
    pub(super) async fn end(mut self) {
        let Some(process) = self.process.take() else {
            return;
        };
        let _ = pidfd_send_signal(&process, Signal::KILL);
        let _ = tokio::task::spawn_blocking(move || reap(&process)).await;
        self.folder.remove();
        self.local.ids.give_back(self.launch.outside);
    }

    /// Whether it still runs.
    pub(super) fn lives(&self) -> bool {
        let Some(process) = &self.process else {
            return false;
        };
        let mut fds = [PollFd::new(process, PollFlags::IN)];
        let now = Timespec::default();
        rustix::event::poll(&mut fds, Some(&now)) == Ok(0)
    }
}

impl Local {
    /// Makes a sandbox, or gives one away that is up already.
    pub(super) async fn start(
        self: &Arc<Self>,
        id: &SandboxId,
        wish: &Wish,
    ) -> Result<(), Refusal> {
        if wish.template != BASE {
            return Err(Refusal::NoTemplate(wish.template.clone()));
        }
        self.check(&wish.network)?;
        let started = async {
            let draft = match self.pool.take(wish) {
                Some(draft) => draft,
                None => self.prepare(id, wish).await?,
            };
            self.settle(draft, id, wish).await
        };
        let result = tokio::time::timeout(PATIENCE, started).await;
        self.pool.used(self, wish);
        match result {
            Ok(result) => result.map_err(Refusal::Failed),
            Err(_) => Err(Refusal::Slow(PATIENCE)),
        }
    }

    /// Starts a keeper, and waits until its sandbox is up.
    pub(super) async fn prepare(self: &Arc<Self>, id: &SandboxId, wish: &Wish) -> Result<Draft> {
        let launch = Launch {
            id: id.clone(),
            wish: wish.clone(),
            outside: self.ids.take(),
            root: self.settings.root.clone(),
            reach: self.settings.reach.clone(),
        };
        let outside = launch.outside;
        let drafted = self.try_prepare(launch).await;
        if drafted.is_err() {
            self.ids.give_back(outside);
        }
        drafted
    }

    async fn try_prepare(self: &Arc<Self>, launch: Launch) -> Result<Draft> {
        let id = &launch.id;
        let folder = self.folders.of(id);
        folder.create()?;
        let spawned = folder
            .write(LAUNCH, &launch)
            .and_then(|()| self.spawn(&folder))
            .map_err(|error| error.on(id));
        let (mut keeper, process) = match spawned {
            Ok(spawned) => spawned,
            Err(error) => {
                folder.remove();
                return Err(error);
            }
        };
        let draft = Draft {
            launch,
            folder,
            process: Some(process),
            local: Arc::clone(self),
        };
        let mut line = Vec::new();
        if let Some(out) = &mut keeper.stdout {
            let read = out.take(READY.len() as u64).read_to_end(&mut line).await;
            read.map_err(|error| Error::io("wait for a sandbox's keeper", &error))?;
        }
        if line != READY {
            let why = draft.folder.last_words();
            return Err(Error::rule("start a sandbox", why).on(&draft.launch.id));
        }
        Ok(draft)
    }

    fn spawn(&self, folder: &Folder) -> Result<(Child, OwnedFd)> {
        let fail = |error: &std::io::Error| Error::io("start a sandbox's keeper", error);
        let keeper = Command::new(&self.settings.program)
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
            .and_then(|pid| pidfd_open(pid, PidfdFlags::NONBLOCK))
            .map_err(|errno| fail(&errno.into()))?;
        Ok((keeper, process))
    }

    /// Gives a sandbox to somebody.
    async fn settle(self: &Arc<Self>, mut draft: Draft, id: &SandboxId, wish: &Wish) -> Result<()> {
        let folder = self.folders.of(id);
        if draft.launch.id != *id {
            let launch = Launch {
                id: id.clone(),
                wish: wish.clone(),
                ..draft.launch.clone()
            };
            draft.folder.write(LAUNCH, &launch)?;
            draft.folder.rename(&folder)?;
            draft.folder = folder.clone();
        }
        if draft.launch.wish.network != wish.network {
            let place = folder.open()?;
            let channel = reach(&place).map_err(|error| error.on(id))?;
            let ask = Ask::Restrict(wish.network.clone());
            let asked = tokio::task::spawn_blocking(move || wire::ask(&channel, &ask)).await;
            let answer =
                asked.map_err(|error| Error::rule("ask a keeper", error.to_string()))??;
            if let Answer::Failed(why) = answer.0 {
                return Err(Error::rule("say where a sandbox may connect to", why).on(id));
            }
        }
        introduce(&folder, id, wish).await?;
        let process = draft.process.as_ref().map(OwnedFd::try_clone);
        let Some(Ok(process)) = process else {
            return Err(Error::rule("start a sandbox", "its keeper is gone").on(id));
        };
        let outside = draft.launch.outside;
        let kept = Kept::hold(id.clone(), folder.clone(), process, outside)?;
        folder.write(OWNED, id)?;
        draft.process = None;
        let kept = Arc::new(kept);
        self.table().insert(id.clone(), Arc::clone(&kept));
        // From here on, the end of the keeper is what cleans up.
        tokio::spawn(kept.watch(Arc::clone(self)));
        Ok(())
    }
}

/// Tells the agent who may use it, and what every program gets. It answers as soon as it lives: its
/// socket was there before it was.
async fn introduce(folder: &Folder, id: &SandboxId, wish: &Wish) -> Result<()> {
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
    // What programs in E2B's sandboxes find; a client's own variables win.
    let known = [
        ("E2B_SANDBOX", "true"),
        ("E2B_SANDBOX_ID", id.as_str()),
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
        status => Err(Error::rule(step, format!("it answered {status}"))),
    }
}
