//! Signals to this process, passed on, and the size of its terminal.
//!
//! The contract knows two signals for a command: the first that comes here is TERM to it, and
//! another one KILL. With a third this process leaves the command alone.

use super::super::agent::Agent;
use super::terminal;
use casemate_core::error::{Error, Result};
use casemate_proto::process::{
    ProcessSelector, SendSignalRequest, SendSignalResponse, Signal, UpdateRequest, UpdateResponse,
};
use tokio::signal::unix::{self, SignalKind};

/// Those that end a program unless it does something about them.
pub(super) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hangup: unix::Signal,
    resize: unix::Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self> {
        let of = |kind| unix::signal(kind).map_err(|error| Error::io("wait for signals", &error));
        Ok(Self {
            interrupt: of(SignalKind::interrupt())?,
            terminate: of(SignalKind::terminate())?,
            hangup: of(SignalKind::hangup())?,
            resize: of(SignalKind::window_change())?,
        })
    }
}

/// See the module.
pub(super) struct Attendant {
    pub(super) agent: Agent,
    pub(super) tag: String,
    pub(super) tty: bool,
}

impl Attendant {
    /// Attends to them until the command is to be left alone; the exit code for that.
    pub(super) async fn attend(self, mut signals: Signals) -> u8 {
        let mut before = 0u32;
        loop {
            let signal = tokio::select! {
                _ = signals.interrupt.recv() => SignalKind::interrupt(),
                _ = signals.terminate.recv() => SignalKind::terminate(),
                _ = signals.hangup.recv() => SignalKind::hangup(),
                _ = signals.resize.recv() => {
                    self.resize().await;
                    continue;
                }
            };
            before += 1;
            match before {
                1 => send(&self.agent, &self.tag, Signal::SIGNAL_SIGTERM).await,
                2 => send(&self.agent, &self.tag, Signal::SIGNAL_SIGKILL).await,
                _ => return u8::try_from(128 + signal.as_raw_value()).unwrap_or(u8::MAX),
            }
        }
    }

    async fn resize(&self) {
        if !self.tty {
            return;
        }
        let request = UpdateRequest {
            process: tagged(&self.tag).into(),
            pty: terminal::size().into(),
            ..UpdateRequest::default()
        };
        // One that ended needs no size.
        let _ = self
            .agent
            .call::<UpdateResponse>("/process.Process/Update", &request)
            .await;
    }
}

/// Sends a signal to the command, if it still runs.
pub(super) async fn send(agent: &Agent, tag: &str, signal: Signal) {
    let request = SendSignalRequest {
        process: tagged(tag).into(),
        signal: signal.into(),
        ..SendSignalRequest::default()
    };
    let sent = agent
        .call::<SendSignalResponse>("/process.Process/SendSignal", &request)
        .await;
    if let Err(failed) = sent
        && failed.is_lost()
    {
        crate::printer::note("the server can't be reached, so the signal is lost");
    }
}

/// The process with this tag.
pub(super) fn tagged(tag: &str) -> ProcessSelector {
    ProcessSelector {
        selector: Some(casemate_proto::oneof::Selector::Tag(tag.to_owned())),
        ..ProcessSelector::default()
    }
}
