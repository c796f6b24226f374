//! How long the parts of a connection take, for whoever wants to know.
//!
//! Nobody asks by default, and then a phase costs one comparison. Otherwise it goes into the
//! histograms of [`metrics`](super::metrics), into the [`perf`](super::perf) log, into
//! [`spans`](super::spans), or several of these.

use super::metrics::Metrics;
use super::perf::PerfLog;
use super::spans::{self, Spans};
use casemate_identity::{Identifier, Work};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A part of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// From a socket to the process that holds it.
    SocketToPid,
    /// From the process to its identity.
    PeerIdentity,
    /// A part of that: digests of executables, and whether they are trusted.
    VerifyOrCache,
    /// A part of that: reading executables that weren't known.
    Hashing,
    /// The policy's answer.
    PolicyEvaluation,
    /// From the arrival of a connection, or of its request to the proxy, to the decision.
    EvaluationTotal,
    /// Resolving a name.
    Dns,
    /// Connecting to the other side.
    Connect,
    /// Shaking hands, or, where TLS is only relayed, judging the program's first message.
    Tls,
    /// What the executor's timer was late by, at most, in a tenth of a second.
    Heartbeat,
}

impl Phase {
    /// Its name in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::SocketToPid => "socket_to_pid",
            Self::PeerIdentity => "peer_identity",
            Self::VerifyOrCache => "verify_or_cache",
            Self::Hashing => "hashing",
            Self::PolicyEvaluation => "policy_evaluation",
            Self::EvaluationTotal => "evaluation_total",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Heartbeat => "heartbeat",
        }
    }
}

impl From<Work> for Phase {
    fn from(work: Work) -> Self {
        match work {
            Work::Verifying => Self::VerifyOrCache,
            Work::Hashing => Self::Hashing,
        }
    }
}

/// Who wants to know.
#[derive(Clone, Default)]
pub struct Phases(Option<Arc<Listeners>>);

struct Listeners {
    log: Option<PerfLog>,
    metrics: Option<Metrics>,
    spans: Option<Spans>,
}

impl Phases {
    /// Tells those that are there.
    pub fn new(log: Option<PerfLog>, metrics: Option<Metrics>, spans: Option<Spans>) -> Self {
        let asked = log.is_some() || metrics.is_some() || spans.is_some();
        Self(asked.then(|| {
            Arc::new(Listeners {
                log,
                metrics,
                spans,
            })
        }))
    }

    /// The identifier, made to tell its phases if anybody asks.
    #[must_use]
    pub fn timing(&self, identifier: Identifier) -> Identifier {
        if self.0.is_none() {
            return identifier;
        }
        let phases = self.clone();
        identifier.timed(move |work, time| phases.took(work.into(), time))
    }

    /// When a phase begins; none if nobody asks.
    pub fn begin(&self) -> Option<Instant> {
        self.0.is_some().then(Instant::now)
    }

    /// A phase has ended that began then.
    pub fn end(&self, phase: Phase, begun: Option<Instant>) {
        if let Some(begun) = begun {
            self.took(phase, begun.elapsed());
        }
    }

    /// A phase took this long.
    pub fn took(&self, phase: Phase, time: Duration) {
        let Some(listeners) = &self.0 else { return };
        if let Some(log) = &listeners.log {
            log.write(phase, time);
        }
        if let Some(metrics) = &listeners.metrics {
            metrics.took(phase, time);
        }
        if listeners.spans.is_some() {
            spans::took(phase, time);
        }
    }

    /// Whether there is a perf log.
    pub(super) fn are_logged(&self) -> bool {
        self.0.as_ref().is_some_and(|own| own.log.is_some())
    }

    pub(super) fn spans(&self) -> Option<&Spans> {
        self.0.as_ref()?.spans.as_ref()
    }

    pub(super) fn metrics(&self) -> Option<&Metrics> {
        self.0.as_ref()?.metrics.as_ref()
    }
}
