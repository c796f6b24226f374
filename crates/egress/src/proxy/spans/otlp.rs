//! OTLP's JSON (opentelemetry-proto, `docs/specification.md`): names in lower camel case, ids in
//! hexadecimal, numbers of 64 bits as text, enumerations as numbers.

use super::{Span, Value};
use crate::hex;
use serde_json::{Value as Json, json};

/// `SPAN_KIND_CLIENT` and `SPAN_KIND_INTERNAL`.
const CLIENT: u8 = 3;
const INTERNAL: u8 = 1;
/// `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;

/// An `ExportTraceServiceRequest`.
pub(super) fn request(spans: &[Span], sandbox: Option<&str>) -> Vec<u8> {
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
        "scopeSpans": [{ "scope": { "name": "casemate.egress" }, "spans": spans }],
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
        "kind": if span.parent.is_none() { CLIENT } else { INTERNAL },
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

fn attribute(name: &str, value: &Value) -> Json {
    let value = match value {
        Value::Text(text) => json!({ "stringValue": text }),
        Value::Number(number) => json!({ "intValue": number.to_string() }),
    };
    json!({ "key": name, "value": value })
}
