//! Spans for OpenTelemetry: one of each connection, and in it one of each part and each request.
//!
//! ```text
//!  phases ──┐                  ┌─ bounded ─┐
//!           ├─▶ trace ── span ─┤   queue   ├─▶ export ── OTLP/HTTP, JSON ──▶ collector
//!  journal ─┘                  └─ or lost ─┘
//! ```
//!
//! Off unless somebody asks, and then it holds up nobody: what the queue has no room for is lost
//! and counted. Attributes say who, where and what came of it: no path, query, header or argument
//! of anything, since those may be secret.
//!
//! - [`trace`]: which connection it is that something is a part of; [`before`]: what was done for
//!   it before it arrived
//! - [`otlp`]: the form; [`export`]: the way out

mod before;
mod export;
mod otlp;
mod trace;

pub(super) use before::{Done, collected};
pub(super) use trace::{carried, earlier, note, request, serving, spawn, status, took, whole};

use casemate_core::error::{Error, Result};
use export::{Collector, Message};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Spans on their way out.
const ON_THE_WAY: usize = 4096;
/// For the last ones.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where spans go.
#[derive(Clone)]
pub struct Spans(Arc<Queue>);

struct Queue {
    messages: Mutex<SyncSender<Message>>,
    lost: Arc<AtomicU64>,
}

/// A part of something, or all of it.
pub struct Span {
    /// What it belongs to.
    pub trace: [u8; 16],
    /// Its own id: not 0.
    pub id: u64,
    /// What it's a part of.
    pub parent: Option<u64>,
    /// The kind of work.
    pub name: &'static str,
    /// Whose work it is.
    pub side: Side,
    /// Nanoseconds since 1970.
    pub start: u64,
    /// Likewise.
    pub end: u64,
    /// What is known of it.
    pub attributes: Vec<(&'static str, Value)>,
    /// It failed, or was refused.
    pub error: bool,
}

/// Whose work a span is (`SpanKind`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// A part of a larger one.
    Internal,
    /// Somebody asks for it.
    Server,
    /// Somebody else is asked for it.
    Client,
}

/// Of an attribute.
pub enum Value {
    /// A string.
    Text(String),
    /// A count.
    Number(u64),
}

/// A new trace, and the id of a span in it.
pub fn identity() -> Option<([u8; 16], u64)> {
    let mut random = [0u8; 24];
    aws_lc_rs::rand::fill(&mut random).ok()?;
    let (trace, own) = random.split_first_chunk()?;
    // Never 0, which is none.
    Some((*trace, u64::from_ne_bytes(own.try_into().ok()?) | 1))
}

impl Spans {
    /// Sends those of a sandbox's connections to the collector at this URL, to which `v1/traces` is
    /// added.
    ///
    /// # Errors
    /// It's not a URL of http or https.
    pub fn to_collector(url: &str, sandbox: Option<String>) -> Result<Self> {
        Self::of("casemate.egress", url, sandbox)
    }

    /// The same for spans of another part of the program.
    ///
    /// # Errors
    /// It's not a URL of http or https.
    pub fn of(scope: &'static str, url: &str, sandbox: Option<String>) -> Result<Self> {
        let collector = Collector::new(scope, url, sandbox)?;
        let (sender, messages) = sync_channel(ON_THE_WAY);
        let lost: Arc<AtomicU64> = Arc::default();
        let counted = Arc::clone(&lost);
        std::thread::Builder::new()
            .name("spans".to_owned())
            .spawn(move || export::run(&collector, &messages, &counted))
            .map_err(|error| Error::io("start a thread that sends spans", &error))?;
        let messages = Mutex::new(sender);
        Ok(Self(Arc::new(Queue { messages, lost })))
    }

    /// How many were lost so far.
    pub(super) fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }

    /// Puts one on its way; it never waits.
    pub fn send(&self, span: Span) {
        if self.put(Message::Span(Box::new(span))).is_err() {
            self.0.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits for a little until those that are on their way have arrived; how many never will.
    pub fn flush(&self) -> u64 {
        let (done, arrived) = sync_channel(1);
        if self.put(Message::Flush(done)).is_ok() {
            let _ = arrived.recv_timeout(PATIENCE);
        }
        self.lost()
    }

    fn put(&self, message: Message) -> std::result::Result<(), ()> {
        let messages = self.0.messages.lock();
        let messages = messages.unwrap_or_else(PoisonError::into_inner);
        messages.try_send(message).map_err(|_| ())
    }
}
