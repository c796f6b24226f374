//! An event of the log in one line, from its JSON.
//!
//! Most of what is in it was said by a program in a sandbox: nothing that isn't printable gets out.

use serde_json::Value;
use std::fmt::Write as _;

/// A part of a line is cut after so many characters.
const MOST_PART: usize = 300;

/// One event.
pub(super) struct Shown(Value);

impl Shown {
    /// None if this isn't one.
    pub(super) fn of(text: &str) -> Option<Self> {
        serde_json::from_str(text)
            .ok()
            .filter(Value::is_object)
            .map(Self)
    }

    pub(super) fn time(&self) -> u64 {
        self.0["time"].as_u64().unwrap_or(u64::MAX)
    }

    pub(super) fn is_denied(&self) -> bool {
        self.0["action_id"] == 2
    }

    pub(super) fn name(&self) -> Option<&str> {
        self.0["metadata"]["correlation_uid"].as_str()
    }

    /// The line, without its end.
    pub(super) fn line(&self) -> String {
        let event = &self.0;
        if let Some(lost) = event["casemate_events_lost"].as_u64() {
            return format!("{lost} events were lost here");
        }
        let mut line = event["time"].as_u64().map_or_else(|| "-".to_owned(), time);
        let word = |value: &Value| value.as_str().unwrap_or("-").to_ascii_lowercase();
        let outcome = match (
            event["action_id"].as_u64(),
            event["disposition_id"].as_u64(),
        ) {
            (Some(2), _) => "denied",
            (_, Some(17)) => "audited",
            _ if event["status_id"] == 2 => "failed",
            _ => "allowed",
        };
        let class = match event["class_uid"].as_u64() {
            Some(4001) => "net",
            Some(4002) => "http",
            Some(2004) => "finding",
            Some(5019) => "config",
            Some(6002) => "app",
            _ => "other",
        };
        let mut part = |text: String| line.push_str(&text);
        part(format!(
            " {class}:{} {outcome}",
            printable(&word(&event["activity_name"]))
        ));
        part(match event["severity_id"].as_u64() {
            Some(1) => " info".to_owned(),
            _ => format!(" {}", printable(&word(&event["severity"]))),
        });
        if let Some(name) = self.name() {
            part(format!(" [{}]", printable(name)));
        }
        let process = &event["actor"]["process"];
        if let Some(path) = process["file"]["path"].as_str() {
            part(format!(" {}", printable(path)));
            if let Some(pid) = process["pid"].as_u64() {
                part(format!("({pid})"));
            }
        }
        let to = &event["dst_endpoint"];
        if let Some(host) = to["hostname"].as_str().or(to["ip"].as_str()) {
            let port = to["port"].as_u64().unwrap_or(0);
            part(format!(" -> {}:{port}", printable(host)));
        }
        let request = &event["http_request"];
        if let Some(method) = request["http_method"].as_str() {
            let path = request["url"]["path"].as_str().unwrap_or("");
            part(format!(" {} {}", printable(method), printable(path)));
        }
        if let Some(status) = event["http_response"]["code"].as_u64() {
            part(format!(" status={status}"));
        }
        if let Some(sent) = event["traffic"]["bytes_out"].as_u64() {
            let received = event["traffic"]["bytes_in"].as_u64().unwrap_or(0);
            part(format!(" sent={sent} received={received}"));
        }
        if let Some(engine) = event["firewall_rule"]["type"].as_str() {
            let policy = event["policy"]["name"].as_str().unwrap_or("-");
            part(format!(
                " policy={} by={}",
                printable(policy),
                printable(engine)
            ));
        }
        for text in [&event["message"], &event["status_detail"]] {
            if let Some(text) = text.as_str() {
                part(format!(" \"{}\"", printable(text)));
            }
        }
        line
    }
}

/// Milliseconds since 1970 as `2015-08-30T12:36:00.042Z`.
fn time(millis: u64) -> String {
    let whole = crate::identity::utc(i64::try_from(millis / 1000).unwrap_or(i64::MAX / 2000));
    format!("{}.{:03}Z", whole.trim_end_matches('Z'), millis % 1000)
}

fn printable(text: &str) -> String {
    let mut shown = String::new();
    for (count, letter) in text.chars().enumerate() {
        if count == MOST_PART {
            shown.push('…');
            break;
        }
        // Writing to a string can't fail.
        let _ = write!(shown, "{}", letter.escape_debug());
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::Shown;
    use casemate_egress::audit::ocsf::{Kind, NetworkActivity};
    use casemate_egress::audit::{Event, Outcome, Process};

    #[test]
    fn a_line_is_that_of_the_event() {
        let event = Event::new(Kind::Network(NetworkActivity::Open), 1_440_938_160_042)
            .decided(Outcome::Denied, "ssrf", "an \u{1b}[1m internal address")
            .to("a.example", 443)
            .process(Process {
                path: "/usr/bin/curl".into(),
                pid: Some(64),
                ..Process::default()
            });
        let shown = Shown::of(&event.to_json()).unwrap();
        assert_eq!(shown.line(), event.line());
        assert!(shown.is_denied());
        let named = Shown::of(&event.sandbox("s1").to_json()).unwrap();
        assert_eq!(named.name(), Some("s1"));
    }

    #[test]
    fn what_is_no_event_is_skipped() {
        for text in ["", "{", "[]", "7", "\u{1b}"] {
            assert!(Shown::of(text).is_none(), "{text}");
        }
        let odd = r#"{"time":-1,"action_id":"x","actor":7,"dst_endpoint":{"hostname":null}}"#;
        assert!(Shown::of(odd).unwrap().line().is_ascii());
    }
}
