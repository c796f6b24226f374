//! OTLP's JSON (opentelemetry-proto, `docs/specification.md`): names in lower camel case, ids in
//! hexadecimal, numbers of 64 bits as text, enumerations as numbers.

use super::{Side, Span, Value};
use casemate_core::hex;
use serde_json::{Value as Json, json};

/// `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;

/// An `ExportTraceServiceRequest`.
pub(super) fn request(spans: &[Span], scope: &str, sandbox: Option<&str>) -> Vec<u8> {
    let mut resource = vec![
        attribute("service.name", &Value::Text("casemate".to_owned())),
        attribute(
            "service.version",
            &Value::Text(env!("CARGO_PKG_VERSION").to_owned()),
        ),
    ];
    if let Some(name) = sandbox {
        resource.push(attribute("casemate.name", &Value::Text(name.to_owned())));
    }
    let spans: Vec<_> = spans.iter().map(span).collect();
    let request = json!({ "resourceSpans": [{
        "resource": { "attributes": resource },
        "scopeSpans": [{ "scope": { "name": scope }, "spans": spans }],
    }] });
    request.to_string().into_bytes()
}

fn span(span: &Span) -> Json {
    let attributes: Vec<_> = span
        .attributes
        .iter()
        .map(|(name, value)| attribute(name, value))
        .collect();
    let mut json = json!({
        "traceId": hex::encode(&span.trace),
        "spanId": hex::encode(&span.id.to_be_bytes()),
        "name": span.name,
        "kind": kind(span.side),
        "startTimeUnixNano": span.start.to_string(),
        "endTimeUnixNano": span.end.to_string(),
        "attributes": attributes,
    });
    if let Some(parent) = span.parent {
        json["parentSpanId"] = hex::encode(&parent.to_be_bytes()).into();
    }
    if span.error {
        json["status"] = json!({ "code": ERROR });
    }
    json
}

/// `SPAN_KIND_INTERNAL`, `SPAN_KIND_SERVER` and `SPAN_KIND_CLIENT`.
fn kind(side: Side) -> u8 {
    match side {
        Side::Internal => 1,
        Side::Server => 2,
        Side::Client => 3,
    }
}

fn attribute(name: &str, value: &Value) -> Json {
    let value = match value {
        Value::Text(text) => json!({ "stringValue": text }),
        Value::Number(number) => json!({ "intValue": number.to_string() }),
    };
    json!({ "key": name, "value": value })
}
