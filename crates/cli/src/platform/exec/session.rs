//! A command in a sandbox, from its start to its end, over as many connections as it takes.

use super::super::agent::{Agent, Stream};
use super::super::http::Failed;
use super::super::server::Server;
use super::attendant::{send, tagged};
use casemate_core::error::{Error, Result};
use casemate_core::exit::{FAILED, Failure, NOT_EXECUTABLE, NOT_FOUND};
use casemate_proto::oneof::Event;
use casemate_proto::process::{
    ConnectRequest, ConnectResponse, Signal, StartRequest, StartResponse,
};
use serde_json::Value;
use std::pin::Pin;
use std::time::{Duration, Instant};

const STEP: &str = "run a command in a sandbox";
/// Asks for output from this piece on, and how many of those asked for are gone.
const REPLAY: &str = "casemate-replay-from";
const LOST: &str = "casemate-lost";

/// See the module.
pub(super) struct Session<'a> {
    /// Who knows whether the sandbox lives; `None` if nobody is between it and this program.
    server: Option<&'a Server>,
    agent: Agent,
    /// A name that nothing else has: unlike a number, it is known before the command is.
    pub(super) tag: String,
    /// Its number in the sandbox.
    pub(super) pid: u32,
    stream: Stream,
    /// Pieces of output that were read.
    seen: u64,
    /// The stream is one that was attached, whose messages have another type.
    attached: bool,
}

impl<'a> Session<'a> {
    /// Starts a command.
    pub(super) async fn start(
        server: Option<&'a Server>,
        agent: Agent,
        order: impl FnOnce(String) -> StartRequest,
    ) -> Result<Self, Failure> {
        let tag = tag()?;
        let request = order(tag.clone());
        let explain = |failed| explain(failed, &agent);
        let begun = agent.follow("/process.Process/Start", &request, &[]).await;
        let mut stream = begun.map_err(explain)?;
        let first = stream.next::<StartResponse>().await.map_err(explain)?;
        let first = first.and_then(|first| first.event.into_option()?.event);
        let Some(Event::Start(start)) = first else {
            return Err(Error::rule(STEP, "the agent didn't say that it began").into());
        };
        Ok(Self {
            server,
            agent,
            tag,
            pid: start.pid,
            stream,
            seen: 0,
            attached: false,
        })
    }

    /// What happens next, while its input is fed to it, as long as there is any.
    pub(super) async fn next_while<F>(&mut self, feeding: &mut Option<Pin<&mut F>>) -> Result<Event>
    where
        F: Future<Output = Result<()>>,
    {
        while let Some(input) = feeding {
            tokio::select! {
                biased;
                event = self.next() => return event,
                fed = input.as_mut() => {
                    *feeding = None;
                    fed?;
                }
            }
        }
        self.next().await
    }

    /// What happens next. Nothing is lost if this is given up.
    async fn next(&mut self) -> Result<Event> {
        loop {
            let event =
                match self.attached {
                    false => self.stream.next::<StartResponse>().await.map(|message| {
                        message.and_then(|message| message.event.into_option()?.event)
                    }),
                    true => self.stream.next::<ConnectResponse>().await.map(|message| {
                        message.and_then(|message| message.event.into_option()?.event)
                    }),
                };
            match event {
                Ok(Some(event)) => {
                    let output = u64::from(matches!(event, Event::Data(_)));
                    self.seen = self.seen.saturating_add(output);
                    return Ok(event);
                }
                Ok(None) => return Err(Error::rule(STEP, "its output ended before it did")),
                Err(failed) if failed.is_lost() => self.attach(failed).await?,
                Err(failed) => return Err(failed.during(STEP, &self.agent.id)),
            }
        }
    }

    /// Follows it anew, from where it was left.
    async fn attach(&mut self, why: Failed) -> Result<()> {
        let Some(server) = self.server else {
            return Err(why.during("follow a command in a sandbox", &self.agent.id));
        };
        let mut patience = Patience::new();
        let mut failed = why;
        loop {
            patience.wait(failed).await?;
            // The sandbox may have ended, which is no reason to wait.
            let path = format!("/sandboxes/{}", self.agent.id);
            failed = match server.get::<Value>(&path).await {
                Ok(_) => match self.try_attach().await {
                    Ok(()) => return Ok(()),
                    Err(failed) => failed,
                },
                Err(failed) => failed,
            };
            if !failed.is_lost() && !failed.is_unavailable() {
                return Err(failed.during("follow a command in a sandbox", &self.agent.id));
            }
        }
    }

    async fn try_attach(&mut self) -> Result<(), Failed> {
        let request = ConnectRequest {
            process: tagged(&self.tag).into(),
            ..ConnectRequest::default()
        };
        let from = [(REPLAY, self.seen.to_string())];
        let mut stream = self
            .agent
            .follow("/process.Process/Connect", &request, &from)
            .await?;
        // What is refused is so in its first message.
        let first = stream.next::<ConnectResponse>().await?;
        drop(first);
        let lost = stream.headers.get(LOST).and_then(|lost| lost.to_str().ok());
        if let Some(lost) = lost.and_then(|lost| lost.parse::<u64>().ok()) {
            crate::printer::note(&format!("{lost} pieces of its output are lost"));
            self.seen = self.seen.saturating_add(lost);
        }
        self.stream = stream;
        self.attached = true;
        Ok(())
    }

    /// Ends it: nobody wants what it prints.
    pub(super) async fn terminate(&self) {
        send(&self.agent, &self.tag, Signal::SIGNAL_SIGTERM).await;
    }
}

/// Waits between tries to reach a server that is away, with a bound for all of them.
pub(super) struct Patience {
    since: Instant,
    pause: Duration,
}

impl Patience {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(1);
    /// A restart of the server takes far less.
    const ALL: Duration = Duration::from_secs(60);

    pub(super) fn new() -> Self {
        Self {
            since: Instant::now(),
            pause: Self::FIRST,
        }
    }

    /// Waits; what failed is the error if that has been tried for long enough.
    pub(super) async fn wait(&mut self, failed: Failed) -> Result<()> {
        if self.since.elapsed() >= Self::ALL {
            let error = failed.during("reach the server again", "");
            return Err(error.hint("the command may still run in the sandbox"));
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(Self::LONGEST);
        Ok(())
    }
}

fn tag() -> Result<String> {
    let mut random = [0; 16];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| Error::errno("read random bytes", errno.raw_os_error()))?;
    Ok(format!(
        "casemate-exec-{}",
        casemate_core::hex::encode(&random)
    ))
}

/// Why it didn't start. The agent's words end with what execve(2) said.
fn explain(failed: Failed, agent: &Agent) -> Failure {
    let code = match &failed {
        Failed::Refused { message, .. } if message.starts_with("error starting process") => {
            match message.ends_with("(os error 2)") {
                true => NOT_FOUND,
                false => NOT_EXECUTABLE,
            }
        }
        _ => FAILED,
    };
    Failure {
        code,
        error: failed.during(STEP, &agent.id),
    }
}
