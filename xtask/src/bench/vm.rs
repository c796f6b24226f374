//! `bench vm`: what a sandbox costs that is a virtual machine, through the interface of a real server.
//!
//! The machines are QEMU's. What QEMU takes alone, from its start to its first word, is measured in
//! the same rounds: the rest is the guest's, the wall's and ours.

use super::machine::Machine;
use super::memory;
use super::platform::client::Client;
use super::platform::server::Server;
use super::platform::{Report, Row, milliseconds};
use crate::artifacts::{self, Program};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

/// What is measured beside it.
const QEMU: &str = "qemu-system-x86_64";
/// The same, as the kernel has its name.
const SHORT: &str = "qemu-system";
/// Forks at one time.
const FORKS: usize = 8;

/// What the caller chose.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// A few rounds only, to see that everything runs
    #[arg(long)]
    quick: bool,
    /// Where the JSON goes [default: bench/vm.json in the target folder]
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// What `casemate vm setup` made [default: where it makes it]
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
}

/// Measures everything and prints one table.
pub(crate) fn run(options: &Options) -> Result<()> {
    let [program] = artifacts::built([Program::Casemate])?;
    let mut flags = vec!["--wall".into(), "vm".into(), "--allow-emulation".into()];
    if let Some(images) = &options.images {
        flags.extend(["--images".into(), images.into()]);
    }
    let server = Server::start_with(&program, 0, &flags)
        .context("no server with virtual machines; `casemate vm setup` makes what it needs")?;
    println!(
        "QEMU; where KVM isn't native it translates: development and tests, no security boundary"
    );
    let mut machine = Machine::here();
    let rounds = if options.quick { 2 } else { 15 };
    let mut rows = Vec::new();
    let mut qemu = Vec::new();
    rows.extend(lives(&server, rounds, &mut qemu)?);
    rows.extend(forks(&server, rounds.div_ceil(3), &mut qemu)?);
    rows.push(Row::of("QEMU alone: start to first word", qemu, "ms", "")?);
    rows.push(beside(&server, 4)?);
    machine.finish();
    let report = Report {
        machine,
        quick: options.quick,
        rows,
    };
    let file = match &options.json {
        Some(file) => file.clone(),
        None => artifacts::folder("bench")?.join("vm.json"),
    };
    report.save(&file)
}

/// One after the other: made, paused, resumed, written, made of that.
fn lives(server: &Server, rounds: usize, qemu: &mut Vec<f64>) -> Result<Vec<Row>> {
    let client = server.client()?;
    let (mut made, mut paused, mut resumed) = (Vec::new(), Vec::new(), Vec::new());
    let (mut written, mut again) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        qemu.push(alone()?);
        let since = Instant::now();
        let sandbox = client.create()?;
        client.echo(&sandbox)?;
        made.push(milliseconds(since));
        let id = sandbox.split(' ').next().context("no id")?;
        let post = |what: &str, body: &Value| {
            client.call("POST", &format!("/sandboxes/{id}/{what}"), body)
        };
        let since = Instant::now();
        post("pause", &json!({}))?;
        paused.push(milliseconds(since));
        let since = Instant::now();
        // It answers when the agent has.
        post("connect", &json!({ "timeout": 600 }))?;
        resumed.push(milliseconds(since));
        let since = Instant::now();
        let snapshot = post("snapshots", &json!({}))?;
        written.push(milliseconds(since));
        let snapshot = snapshot["snapshotID"].as_str().context("no snapshot")?;
        let since = Instant::now();
        let other = made_of(&client, snapshot)?;
        again.push(milliseconds(since));
        client.kill(&other)?;
        client.call("DELETE", &format!("/templates/{snapshot}"), &json!({}))?;
        client.kill(&sandbox)?;
    }
    Ok(vec![
        Row::of("create, echo", made, "ms", "")?,
        Row::of("pause to disk", paused, "ms", "≤ 100 ms (a difference)")?,
        Row::of("resume, agent's answer", resumed, "ms", "≤ 300 ms (Debian)")?,
        Row::of("snapshot, which goes on", written, "ms", "")?,
        Row::of("create from it, agent's answer", again, "ms", "")?,
    ])
}

fn made_of(client: &Client, snapshot: &str) -> Result<String> {
    let wish = json!({ "templateID": snapshot, "timeout": 600 });
    let made = client.call("POST", "/v2/sandboxes", &wish)?;
    let id = made["sandboxID"].as_str().context("no id")?;
    Ok(id.to_owned())
}

/// Forks of one that runs, one and many; the answer comes when all have answered.
fn forks(server: &Server, rounds: usize, qemu: &mut Vec<f64>) -> Result<Vec<Row>> {
    let client = server.client()?;
    let sandbox = client.create()?;
    client.echo(&sandbox)?;
    let id = sandbox.split(' ').next().context("no id")?;
    let (mut one, mut many) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        qemu.push(alone()?);
        for (count, times) in [(1, &mut one), (FORKS, &mut many)] {
            let wish = json!({ "count": count, "timeout": 600 });
            let since = Instant::now();
            let forks = client.call("POST", &format!("/sandboxes/{id}/fork"), &wish)?;
            times.push(milliseconds(since));
            let forks = forks.as_array().context("no forks")?;
            for fork in forks {
                match fork["sandbox"]["sandboxID"].as_str() {
                    Some(fork) => client.kill(fork)?,
                    None => bail!("a fork: {fork}"),
                }
            }
        }
    }
    client.kill(&sandbox)?;
    Ok(vec![
        Row::of("fork, all answering", one, "ms", "")?,
        Row::of("8 forks, all answering", many, "ms", "≤ 1000 ms")?,
    ])
}

/// Memory of what is beside a machine's monitor: keeper, init, and who runs it.
fn beside(server: &Server, many: usize) -> Result<Row> {
    let client = server.client()?;
    let made: Vec<String> = (0..many).map(|_| client.create()).collect::<Result<_>>()?;
    let mut sizes = Vec::new();
    for sandbox in &made {
        client.echo(sandbox)?;
        let memory = memory::of_tree_but(server.keeper(sandbox)?, SHORT)?;
        sizes.push(memory.pss_kib as f64 / 1024.0);
    }
    for sandbox in &made {
        client.kill(sandbox)?;
    }
    Row::of("memory beside QEMU", sizes, "MiB (PSS)", "≤ 3 MiB")
}

/// QEMU with as much memory, from its start to its greeting.
fn alone() -> Result<f64> {
    let since = Instant::now();
    let mut process = Command::new(QEMU)
        .args([
            "-nodefaults",
            "-nographic",
            "-S",
            "-machine",
            "q35",
            "-m",
            "512",
        ])
        .args(["-qmp", "stdio"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot run {QEMU}"))?;
    let out = process.stdout.take().context("no standard output")?;
    let mut line = String::new();
    let read = BufReader::new(out).read_line(&mut line);
    let time = milliseconds(since);
    process.kill()?;
    process.wait()?;
    match read? > 0 && line.contains("QMP") {
        true => Ok(time),
        false => bail!("{QEMU} said nothing"),
    }
}
