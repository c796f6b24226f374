//! Spans for OpenTelemetry, made of the program's own: one of each request, and in it one of each
//! thing that the node is asked for.
//!
//! They leave by the same exporter as those of connections (`--otlp-endpoint` of `run`), which never
//! holds up anybody.

use casemate_egress::proxy::{Side, Span, SpanValue, Spans, identity};
use std::time::{SystemTime, UNIX_EPOCH};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// See the module.
pub(super) struct Exported(pub(super) Spans);

/// A span that hasn't ended.
struct Live {
    trace: [u8; 16],
    id: u64,
    parent: Option<u64>,
    start: u64,
    known: Known,
}

/// What is known of it.
#[derive(Default)]
struct Known {
    attributes: Vec<(&'static str, SpanValue)>,
    error: bool,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Exported {
    fn on_new_span(&self, fields: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let (Some(span), Some((trace, own))) = (context.span(id), identity()) else {
            return;
        };
        let above = span.parent().and_then(|parent| {
            let extensions = parent.extensions();
            extensions.get::<Live>().map(|live| (live.trace, live.id))
        });
        let mut live = Live {
            trace: above.map_or(trace, |(trace, _)| trace),
            id: own,
            parent: above.map(|(_, id)| id),
            start: now(),
            known: Known::default(),
        };
        fields.record(&mut live.known);
        span.extensions_mut().insert(live);
    }

    fn on_record(&self, id: &Id, fields: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(live) = span.extensions_mut().get_mut::<Live>()
        {
            fields.record(&mut live.known);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if *event.metadata().level() > Level::WARN {
            return;
        }
        if let Some(span) = context.event_span(event)
            && let Some(live) = span.extensions_mut().get_mut::<Live>()
        {
            live.known.error = true;
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else {
            return;
        };
        let Some(live) = span.extensions_mut().remove::<Live>() else {
            return;
        };
        self.0.send(Span {
            trace: live.trace,
            id: live.id,
            parent: live.parent,
            name: span.name(),
            side: match live.parent {
                None if span.name() == "request" => Side::Server,
                _ => Side::Internal,
            },
            start: live.start,
            end: now(),
            attributes: live.known.attributes,
            error: live.known.error,
        });
    }
}

impl Visit for Known {
    fn record_str(&mut self, field: &Field, value: &str) {
        let value = SpanValue::Text(value.to_owned());
        self.attributes.push((conventional(field.name()), value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.error |= field.name() == "status" && value >= 500;
        let value = SpanValue::Number(value);
        self.attributes.push((conventional(field.name()), value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// The name that OpenTelemetry's conventions have.
fn conventional(name: &'static str) -> &'static str {
    match name {
        "method" => "http.request.method",
        "status" => "http.response.status_code",
        "path" => "url.path",
        "sandbox" => "casemate.sandbox",
        "port" => "casemate.port",
        name => name,
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_nanos() as u64
}
