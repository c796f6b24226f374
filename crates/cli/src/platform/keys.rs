//! `casemate key`: who may use the server.

use super::http::{Failed, json, soon};
use super::server::{Server, ServerArgs};
use super::{run, say};
use ::http::Method;
use casemate_core::error::{Error, Result};
use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use std::fmt::Write as _;
use std::process::ExitCode;

// The arguments of `casemate key`.
#[derive(Args)]
pub(crate) struct KeyArgs {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Subcommand)]
enum KeyCommand {
    /// Make a key and print it: the only time that it is shown
    Create(CreateKeyArgs),
    /// List the keys
    List(ListKeysArgs),
    /// Revoke keys; sandboxes that they made go on
    Revoke(RevokeKeyArgs),
}

// The arguments of `casemate key create`.
#[derive(Args)]
struct CreateKeyArgs {
    /// What it is called
    #[arg(long, value_name = "N", default_value = "unnamed")]
    name: String,
    /// What it may do
    #[arg(long, value_name = "SCOPE", value_enum, default_value = "run")]
    scope: Scope,
    #[command(flatten)]
    server: ServerArgs,
}

// The arguments of `casemate key list`.
#[derive(Args)]
struct ListKeysArgs {
    /// Print what the server says of them, as one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

// The arguments of `casemate key revoke`.
#[derive(Args)]
struct RevokeKeyArgs {
    /// The keys: their ids or the beginnings of them, as `casemate key list` shows them
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum Scope {
    /// Look at sandboxes
    Read,
    /// Make, use, change and end them
    Run,
    /// Everything
    Admin,
}

impl Scope {
    fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Run => "run",
            Self::Admin => "admin",
        }
    }
}

/// A key, as it is listed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Key {
    id: String,
    name: String,
    mask: Mask,
    last_used: Option<Timestamp>,
    casemate: Option<Own>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mask {
    prefix: String,
    masked_value_prefix: String,
    masked_value_suffix: String,
}

#[derive(Deserialize)]
struct Own {
    scope: String,
}

#[derive(Deserialize)]
struct Made {
    key: String,
}

/// Makes, lists or revokes keys.
pub(crate) fn key(args: KeyArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        KeyCommand::Create(args) => run(create(args)),
        KeyCommand::List(args) => run(list(args)),
        KeyCommand::Revoke(args) => run(revoke(args)),
    }
}

async fn create(args: CreateKeyArgs) -> Result<ExitCode> {
    let server = args.server.server()?;
    let fail = |failed: Failed| failed.during("make a key", &server.api);
    let body = json!({ "name": args.name, "casemate": { "scope": args.scope.as_str() } });
    let made = server.ask(Method::POST, "/api-keys", Some(&body)).await;
    let made: Made = soon(json(made.map_err(fail)?)).await.map_err(fail)?;
    say(&format!("{}\n", made.key))?;
    Ok(ExitCode::SUCCESS)
}

async fn list(args: ListKeysArgs) -> Result<ExitCode> {
    let server = args.server.server()?;
    let fail = |failed: Failed| failed.during("list the keys", &server.api);
    if args.json {
        let all: serde_json::Value = server.get("/api-keys").await.map_err(fail)?;
        let text = serde_json::to_string_pretty(&all).unwrap_or_default();
        say(&format!("{text}\n"))?;
    } else {
        let all: Vec<Key> = server.get("/api-keys").await.map_err(fail)?;
        say(&table(&all))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn table(all: &[Key]) -> String {
    let mut text = format!(
        "{:<8}  {:<5}  {:<13}  {:<20}  NAME\n",
        "ID", "SCOPE", "KEY", "LAST USED"
    );
    for key in all {
        let mask = &key.mask;
        let shown = format!(
            "{}{}…{}",
            mask.prefix, mask.masked_value_prefix, mask.masked_value_suffix
        );
        let scope = key.casemate.as_ref().map_or("", |own| &own.scope);
        let used = key.last_used.map(|used| format!("{used:.0}"));
        let used = used.unwrap_or_else(|| "-".to_owned());
        let id: String = key.id.chars().take(8).collect();
        let name = key.name.replace('\n', "\\n");
        let _ = writeln!(text, "{id:<8}  {scope:<5}  {shown:<13}  {used:<20}  {name}");
    }
    text
}

async fn revoke(args: RevokeKeyArgs) -> Result<ExitCode> {
    let server = args.server.server()?;
    let fail = |failed: Failed| failed.during("list the keys", &server.api);
    let all: Vec<Key> = server.get("/api-keys").await.map_err(fail)?;
    let mut code = ExitCode::SUCCESS;
    for meant in &args.ids {
        if let Err(error) = revoke_one(&server, &all, meant).await {
            crate::printer::error(&error.to_string());
            code = ExitCode::from(casemate_core::exit::FAILED);
        }
    }
    Ok(code)
}

async fn revoke_one(server: &Server, all: &[Key], meant: &str) -> Result<()> {
    let step = "revoke a key";
    let refuse =
        |why: &str, hint: &str| Err(Error::rule(step, why).on(meant.escape_debug()).hint(hint));
    let mut found = all
        .iter()
        .filter(|key| !meant.is_empty() && key.id.starts_with(meant));
    let id = match (found.next(), found.next()) {
        (Some(key), None) => &key.id,
        (Some(_), Some(_)) => return refuse("several ids begin so", "give more of the id"),
        (None, _) => {
            let why = "no key has an id that begins so";
            return refuse(why, "`casemate key list` lists the ids");
        }
    };
    let revoked = server
        .change(Method::DELETE, &format!("/api-keys/{id}"), None)
        .await;
    revoked.map_err(|failed| failed.during(step, id))?;
    say(&format!("{id}\n"))
}
