//! `casemate create`: a new sandbox.

use super::api::NAME;
use super::http::{json, soon};
use super::server::ServerArgs;
use super::{run, say};
use ::http::Method;
use casemate_core::error::{Error, Result};
use casemate_core::limits::{ByteSize, parse_duration};
use clap::Args;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

// The arguments of `casemate create`.
#[derive(Args)]
pub(crate) struct CreateArgs {
    /// What it is made from
    #[arg(long, value_name = "NAME", default_value = "base")]
    template: String,
    /// A name, in place of the id; it is the metadata `name`
    #[arg(long, value_name = "N")]
    name: Option<String>,
    /// How long it lives, such as 30m; or never [default: 5m]
    #[arg(long, value_name = "DURATION|never", value_parser = lifetime)]
    timeout: Option<Lifetime>,
    /// It ends after so long without a request
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    idle: Option<Duration>,
    /// At its end it is paused, not killed
    #[arg(long)]
    auto_pause: bool,
    /// A request to it wakes it when it is paused
    #[arg(long)]
    auto_resume: bool,
    /// Set a variable for all its programs, or pass the caller's
    #[arg(long, value_name = "K=V|K")]
    env: Vec<String>,
    /// A label
    #[arg(long, value_name = "K=V")]
    metadata: Vec<String>,
    /// It may connect to nothing that --allow-out doesn't name
    #[arg(long)]
    no_internet: bool,
    /// It may connect there: an address, a CIDR block, a domain or *.domain
    #[arg(long, value_name = "WHERE", value_delimiter = ',')]
    allow_out: Vec<String>,
    /// It may not connect there: an address or a CIDR block
    #[arg(long, value_name = "WHERE", value_delimiter = ',')]
    deny_out: Vec<String>,
    /// A whole policy for its connections, in place of the three above
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["no_internet", "allow_out", "deny_out"]
    )]
    policy: Option<PathBuf>,
    /// Its ports are only for who has its traffic token
    #[arg(long)]
    private_ports: bool,
    /// Processors
    #[arg(long, value_name = "N")]
    cpus: Option<u32>,
    /// Memory of all its processes together, such as 512M
    #[arg(long, value_name = "SIZE")]
    memory: Option<ByteSize>,
    /// Its private disk
    #[arg(long, value_name = "SIZE")]
    disk: Option<ByteSize>,
    /// Processes and threads
    #[arg(long, value_name = "N")]
    pids: Option<u32>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Clone, Copy)]
enum Lifetime {
    For(Duration),
    Never,
}

fn lifetime(text: &str) -> Result<Lifetime, String> {
    match text {
        "never" => Ok(Lifetime::Never),
        text => parse_duration(text).map(Lifetime::For),
    }
}

/// Makes it and prints its id.
pub(crate) fn create(args: CreateArgs) -> anyhow::Result<ExitCode> {
    run(async move {
        let body = order(&args)?;
        let server = args.server.server()?;
        let step = "create a sandbox";
        let asked = server.ask(Method::POST, "/v2/sandboxes", Some(&body)).await;
        let response = asked.map_err(|failed| failed.during(step, &server.api))?;
        let made: Made = soon(json(response))
            .await
            .map_err(|failed| failed.during(step, &server.api))?;
        say(&format!("{}\n", made.id))?;
        Ok(ExitCode::SUCCESS)
    })
}

#[derive(Deserialize)]
struct Made {
    #[serde(rename = "sandboxID")]
    id: String,
}

/// What is sent.
fn order(args: &CreateArgs) -> Result<Value> {
    let mut metadata = Map::new();
    for pair in &args.metadata {
        let (name, value) = pair.split_once('=').ok_or_else(|| {
            Error::rule("use --metadata", "there is no =")
                .on(pair)
                .hint("a label is NAME=VALUE")
        })?;
        metadata.insert(name.into(), value.into());
    }
    if let Some(name) = &args.name {
        metadata.insert(NAME.into(), name.as_str().into());
    }
    let environment = variables(&args.env)?.into_iter();
    let environment: Map<_, _> = environment
        .map(|(name, value)| (name, value.into()))
        .collect();
    let mut body = json!({
        "templateID": args.template,
        "metadata": metadata,
        "envVars": environment,
        "autoPause": args.auto_pause,
        "autoResume": { "enabled": args.auto_resume },
        "casemate": extension(args)?,
    });
    if let Some(Lifetime::For(time)) = args.timeout {
        body["timeout"] = time.as_secs().max(1).into();
    }
    if args.no_internet {
        body["allow_internet_access"] = false.into();
    }
    let mut network = Map::new();
    for (field, list) in [("allowOut", &args.allow_out), ("denyOut", &args.deny_out)] {
        if !list.is_empty() {
            network.insert(field.into(), json!(list));
        }
    }
    if args.private_ports {
        network.insert("allowPublicTraffic".into(), false.into());
    }
    if !network.is_empty() {
        body["network"] = network.into();
    }
    Ok(body)
}

/// What E2B's interface has no words for.
fn extension(args: &CreateArgs) -> Result<Map<String, Value>> {
    let mut own = Map::new();
    let mut resources = Map::new();
    let mib = |size: Option<ByteSize>| size.map(|size| size.0.div_ceil(1 << 20));
    for (field, value) in [
        ("cpus", args.cpus.map(u64::from)),
        ("memoryMB", mib(args.memory)),
        ("diskMB", mib(args.disk)),
        ("pids", args.pids.map(u64::from)),
    ] {
        resources.extend(value.map(|value| (field.to_owned(), value.into())));
    }
    if !resources.is_empty() {
        own.insert("resources".into(), resources.into());
    }
    if let Some(Lifetime::Never) = args.timeout {
        own.insert("never".into(), true.into());
    }
    if let Some(idle) = args.idle {
        own.insert("idleTimeout".into(), idle.as_secs().max(1).into());
    }
    if let Some(path) = &args.policy {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::io("read the policy", &error).on(path.display()))?;
        own.insert("policy".into(), text.into());
    }
    Ok(own)
}

/// `--env`: what is set, and what is passed from the caller's own if it is there.
pub(super) fn variables(given: &[String]) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for text in given {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text.as_str(), std::env::var(text).ok()),
        };
        if name.is_empty() {
            return Err(Error::rule("use --env", "the name is empty")
                .on(text)
                .hint("--env NAME=VALUE sets, --env NAME passes"));
        }
        found.extend(value.map(|value| (name.to_owned(), value)));
    }
    Ok(found)
}
