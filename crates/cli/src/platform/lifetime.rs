//! `casemate pause`, `resume` and `kill`.

use super::api::Listed;
use super::server::{Server, ServerArgs};
use super::{run, say};
use ::http::Method;
use casemate_core::error::Result;
use casemate_core::limits::parse_duration;
use clap::Args;
use serde_json::json;
use std::process::ExitCode;
use std::time::Duration;

/// How long a sandbox runs after it was resumed, unless something else is said: as a new one.
const RESUMED: Duration = Duration::from_secs(300);

// The arguments of `casemate pause`.
#[derive(Args)]
pub(crate) struct PauseArgs {
    /// The sandboxes: their ids, the beginnings of them, or their names
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    /// Keep their files and not their memory: they start anew (virtual machines)
    #[arg(long)]
    files: bool,
    #[command(flatten)]
    server: ServerArgs,
}

// The arguments of `casemate resume`.
#[derive(Args)]
pub(crate) struct ResumeArgs {
    /// The sandboxes: their ids, the beginnings of them, or their names
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    /// How long they live from now on [default: 5m]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
    #[command(flatten)]
    server: ServerArgs,
}

// The arguments of `casemate kill`.
#[derive(Args)]
pub(crate) struct KillArgs {
    /// The sandboxes: their ids, the beginnings of them, or their names
    #[arg(value_name = "ID", required_unless_present = "all")]
    ids: Vec<String>,
    /// All, the paused ones too
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Stops all that runs in them.
pub(crate) fn pause(args: PauseArgs) -> anyhow::Result<ExitCode> {
    run(async move {
        let server = args.server.server()?;
        each(&server, "pause a sandbox", &args.ids, async |id: &str| {
            let path = format!("/sandboxes/{id}/pause");
            let body = json!({ "memory": !args.files });
            server.change(Method::POST, &path, Some(&body)).await
        })
        .await
    })
}

/// Lets them go on.
pub(crate) fn resume(args: ResumeArgs) -> anyhow::Result<ExitCode> {
    run(async move {
        let server = args.server.server()?;
        let timeout = args.timeout.unwrap_or(RESUMED).as_secs().max(1);
        each(&server, "resume a sandbox", &args.ids, async |id: &str| {
            let (path, body) = (
                format!("/sandboxes/{id}/resume"),
                json!({ "timeout": timeout }),
            );
            server.change(Method::POST, &path, Some(&body)).await
        })
        .await
    })
}

/// Ends them.
pub(crate) fn kill(args: KillArgs) -> anyhow::Result<ExitCode> {
    run(async move {
        let server = args.server.server()?;
        let ids = match args.all {
            false => args.ids,
            true => {
                let all = server.list::<Listed>("running,paused").await;
                let all = all.map_err(|failed| failed.during("list the sandboxes", &server.api))?;
                all.into_iter().map(|one| one.id).collect()
            }
        };
        each(&server, "kill a sandbox", &ids, async |id: &str| {
            let killed = server
                .change(Method::DELETE, &format!("/sandboxes/{id}"), None)
                .await;
            match killed {
                // Its end came first.
                Err(failed) if args.all && failed.is_missing() => Ok(()),
                other => other,
            }
        })
        .await
    })
}

/// Does it to each, and prints its id; what can't be done to one doesn't keep it from the others.
async fn each(
    server: &Server,
    step: &str,
    meant: &[String],
    work: impl AsyncFn(&str) -> super::http::Answer<()>,
) -> Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for one in meant {
        let done = async {
            let id = server.resolve(step, one).await?;
            work(&id).await.map_err(|failed| failed.during(step, &id))?;
            say(&format!("{id}\n"))
        };
        if let Err(error) = done.await {
            crate::printer::error(&error.to_string());
            code = ExitCode::from(casemate_core::exit::FAILED);
        }
    }
    Ok(code)
}
