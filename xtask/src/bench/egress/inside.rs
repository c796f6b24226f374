//! The program inside: connects, again and again, and prints what each time took.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};

/// What it does; in this order.
#[derive(clap::Args, Default)]
pub(crate) struct Inside {
    /// Where to; several are taken in turn
    #[arg(long)]
    to: Vec<SocketAddr>,
    /// Processes that hold descriptors meanwhile
    #[arg(long, default_value_t = 0)]
    crowd: usize,
    /// Holds this many descriptors until standard input ends, and does nothing else
    #[arg(long)]
    hold: Option<usize>,
    /// Prints a line and waits for one before the first connection
    #[arg(long)]
    pause: bool,
    /// Connections to each
    #[arg(long, default_value_t = 0)]
    connects: usize,
    /// Microseconds from one of them to the next
    #[arg(long, default_value_t = 0)]
    every: u64,
    /// Connections to the first that are open at one time
    #[arg(long, default_value_t = 0)]
    open: usize,
    /// Programs that each connect for the first time; it goes on until all have
    #[arg(long)]
    alongside: Vec<PathBuf>,
    /// Bytes to be had from each
    #[arg(long)]
    bulk: Option<u64>,
}

/// What it prints.
#[derive(Serialize, Deserialize, Default)]
pub(super) struct Found {
    /// Microseconds of the first connection to each.
    pub(super) first: Vec<f64>,
    /// Microseconds of the others.
    pub(super) connects: Vec<Vec<f64>>,
    /// Megabytes a second.
    pub(super) rates: Vec<f64>,
}

/// Descriptors of each process of a crowd.
const EACH: usize = 50;

/// Runs inside.
pub(crate) fn inside(wanted: &Inside) -> Result<()> {
    if let Some(count) = wanted.hold {
        let files = (0..count).map(|_| std::fs::File::open("/dev/null"));
        let _held = files.collect::<Result<Vec<_>, _>>()?;
        println!("holding");
        std::io::stdin().read_to_end(&mut Vec::new())?;
        return Ok(());
    }
    let mut crowd = (0..wanted.crowd)
        .map(|_| neighbour())
        .collect::<Result<Vec<_>>>()?;
    if wanted.pause {
        println!("ready");
        std::io::stdin().read_line(&mut String::new())?;
    }
    let mut found = Found::default();
    for to in &wanted.to {
        found.first.push(connect(*to)?);
    }
    found.connects = vec![Vec::new(); wanted.to.len()];
    let (every, mut due) = (Duration::from_micros(wanted.every), Instant::now());
    let mut round = || -> Result<()> {
        // What was missed is not made up for.
        due = (due + every).max(Instant::now());
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        for (to, times) in wanted.to.iter().zip(&mut found.connects) {
            times.push(connect(*to)?);
        }
        Ok(())
    };
    for _ in 0..wanted.connects {
        round()?;
    }
    let mut others = wanted
        .alongside
        .iter()
        .map(|file| newcomer(file, &wanted.to))
        .collect::<Result<Vec<_>>>()?;
    while !others.is_empty() {
        round()?;
        others.retain_mut(|other| !matches!(other.try_wait(), Ok(Some(_))));
    }
    let _open = match wanted.to.first() {
        Some(to) => held(*to, wanted.open)?,
        None => Vec::new(),
    };
    if let Some(bytes) = wanted.bulk {
        let rates = wanted.to.iter().map(|to| fetch(*to, bytes));
        found.rates = rates.collect::<Result<_>>()?;
    }
    println!("{}", serde_json::to_string(&found)?);
    crowd.iter_mut().for_each(|child| drop(child.stdin.take()));
    for mut child in crowd {
        child.wait()?;
    }
    Ok(())
}

fn neighbour() -> Result<Child> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["egress-inside", "--hold", &EACH.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start a neighbour")?;
    // It has them all when it says so.
    let mut said = [0];
    child
        .stdout
        .take()
        .context("no output")?
        .read_exact(&mut said)?;
    Ok(child)
}

fn newcomer(file: &PathBuf, to: &[SocketAddr]) -> Result<Child> {
    let mut command = Command::new(file);
    command.arg("egress-inside").stdout(Stdio::null());
    for to in to.iter().take(1) {
        command.args(["--to", &to.to_string()]);
    }
    command
        .spawn()
        .with_context(|| format!("cannot start {}", file.display()))
}

/// Microseconds until connect(2) is back.
fn connect(to: SocketAddr) -> Result<f64> {
    let start = Instant::now();
    let stream = TcpStream::connect(to).with_context(|| format!("cannot connect to {to}"))?;
    let time = start.elapsed();
    // The next one must not meet this one's end on its way.
    drop(stream);
    Ok(time.as_secs_f64() * 1e6)
}

/// Many at one time, each used once so that it is there on all sides.
fn held(to: SocketAddr, count: usize) -> Result<Vec<TcpStream>> {
    let limit = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, all).context("cannot raise the limit of descriptors")?;
    let open = || -> Result<TcpStream> {
        let mut stream = TcpStream::connect(to)?;
        stream.write_all(&1_u64.to_be_bytes())?;
        stream.read_exact(&mut [0])?;
        Ok(stream)
    };
    (0..count).map(|_| open()).collect()
}

/// Megabytes a second of this many bytes.
fn fetch(to: SocketAddr, bytes: u64) -> Result<f64> {
    let mut stream = TcpStream::connect(to)?;
    stream.write_all(&bytes.to_be_bytes())?;
    let mut buffer = vec![0; 256 << 10];
    let (mut left, start) = (bytes, Instant::now());
    while left > 0 {
        let count = stream.read(&mut buffer)?;
        anyhow::ensure!(count > 0, "{to} ended {left} bytes early");
        left = left.saturating_sub(count as u64);
    }
    Ok(bytes as f64 / 1e6 / start.elapsed().as_secs_f64())
}
