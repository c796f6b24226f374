//! `casemate policy explain`: what a policy does with a connection or request, and why.

use super::Reading;
use crate::printer;
use anyhow::bail;
use casemate_core::error::Error;
use casemate_identity::Digest;
use casemate_policy::{Asked, Judge, Outcome, Question};
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

// The arguments of `casemate policy explain`.
#[derive(Args)]
#[command(after_help = "Exit code: 0, whatever the answer; 125 if there is none.")]
pub(super) struct ExplainArgs {
    /// The policy
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The program that connects
    #[arg(long, value_name = "PATH")]
    binary: String,
    /// The name or address that it connects to
    #[arg(long, value_name = "NAME")]
    host: String,
    /// The port
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// The program's SHA-256
    #[arg(long, value_name = "HEX")]
    sha256: Option<Digest>,
    /// The script that it runs, if it's an interpreter
    #[arg(long, value_name = "PATH")]
    script: Option<String>,
    /// A program that it comes from, the parent first
    #[arg(long, value_name = "PATH")]
    ancestor: Vec<String>,
    /// The method of a request
    #[arg(long, requires = "path")]
    method: Option<String>,
    /// The path of a request, without the query
    #[arg(long, requires = "method")]
    path: Option<String>,
    /// A parameter of the request's query, decoded
    #[arg(long, value_name = "K=V", requires = "path", value_parser = pair)]
    query: Vec<(String, String)>,
    /// Print one JSON document instead of lines
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reading: Reading,
}

/// The answer and how it came about.
#[derive(Serialize)]
struct Explained {
    outcome: &'static str,
    reason: Option<String>,
    entries: Vec<String>,
    #[serde(flatten)]
    explanation: casemate_policy::compiled::Explanation,
}

/// Asks and explains.
pub(super) fn run(args: ExplainArgs) -> anyhow::Result<ExitCode> {
    let document = args.reading.load(&args.file)?;
    let judge = Judge::new(&document)?;
    let json = args.json;
    let question = question(args)?;
    let (ruling, explanation) = (judge.rule(&question), judge.explain(&question));
    let text = if json {
        serde_json::to_string_pretty(&Explained {
            outcome: ruling.outcome.name(),
            reason: Some(ruling.reason).filter(|reason| !reason.is_empty()),
            entries: ruling.entries,
            explanation,
        })?
    } else {
        let logged = if ruling.outcome == Outcome::Audit {
            ", and logged as against the rules"
        } else {
            ""
        };
        format!("{explanation}{logged}")
    };
    printer::say(&(text + "\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn question(args: ExplainArgs) -> anyhow::Result<Question> {
    let scripts = args.script.iter().map(|path| ("--script", path));
    let ancestors = args.ancestor.iter().map(|path| ("--ancestor", path));
    let programs = [("--binary", &args.binary)]
        .into_iter()
        .chain(scripts)
        .chain(ancestors);
    for (flag, path) in programs {
        if let Some(why) = Question::bad_program(path) {
            let hint = "give the path that symbolic links lead to; `readlink -f` prints it";
            bail!(Error::rule(format!("use {flag}"), why).on(path).hint(hint));
        }
    }
    if let Some(path) = &args.path
        && let Some(why) = Question::bad_path(path)
    {
        let hint = "such as `--path /a/b --query k=v`";
        bail!(Error::rule("use --path", why).on(path).hint(hint));
    }
    if args.host.is_empty() {
        bail!(Error::rule("use --host", "it is empty").hint("give a name or an address"));
    }
    let request = args.method.zip(args.path);
    Ok(Question {
        binary: args.binary,
        sha256: args.sha256.map(|digest| digest.0),
        script: args.script,
        ancestors: args.ancestor,
        host: args.host,
        port: args.port,
        request: request.map(|(method, path)| Asked {
            method,
            path,
            query: args.query,
        }),
    })
}

fn pair(text: &str) -> Result<(String, String), &'static str> {
    let (key, value) = text
        .split_once('=')
        .ok_or("expected a name, `=` and a value")?;
    Ok((key.to_owned(), value.to_owned()))
}
