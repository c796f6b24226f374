//! Something that happened, before it's written in any form.

use std::net::SocketAddr;

use super::ocsf::{HttpRequest, Kind};
use super::process::Process;

/// How much somebody should care.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As planned.
    #[default]
    Informational,
    /// Unusual.
    Low,
    /// To be looked at.
    Medium,
    /// To be looked at soon.
    High,
    /// The wall may be broken.
    Critical,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// It was allowed.
    #[default]
    Allowed,
    /// It was refused.
    Denied,
    /// It would have been refused, but its rule is only audited.
    Audited,
    /// It was allowed and failed by itself.
    Failed,
}

/// One event. The fields are public, the methods are the usual ways to fill them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What it is about.
    pub kind: Kind,
    /// Milliseconds since 1970.
    pub time: u64,
    /// How much somebody should care.
    pub severity: Severity,
    /// What came of it.
    pub outcome: Outcome,
    /// The sandbox or run that it belongs to.
    pub sandbox: Option<String>,
    /// In a sentence.
    pub message: Option<String>,
    /// Why, in a sentence.
    pub reason: Option<String>,
    /// The policy that was decisive.
    pub policy: Option<String>,
    /// The rule of it that was decisive.
    pub rule: Option<String>,
    /// Which part of the program decided: `policy`, `ssrf`, `l7`, `tls`, `credentials`, …
    pub engine: Option<&'static str>,
    /// The program that did it.
    pub process: Option<Process>,
    /// Where it comes from.
    pub source: Option<SocketAddr>,
    /// The host that was asked for, and its port.
    pub destination: Option<(String, u16)>,
    /// The address that was dialled.
    pub dialled: Option<SocketAddr>,
    /// Bytes from the sandbox and to it.
    pub traffic: Option<(u64, u64)>,
    /// The request, if it's HTTP.
    pub request: Option<HttpRequest>,
    /// The status of the response.
    pub status_code: Option<u16>,
}

impl Event {
    /// An event of this kind at this time, allowed and informational.
    pub fn new(kind: Kind, time: u64) -> Self {
        Self {
            kind,
            time,
            severity: Severity::default(),
            outcome: Outcome::default(),
            sandbox: None,
            message: None,
            reason: None,
            policy: None,
            rule: None,
            engine: None,
            process: None,
            source: None,
            destination: None,
            dialled: None,
            traffic: None,
            request: None,
            status_code: None,
        }
    }

    /// What came of it, why, and who decided.
    pub fn decided(
        mut self,
        outcome: Outcome,
        engine: &'static str,
        reason: impl Into<String>,
    ) -> Self {
        self.outcome = outcome;
        self.engine = Some(engine);
        self.reason = Some(reason.into()).filter(|reason| !reason.is_empty());
        if outcome == Outcome::Denied {
            self.severity = self.severity.max(Severity::Medium);
        }
        self
    }

    /// How much somebody should care.
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }

    /// The policy that was decisive.
    pub fn policy(mut self, policy: impl Into<String>) -> Self {
        self.policy = Some(policy.into());
        self
    }

    /// The sandbox or run that it belongs to.
    pub fn sandbox(mut self, sandbox: impl Into<String>) -> Self {
        self.sandbox = Some(sandbox.into());
        self
    }

    /// The program that did it.
    pub fn process(mut self, process: Process) -> Self {
        self.process = Some(process);
        self
    }

    /// The host that was asked for, and its port.
    pub fn to(mut self, host: impl Into<String>, port: u16) -> Self {
        self.destination = Some((host.into(), port));
        self
    }

    /// In a sentence.
    pub fn message(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into());
        self
    }
}
