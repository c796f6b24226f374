//! The connection that is served by the current task.

use super::before::{self, Done, now};
use super::{Side, Span, Spans, Value, identity};
use crate::audit::ocsf::Kind;
use crate::audit::{Event, Outcome};
use crate::proxy::phases::{Phase, Phases};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

tokio::task_local! {
    static TRACE: Trace;
    static REQUEST: Arc<Mutex<Request>>;
}

/// A connection. Its own span ends with the last copy of this.
#[derive(Clone)]
struct Trace(Arc<Live>);

struct Live {
    spans: Spans,
    id: [u8; 16],
    /// The id of its own span; the others' follow.
    own: u64,
    more: AtomicU64,
    facts: Mutex<Facts>,
}

/// What its own span tells.
struct Facts {
    start: u64,
    program: Option<String>,
    pid: Option<u32>,
    place: Option<(String, u16)>,
    entry: Option<String>,
    decided: Option<(Outcome, Option<&'static str>)>,
    traffic: Option<(u64, u64)>,
    /// The last one, where they come one after the other.
    request: Option<Arc<Mutex<Request>>>,
}

/// See [`serving`].
pub(in crate::proxy) struct Serving {
    trace: Trace,
    request: Arc<Mutex<Request>>,
    /// Nanoseconds since 1970.
    start: u64,
}

/// A request that is being served.
#[derive(Default)]
struct Request {
    method: Option<String>,
    decided: Option<(Outcome, Option<&'static str>)>,
    status: Option<u16>,
}

/// Spawns the task that serves a connection.
pub(in crate::proxy) fn spawn(phases: &Phases, task: impl Future<Output = ()> + Send + 'static) {
    match phases.spans().and_then(Trace::new) {
        Some(trace) => tokio::spawn(TRACE.scope(trace, Box::pin(task))),
        None => tokio::spawn(task),
    };
}

/// Tells of a connection that is no longer served here.
pub(in crate::proxy) fn whole(phases: &Phases, done: &[Done], write_down: impl FnOnce()) {
    match phases.spans().and_then(Trace::new) {
        Some(trace) => TRACE.sync_scope(trace, || {
            earlier(done);
            write_down();
        }),
        None => write_down(),
    }
}

/// Serves the same connection in another task.
pub(in crate::proxy) fn carried<F: Future + Send + 'static>(
    task: F,
) -> Pin<Box<dyn Future<Output = F::Output> + Send>> {
    match TRACE.try_with(Clone::clone) {
        Ok(trace) => Box::pin(TRACE.scope(trace, task)),
        Err(_) => Box::pin(task),
    }
}

/// A phase of it has ended.
pub(in crate::proxy) fn took(phase: Phase, time: Duration) {
    let Some(done) = Done::now(phase, time) else {
        return;
    };
    if !before::keep(&done) {
        let _ = TRACE.try_with(|trace| trace.part(&done));
    }
}

/// These belong to it.
pub(in crate::proxy) fn earlier(done: &[Done]) {
    if done.is_empty() {
        return;
    }
    let _ = TRACE.try_with(|trace| {
        done.iter().for_each(|own| trace.part(own));
        let first = done.iter().map(|own| own.start).min();
        let mut facts = trace.0.facts();
        facts.start = facts.start.min(first.unwrap_or(u64::MAX));
    });
}

/// Something was written down about it.
pub(in crate::proxy) fn note(event: &Event) {
    let decided = (event.outcome, event.engine);
    let about_request = matches!(event.kind, Kind::Http(_))
        && tell(|own| {
            own.method = event.request.as_ref().map(|own| own.method.clone());
            own.decided = Some(decided);
        });
    let _ = TRACE.try_with(|trace| {
        let mut facts = trace.0.facts();
        if let Some(process) = &event.process {
            facts.program = Some(process.path.display().to_string());
            facts.pid = process.pid;
        }
        facts.place = event.destination.clone().or(facts.place.take());
        facts.entry = event.policy.clone().or(facts.entry.take());
        facts.traffic = event.traffic.or(facts.traffic);
        // The end tells nothing new.
        if !about_request && event.traffic.is_none() {
            facts.decided = Some(decided);
        }
    });
}

/// Serves a request of it that others are served beside.
pub(in crate::proxy) fn request<'a, F: Future + Send + 'a>(
    serve: F,
) -> Pin<Box<dyn Future<Output = F::Output> + Send + 'a>> {
    let Some(serving) = serving() else {
        return Box::pin(serve);
    };
    Box::pin(REQUEST.scope(Arc::clone(&serving.request), async move {
        let _serving = serving;
        serve.await
    }))
}

/// Serves a request of it, and no other meanwhile, until this is dropped. None if nobody asks.
pub(in crate::proxy) fn serving() -> Option<Serving> {
    let trace = TRACE.try_with(Clone::clone).ok()?;
    let request = Arc::<Mutex<Request>>::default();
    trace.0.facts().request = Some(Arc::clone(&request));
    let start = now();
    Some(Serving {
        trace,
        request,
        start,
    })
}

impl Drop for Serving {
    fn drop(&mut self) {
        let request = self.request.lock().unwrap_or_else(PoisonError::into_inner);
        let mut attributes = Vec::new();
        push(&mut attributes, "http.request.method", &request.method);
        if let Some(status) = request.status {
            let status = Value::Number(status.into());
            attributes.push(("http.response.status_code", status));
        }
        let error = decision(request.decided, &mut attributes);
        let times = (self.start, now());
        self.trace.child("request", times, attributes, error);
    }
}

/// It's answered with this.
pub(in crate::proxy) fn status(status: u16) {
    tell(|own| own.status = Some(status));
}

/// Changes what is known of the request that is served; false if none is.
fn tell(change: impl FnOnce(&mut Request)) -> bool {
    let alone = || TRACE.try_with(|trace| trace.0.facts().request.clone());
    let request = REQUEST.try_with(Arc::clone).ok();
    let Some(request) = request.or_else(|| alone().ok().flatten()) else {
        return false;
    };
    change(&mut request.lock().unwrap_or_else(PoisonError::into_inner));
    true
}

impl Trace {
    fn new(spans: &Spans) -> Option<Self> {
        let (id, own) = identity()?;
        let facts = Facts {
            start: now(),
            program: None,
            pid: None,
            place: None,
            entry: None,
            decided: None,
            traffic: None,
            request: None,
        };
        Some(Self(Arc::new(Live {
            spans: spans.clone(),
            id,
            own,
            more: AtomicU64::new(1),
            facts: Mutex::new(facts),
        })))
    }

    fn part(&self, done: &Done) {
        self.child(done.name, (done.start, done.end), Vec::new(), false);
    }

    fn child(
        &self,
        name: &'static str,
        (start, end): (u64, u64),
        attributes: Vec<(&'static str, Value)>,
        error: bool,
    ) {
        let live = &self.0;
        // Even, so it's not the connection's own, and only 0 after 2^63 of them.
        let number = live.more.fetch_add(1, Ordering::Relaxed);
        live.spans.send(Span {
            trace: live.id,
            id: live.own.wrapping_add(2 * number) ^ 1,
            parent: Some(live.own),
            name,
            side: Side::Internal,
            start,
            end,
            attributes,
            error,
        });
    }
}

impl Live {
    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let facts = self.facts.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut attributes = vec![("network.transport", Value::Text("tcp".to_owned()))];
        push(&mut attributes, "process.executable.path", &facts.program);
        push(&mut attributes, "casemate.policy", &facts.entry);
        if let Some(pid) = facts.pid {
            attributes.push(("process.pid", Value::Number(pid.into())));
        }
        if let Some((host, port)) = facts.place.take() {
            attributes.push(("server.address", Value::Text(host)));
            attributes.push(("server.port", Value::Number(port.into())));
        }
        if let Some((sent, received)) = facts.traffic {
            attributes.push(("casemate.bytes.sent", Value::Number(sent)));
            attributes.push(("casemate.bytes.received", Value::Number(received)));
        }
        let error = decision(facts.decided, &mut attributes);
        let start = facts.start;
        self.spans.send(Span {
            trace: self.id,
            id: self.own,
            parent: None,
            name: "connection",
            side: Side::Client,
            start,
            end: now(),
            attributes,
            error,
        });
    }
}

fn push(attributes: &mut Vec<(&'static str, Value)>, name: &'static str, text: &Option<String>) {
    attributes.extend(text.clone().map(|text| (name, Value::Text(text))));
}

/// Adds what came of something; whether that's an error.
fn decision(
    decided: Option<(Outcome, Option<&'static str>)>,
    attributes: &mut Vec<(&'static str, Value)>,
) -> bool {
    let Some((outcome, engine)) = decided else {
        return false;
    };
    let word = match outcome {
        Outcome::Allowed => "allowed",
        Outcome::Denied => "denied",
        Outcome::Audited => "audited",
        Outcome::Failed => "failed",
    };
    attributes.push(("casemate.decision", Value::Text(word.to_owned())));
    attributes.extend(engine.map(|own| ("casemate.engine", Value::Text(own.to_owned()))));
    matches!(outcome, Outcome::Denied | Outcome::Failed)
}
