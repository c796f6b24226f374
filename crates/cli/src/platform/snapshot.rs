//! `casemate snapshot` and `casemate fork`: what is written of sandboxes, and what goes on from there.

use super::http::{Failed, json, soon};
use super::server::ServerArgs;
use super::{run, say};
use ::http::Method;
use casemate_core::error::{Error, Result};
use casemate_core::limits::parse_duration;
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::json;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

/// How long forks live, unless something else is said: as new sandboxes.
const FORKED: Duration = Duration::from_secs(300);

// The arguments of `casemate snapshot`.
#[derive(Args)]
pub(crate) struct SnapshotArgs {
    #[command(subcommand)]
    command: SnapshotCommand,
}

#[derive(Subcommand)]
enum SnapshotCommand {
    /// Write a sandbox as it stands, and print what `casemate create --template` makes others from
    Create(CreateArgs),
    /// List the snapshots, the newest first
    List(ListArgs),
    /// Remove snapshots; sandboxes that were made from them go on
    Remove(RemoveArgs),
}

// The arguments of `casemate snapshot create`.
#[derive(Args)]
struct CreateArgs {
    /// The sandbox: its id, the beginning of it, or its name
    #[arg(value_name = "ID")]
    id: String,
    /// What it is called; the last one of a name has it
    #[arg(long, value_name = "N")]
    name: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

// The arguments of `casemate snapshot list`.
#[derive(Args)]
struct ListArgs {
    #[command(flatten)]
    server: ServerArgs,
}

// The arguments of `casemate snapshot remove`.
#[derive(Args)]
struct RemoveArgs {
    /// The snapshots: their ids or names
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    #[command(flatten)]
    server: ServerArgs,
}

// The arguments of `casemate fork`.
#[derive(Args)]
pub(crate) struct ForkArgs {
    /// The sandbox: its id, the beginning of it, or its name
    #[arg(value_name = "ID")]
    id: String,
    /// How many
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1)]
    count: u32,
    /// How long they live [default: 5m]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
    #[command(flatten)]
    server: ServerArgs,
}

/// A snapshot, as it is listed.
#[derive(Deserialize)]
struct Snapshot {
    #[serde(rename = "snapshotID")]
    id: String,
    names: Vec<String>,
}

/// Makes, lists or removes snapshots.
pub(crate) fn snapshot(args: SnapshotArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        SnapshotCommand::Create(args) => run(create(args)),
        SnapshotCommand::List(args) => run(list(args)),
        SnapshotCommand::Remove(args) => run(remove(args)),
    }
}

async fn create(args: CreateArgs) -> Result<ExitCode> {
    let server = args.server.server()?;
    let step = "write a sandbox";
    let id = server.resolve(step, &args.id).await?;
    let fail = |failed: Failed| failed.during(step, &id);
    let path = format!("/sandboxes/{id}/snapshots");
    let made = server
        .ask(Method::POST, &path, Some(&json!({ "name": args.name })))
        .await;
    let made: Snapshot = soon(json(made.map_err(fail)?)).await.map_err(fail)?;
    say(&format!("{}\n", made.id))?;
    Ok(ExitCode::SUCCESS)
}

async fn list(args: ListArgs) -> Result<ExitCode> {
    let server = args.server.server()?;
    let all = server.pages::<Snapshot>("/snapshots?limit=100").await;
    let all = all.map_err(|failed| failed.during("list the snapshots", &server.api))?;
    let mut text = format!("{:<21}  NAME\n", "ID");
    for one in all {
        let name = one.names.first().map_or("-", String::as_str);
        let _ = writeln!(text, "{:<21}  {}", one.id, name.escape_debug());
    }
    say(&text)?;
    Ok(ExitCode::SUCCESS)
}

async fn remove(args: RemoveArgs) -> Result<ExitCode> {
    let server = args.server.server()?;
    let mut code = ExitCode::SUCCESS;
    for meant in &args.ids {
        let name: String = form_urlencoded::byte_serialize(meant.as_bytes()).collect();
        let removed = server
            .change(Method::DELETE, &format!("/templates/{name}"), None)
            .await;
        let done = removed
            .map_err(|failed| failed.during("remove a snapshot", meant))
            .and_then(|()| say(&format!("{}\n", meant.escape_debug())));
        if let Err(error) = done {
            crate::printer::error(&error.to_string());
            code = ExitCode::from(casemate_core::exit::FAILED);
        }
    }
    Ok(code)
}

/// A fork, or why there is none.
#[derive(Deserialize)]
struct Forked {
    sandbox: Option<Made>,
    error: Option<Refused>,
}

#[derive(Deserialize)]
struct Made {
    #[serde(rename = "sandboxID")]
    id: String,
}

#[derive(Deserialize)]
struct Refused {
    message: String,
}

/// Makes them and prints their ids.
pub(crate) fn fork(args: ForkArgs) -> anyhow::Result<ExitCode> {
    run(async move {
        let server = args.server.server()?;
        let step = "fork a sandbox";
        let id = server.resolve(step, &args.id).await?;
        let fail = |failed: Failed| failed.during(step, &id);
        let timeout = args.timeout.unwrap_or(FORKED).as_secs().max(1);
        let body = json!({ "count": args.count, "timeout": timeout });
        let path = format!("/sandboxes/{id}/fork");
        let forks = server.ask(Method::POST, &path, Some(&body)).await;
        let forks: Vec<Forked> = soon(json(forks.map_err(fail)?)).await.map_err(fail)?;
        let mut code = ExitCode::SUCCESS;
        for fork in forks {
            match (fork.sandbox, fork.error) {
                (Some(made), _) => say(&format!("{}\n", made.id))?,
                (None, refused) => {
                    let why = refused.map_or_else(String::new, |refused| refused.message);
                    let error = Error::rule(step, why.escape_debug().to_string()).on(&id);
                    crate::printer::error(&error.to_string());
                    code = ExitCode::from(casemate_core::exit::FAILED);
                }
            }
        }
        Ok(code)
    })
}
