//! Findings as SARIF 2.1.0 (OASIS, Static Analysis Results Interchange Format).

use super::check::Finding;
use casemate_policy::Lint;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// What an error is called that no lint found: the text isn't a policy.
const INVALID: &str = "invalid-policy";

/// One run of the tool, with all that it found.
pub(super) fn log(findings: &[Finding]) -> Value {
    let rule =
        |id: &str, summary: &str| json!({ "id": id, "shortDescription": { "text": summary } });
    let invalid = rule(INVALID, "What a policy can't mean, or can't have.");
    let lints = Lint::ALL.iter().map(|lint| rule(lint.id(), lint.summary()));
    let rules: Vec<_> = std::iter::once(invalid).chain(lints).collect();
    let results: Vec<_> = findings.iter().map(result).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "casemate",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules,
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn result(finding: &Finding) -> Value {
    let position = finding
        .lint
        .and_then(|lint| Lint::ALL.iter().position(|own| *own == lint));
    let hint = finding.hint.as_ref().map(|hint| format!("\nhint: {hint}"));
    let mut place = json!({ "artifactLocation": { "uri": uri(&finding.file) } });
    if let (Some(line), Some(column)) = (finding.line, finding.column) {
        place["region"] = json!({ "startLine": line, "startColumn": column });
    }
    json!({
        "ruleId": finding.lint.map_or(INVALID, Lint::id),
        // The first rule is that of errors without a lint.
        "ruleIndex": position.map_or(0, |position| position + 1),
        "level": finding.severity.name(),
        "message": { "text": format!("{}{}", finding.message, hint.unwrap_or_default()) },
        "locations": [{ "physicalLocation": place }],
    })
}

/// A path as a URI (RFC 3986): relative as it is, or a `file:` one.
fn uri(path: &str) -> String {
    let mut uri = String::new();
    if path.starts_with('/') {
        uri += "file://";
    }
    for byte in path.bytes() {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'~' => uri.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => uri.push(char::from(byte)),
            byte => {
                let _ = write!(uri, "%{byte:02X}");
            }
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::uri;

    #[test]
    fn paths_as_uris() {
        assert_eq!(uri("a b/c:d.yaml"), "a%20b/c%3Ad.yaml");
        assert_eq!(uri("/srv/\u{e4}%"), "file:///srv/%C3%A4%25");
    }
}
