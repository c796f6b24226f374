//! `casemate policy learn`: the least policy for what a program does.
//!
//! The program runs behind the wall as always, but for the network: what no policy allows is let
//! through and written down, as far as the address is one that may be reached. What it connected
//! to is its own choice, so the policy is a proposal to be read, and never put in force by itself.

use super::counted;
use super::place::Place;
use crate::{printer, run};
use casemate_core::exit;
use casemate_egress::proxy::{Learning, Seen};
use casemate_policy::Document;
use casemate_policy::learn::{Around, Learnt, learn_around};
use clap::Args;
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// Refusals and names that are listed in the policy's comments.
const MAX_REMARKS: usize = 20;

// The arguments of `casemate policy learn`.
#[derive(Args)]
#[command(
    after_help = "While learning, the program may connect to any public address, and have any name resolved.\n\
    What --policy allows is not repeated: the new policy extends it.\n\
    Exit codes: those of casemate run."
)]
pub(super) struct LearnArgs {
    /// Where to write the policy
    #[arg(long, value_name = "FILE", default_value = "policy.learned.yaml")]
    output: PathBuf,
    /// Replace the file if there is one
    #[arg(long)]
    force: bool,
    /// Terminate TLS, and learn requests (method and path) instead of connections
    #[arg(long)]
    inspect: bool,
    /// Also let it reach this address or network, which isn't public
    #[arg(long, value_name = "ADDR|CIDR", value_parser = net)]
    allow_ip: Vec<IpNet>,
    #[command(flatten)]
    run: run::RunArgs,
}

/// What the policy is laid over.
struct Base {
    path: String,
    document: Document,
}

/// Runs the program and writes the policy.
pub(super) fn run(args: LearnArgs) -> anyhow::Result<ExitCode> {
    let place = Place::new(&args.output, args.force)?;
    let base = match args.run.base() {
        Some((path, reading)) => Some(Base {
            path: place.reference(path)?,
            document: reading.load(path)?,
        }),
        None => None,
    };
    let run = args.run.for_learning()?;
    let learning = Arc::new(Learning::new(args.inspect, args.allow_ip));
    // The arguments may have secrets in them, and a policy is a file to be shared.
    let program = run.program().to_string_lossy().into_owned();
    announce(args.inspect);
    let ended = run::learn(run, Arc::clone(&learning));
    let seen = learning.seen();
    let code = match ended {
        Ok(code) => code,
        Err(failure) => {
            printer::error(&failure.error.to_string());
            if seen.observations.is_empty() {
                return Ok(ExitCode::from(failure.code));
            }
            failure.code
        }
    };
    let remarks = remarks(&program, &seen);
    let learnt = learn_around(
        &seen.observations,
        &Around {
            base: base.as_ref().map(|own| (&*own.path, &own.document)),
            include_workdir: base.is_none(),
            remarks: &remarks,
        },
    );
    if let Err(error) = place.put(&learnt.text) {
        printer::error(&error.to_string());
        return Ok(ExitCode::from(exit::FAILED));
    }
    tell(&args.output, &learnt, &seen);
    Ok(ExitCode::from(code))
}

fn announce(inspect: bool) {
    printer::line(
        "LEARNING: the program may connect to ANY public address and send there what it can read",
    );
    if inspect {
        printer::line("LEARNING: its TLS connections are opened and looked into");
    }
}

/// What the policy's reader should know, besides what it allows.
fn remarks(program: &str, seen: &Seen) -> Vec<String> {
    let mut remarks = vec![
        format!("Learnt from one run of: {}", cut(program)),
        "Read it before use: the program chose what is in it.".to_owned(),
    ];
    let refused = seen.refused.iter().map(|own| {
        let (place, why) = (format!("{}:{}", own.host, own.port), cut(&own.why));
        format!("refused while learning: {place}: {why}")
    });
    list(&mut remarks, refused, "more refused");
    let connected = |name: &&String| !seen.observations.iter().any(|own| own.host == **name);
    let resolved = seen.resolved.iter().filter(connected);
    let resolved = resolved.map(|name| format!("resolved, and not connected to: {name}"));
    list(&mut remarks, resolved, "more resolved");
    if seen.lost > 0 {
        remarks.push(format!("{} found no room, and are missing here", seen.lost));
    }
    remarks
}

fn list(remarks: &mut Vec<String>, lines: impl Iterator<Item = String>, more: &str) {
    let mut lines = lines.fuse();
    remarks.extend(lines.by_ref().take(MAX_REMARKS));
    match lines.count() {
        0 => {}
        count => remarks.push(format!("and {count} {more}")),
    }
}

fn cut(text: &str) -> String {
    const MOST: usize = 200;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn tell(output: &Path, learnt: &Learnt, seen: &Seen) {
    let left_out: BTreeSet<_> = learnt.left_out.iter().map(|(own, _)| own).collect();
    let kept = seen
        .observations
        .iter()
        .filter(|own| !left_out.contains(own));
    let (requests, connections): (Vec<_>, Vec<_>) = kept.partition(|own| own.request.is_some());
    printer::line(&format!(
        "learnt {} and {} of {}: {}",
        counted(connections.len(), "connection"),
        counted(requests.len(), "request"),
        counted(learnt.programs, "program"),
        output.display()
    ));
    let problems = [
        (
            learnt.left_out.len(),
            "left out, since no policy can allow it",
        ),
        (
            seen.refused.len(),
            "refused while learning (private addresses need --allow-ip)",
        ),
        (
            usize::try_from(seen.lost).unwrap_or(usize::MAX),
            "missing, since there were too many",
        ),
    ];
    for (count, what) in problems.into_iter().filter(|(count, _)| *count > 0) {
        printer::line(&format!("{count} {what}: see the comments in the policy"));
    }
}

/// An address is the network of it alone.
pub(crate) fn net(text: &str) -> Result<IpNet, String> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    address
        .or_else(|_| text.parse())
        .map_err(|_| "expected an address such as 10.0.0.7, or a network such as 10.0.0.0/8".into())
}
