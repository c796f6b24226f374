//! The short form: one line for people.
//!
//! ```text
//! 2026-11-20T10:11:12.345Z net:open denied medium /usr/bin/curl(64) -> a.example:443 policy=- by=ssrf "…"
//! ```

use std::fmt::Write;

use super::event::{Event, Outcome, Severity};
use crate::civil::Civil;

/// A part of a line that comes from outside is cut after this many characters.
const MAX_PART_CHARS: usize = 300;

impl Event {
    /// The line, without its end. Everything in it is printable.
    pub fn line(&self) -> String {
        let mut line = format!(
            "{} {} {} {}",
            Civil::from_unix_millis(self.time).rfc3339(),
            self.kind.shorthand(),
            self.outcome.word(),
            self.severity.word()
        );
        self.write_parts(&mut line);
        line
    }

    fn write_parts(&self, line: &mut String) {
        // Writing to a string can't fail.
        let mut part = |text: String| line.push_str(&text);
        if let Some(process) = &self.process {
            part(format!(" {}", printable(&process.path.to_string_lossy())));
            if let Some(pid) = process.pid {
                part(format!("({pid})"));
            }
        }
        if let Some((host, port)) = &self.destination {
            part(format!(" -> {}:{port}", printable(host)));
        }
        if let Some(request) = &self.request {
            let (method, path) = (printable(&request.method), printable(&request.path));
            part(format!(" {method} {path}"));
        }
        if let Some(status) = self.status_code {
            part(format!(" status={status}"));
        }
        if let Some((sent, received)) = self.traffic {
            part(format!(" sent={sent} received={received}"));
        }
        if let Some(engine) = self.engine {
            let policy = self.policy.as_deref().map_or("-".to_owned(), printable);
            part(format!(" policy={policy} by={engine}"));
        }
        for text in [&self.message, &self.reason].into_iter().flatten() {
            part(format!(" \"{}\"", printable(text)));
        }
    }
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Audited => "audited",
            Self::Failed => "failed",
        }
    }
}

impl Severity {
    fn word(self) -> &'static str {
        match self {
            Self::Informational => "info",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// The text, cut, with everything that isn't printable as an escape, quotation marks among it.
fn printable(text: &str) -> String {
    let mut shown = String::new();
    for (count, character) in text.chars().enumerate() {
        if count == MAX_PART_CHARS {
            shown.push('…');
            break;
        }
        let _ = write!(shown, "{}", character.escape_debug());
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::*;
    use crate::audit::Process;
    use crate::audit::ocsf::{Kind, NetworkActivity};

    fn event(path: &str, host: &str, reason: &str) -> Event {
        Event::new(Kind::Network(NetworkActivity::Open), 1_440_938_160_042)
            .decided(Outcome::Denied, "ssrf", reason)
            .to(host, 443)
            .process(Process {
                path: PathBuf::from(path),
                pid: Some(64),
                ..Process::default()
            })
    }

    #[test]
    fn a_line_says_who_where_and_why() {
        assert_eq!(
            event("/usr/bin/curl", "a.example", "an internal address").line(),
            "2015-08-30T12:36:00.042Z net:open denied medium /usr/bin/curl(64) -> a.example:443 \
             policy=- by=ssrf \"an internal address\""
        );
    }

    proptest! {
        #[test]
        fn nothing_drives_a_terminal_or_forges_a_line(text in any::<String>()) {
            let line = event(&text, &text, &text.repeat(40)).line();
            prop_assert!(line.chars().all(|c| !c.is_control()));
            prop_assert!(line.len() < 12 * 1024);
        }
    }
}
