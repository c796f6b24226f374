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

/// A part of a connection, or all of it.
pub(super) struct Span {
    trace: [u8; 16],
    id: u64,
    parent: Option<u64>,
    name: &'static str,
    /// Nanoseconds since 1970.
    start: u64,
    end: u64,
    attributes: Vec<(&'static str, Value)>,
    error: bool,
}

/// Of an attribute.
pub(super) enum Value {
    Text(String),
    Number(u64),
}

impl Spans {
    /// Sends them to the collector at this URL, to which `v1/traces` is added.
    ///
    /// # Errors
    /// It's not a URL of http or https.
    pub fn to_collector(url: &str, sandbox: Option<String>) -> Result<Self> {
        let collector = Collector::new(url, sandbox)?;
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

    fn send(&self, span: Span) {
        if self.put(Message::Span(Box::new(span))).is_err() {
            self.0.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits for a little until those that are on their way have arrived; how many never will.
    pub(super) fn flush(&self) -> u64 {
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
