//! `casemate ps`: the sandboxes.

use super::api::{Listed, NAME};
use super::server::ServerArgs;
use super::{run, say};
use clap::Args;
use jiff::Timestamp;
use serde_json::Value;
use std::fmt::Write as _;
use std::process::ExitCode;

/// Ends later than this are no ends: clients of E2B want one.
const NEVER: Timestamp = Timestamp::constant(200_000_000_000, 0);

// The arguments of `casemate ps`.
#[derive(Args)]
pub(crate) struct PsArgs {
    /// Those that are paused, too
    #[arg(short, long)]
    all: bool,
    /// Print what the server says of them, as one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Lists them, the newest first.
pub(crate) fn ps(args: PsArgs) -> anyhow::Result<ExitCode> {
    run(async move {
        let server = args.server.server()?;
        let states = if args.all {
            "running,paused"
        } else {
            "running"
        };
        let step = "list the sandboxes";
        let fail = |failed: super::http::Failed| failed.during(step, &server.api);
        if args.json {
            let all = server.list::<Value>(states).await.map_err(fail)?;
            let text = serde_json::to_string_pretty(&all).unwrap_or_default();
            say(&format!("{text}\n"))?;
        } else {
            let all = server.list::<Listed>(states).await.map_err(fail)?;
            say(&table(&all, Timestamp::now()))?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn table(all: &[Listed], now: Timestamp) -> String {
    let mut text = String::new();
    let mut row = |id: &str, state: &str, age: &str, ends: &str, name: &str| {
        let line = format!("{id:<21}  {state:<7}  {age:<7}  {ends:<7}  {name}");
        let _ = writeln!(text, "{}", line.trim_end());
    };
    row("ID", "STATE", "AGE", "ENDS IN", "NAME");
    for one in all {
        let age = span(now.as_second() - one.started_at.as_second());
        let ends = match (one.state.as_str(), one.end_at) {
            ("paused", _) => "-".to_owned(),
            (_, end) if end > NEVER => "never".to_owned(),
            (_, end) => span(end.as_second() - now.as_second()),
        };
        let name = one.metadata.get(NAME).map_or("", String::as_str);
        row(&one.id, &one.state, &age, &ends, &name.replace('\n', "\\n"));
    }
    text
}

/// Seconds in the largest unit that fits.
fn span(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ ..120 => format!("{seconds}s"),
        seconds @ ..7200 => format!("{}m", seconds / 60),
        seconds @ ..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_says_what_runs_and_for_how_long() {
        let all: Vec<Listed> = serde_json::from_str(
            r#"[{"sandboxID":"i0","templateID":"base","state":"running",
                 "startedAt":"2026-01-01T00:00:00Z","endAt":"2026-01-01T03:00:00Z",
                 "metadata":{"name":"a\nb"}},
                {"sandboxID":"i1","templateID":"base","state":"paused",
                 "startedAt":"2025-12-01T00:00:00Z","endAt":"2026-01-01T00:00:00Z"},
                {"sandboxID":"i2","templateID":"base","state":"running",
                 "startedAt":"2026-01-01T00:00:00Z","endAt":"9999-01-01T00:00:00Z"}]"#,
        )
        .unwrap();
        let now = "2026-01-01T00:01:00Z".parse().unwrap();
        let expected = "\
ID                     STATE    AGE      ENDS IN  NAME
i0                     running  60s      2h       a\\nb
i1                     paused   31d      -
i2                     running  60s      never
";
        assert_eq!(table(&all, now), expected);
    }
}
