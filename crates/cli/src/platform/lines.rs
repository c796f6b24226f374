//! `casemate logs ID`: what happened to a sandbox.
//!
//! The server keeps the last lines. To follow them is to ask again and again for what came after
//! the last one: the interface, which is E2B's, has nothing that waits.

use super::http::Failed;
use super::run;
use super::server::{Server, ServerArgs};
use crate::printer;
use casemate_core::error::Result;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

/// How often it is asked.
const PACE: Duration = Duration::from_secs(1);
/// Lines of one answer, as the server gives them at most.
const PAGE: usize = 1000;

/// Which lines are wanted.
pub(crate) struct Wanted {
    /// The sandbox.
    pub(crate) id: String,
    /// Those to come, too.
    pub(crate) follow: bool,
    /// As JSON, one object a line.
    pub(crate) json: bool,
    /// None older than that.
    pub(crate) since: Option<Duration>,
}

#[derive(Deserialize)]
struct Page {
    logs: Vec<Line>,
}

#[derive(Clone, Deserialize, Serialize, PartialEq)]
struct Line {
    timestamp: Timestamp,
    level: String,
    message: String,
    #[serde(default)]
    fields: BTreeMap<String, String>,
}

impl Line {
    fn shown(&self, json: bool) -> String {
        if json {
            return serde_json::to_string(self).unwrap_or_default();
        }
        let mut text = format!("{:.3} {:<5} {}", self.timestamp, self.level, self.message);
        for (name, value) in &self.fields {
            let _ = write!(text, " {name}={value}");
        }
        text.replace('\n', "\\n")
    }
}

/// Prints them.
pub(crate) fn lines(wanted: Wanted, server: ServerArgs) -> anyhow::Result<ExitCode> {
    run(async move {
        let server = server.server()?;
        let step = "read the lines of a sandbox";
        let id = server.resolve(step, &wanted.id).await?;
        let from = wanted
            .since
            .and_then(|since| Timestamp::now().checked_sub(since).ok());
        let mut reader = Reader {
            server: &server,
            id: &id,
            from: from.map_or(0, Timestamp::as_millisecond),
            last: Vec::new(),
        };
        let fail = |failed: Failed| failed.during(step, &id);
        loop {
            // Asked before the lines, so that none that was written before its end is missed.
            let there = wanted.follow && reader.is_there().await.map_err(fail)?;
            while let Some(lines) = reader.more().await.map_err(fail)? {
                for line in &lines {
                    if printer::say(&format!("{}\n", line.shown(wanted.json))).is_err() {
                        // Whoever read has seen enough.
                        return Ok(ExitCode::SUCCESS);
                    }
                }
            }
            if !there {
                return Ok(ExitCode::SUCCESS);
            }
            tokio::time::sleep(PACE).await;
        }
    })
}

struct Reader<'a> {
    server: &'a Server,
    id: &'a str,
    /// Milliseconds since 1970: where the next page begins.
    from: i64,
    /// The lines of that millisecond that were printed.
    last: Vec<Line>,
}

impl Reader<'_> {
    /// Lines that weren't printed yet, if any.
    async fn more(&mut self) -> Result<Option<Vec<Line>>, Failed> {
        let path = format!(
            "/v2/sandboxes/{}/logs?limit={PAGE}&cursor={}",
            self.id, self.from
        );
        let page: Page = self.server.get(&path).await?;
        let mut lines = page.logs;
        // A page that is full of one moment can't be turned otherwise.
        let stuck = lines.len() >= PAGE
            && lines
                .last()
                .is_some_and(|last| last.timestamp.as_millisecond() <= self.from);
        lines.retain(|line| !self.last.contains(line));
        if stuck {
            self.from += 1;
            self.last.clear();
        }
        let Some(newest) = lines.last() else {
            return Ok(None);
        };
        let newest = newest.timestamp.as_millisecond();
        if newest > self.from {
            self.last.clear();
        }
        self.from = self.from.max(newest);
        let at = self.from;
        let of_last = lines
            .iter()
            .filter(|line| line.timestamp.as_millisecond() == at);
        self.last.extend(of_last.cloned());
        Ok(Some(lines))
    }

    async fn is_there(&self) -> Result<bool, Failed> {
        let found = self.server.get(&format!("/sandboxes/{}", self.id)).await;
        match found.map(|_: serde_json::Value| ()) {
            Ok(()) => Ok(true),
            Err(failed) if failed.is_missing() => Ok(false),
            Err(failed) => Err(failed),
        }
    }
}
