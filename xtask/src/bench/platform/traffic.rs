//! What goes in and out of one sandbox: bytes through its ports, files, and the echo of a key
//! meanwhile. Beside each, the same program reached directly, in turn.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use std::io::{BufRead, BufReader};

use super::server::Server;
use super::session::Session;
use super::way::Way;
use super::{Row, milliseconds};

/// Where the program inside listens.
const PORT: u16 = 3000;
/// Keys of one round.
const KEYS: usize = 300;
/// Between two keys, as of somebody who types fast.
const PAUSE: Duration = Duration::from_millis(5);

/// The program outside; it ends with this.
struct Outside(Child);

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Measures all of it, with so many bytes at a time.
pub(super) fn rows(server: &Server, rounds: usize, size: usize) -> Result<Vec<Row>> {
    let client = server.client()?;
    let more = 4 * (size >> 20).max(256);
    let id = client.create_with(&serde_json::json!({
        "resources": { "memoryMB": more, "diskMB": more }
    }))?;
    let (agent, port) = (server.way(&id, 49983)?, server.way(&id, PORT)?);
    let own = std::env::current_exe().context("cannot find this program")?;
    let program = std::fs::read(&own)?;
    agent.put(
        "/files?path=/home/user/peer&username=user",
        program.len(),
        std::iter::once(&program[..]),
    )?;
    let script =
        format!("chmod +x peer; head -c {size} /dev/zero > big; exec ./peer bench-peer {PORT}");
    let mut peer = Session::start(&agent, &script, false)?;
    // "listening", as far as whole groups of letters go.
    peer.until("stdout", "bGlzdGVuaW5n")?;
    let mut outside = Command::new(&own)
        .args(["bench-peer", "0"])
        .stdout(Stdio::piped())
        .spawn()
        .map(Outside)?;
    let direct = Way {
        address: address(&mut outside)?,
        headers: String::new(),
    };
    let before = server.memory()?;
    let mut rows = bulk(&direct, &port, &agent, rounds, size)?;
    rows.push(Row::of(
        "growth of the server meanwhile",
        vec![server.memory()?.saturating_sub(before) as f64 / 1024.0],
        "MiB",
        "flat",
    )?);
    rows.extend(keys(&agent, &port, rounds, size)?);
    client.kill(&id)?;
    Ok(rows)
}

fn address(outside: &mut Outside) -> Result<std::net::SocketAddr> {
    let mut line = String::new();
    let out = outside.0.stdout.take().context("no standard output")?;
    BufReader::new(out).read_line(&mut line)?;
    let word = line.split_whitespace().last().context("no address")?;
    Ok(word.parse()?)
}

/// Bytes a second, as parts of the direct way's in the same round.
fn bulk(direct: &Way, port: &Way, agent: &Way, rounds: usize, size: usize) -> Result<Vec<Row>> {
    let page = format!("/{size}");
    let file = "/files?path=/home/user/big&username=user";
    let mut parts = [const { Vec::new() }; 3];
    for _ in 0..rounds {
        let down = direct.download(&page, size)?;
        parts[0].push(port.download(&page, size)? / down);
        parts[1].push(agent.download(file, size)? / down);
        let up = direct.upload("/", size)?;
        parts[2].push(port.upload("/", size)? / up);
    }
    let [down, file, up] = parts;
    Ok(vec![
        Row::least("port, download", down, "× direct", "≥ 0.7 × (median)")?,
        Row::least("port, upload", up, "× direct", "≥ 0.7 × (median)")?,
        Row::least(
            "file of 1 GiB, download",
            file,
            "× direct",
            "≥ 0.6 × (median)",
        )?,
    ])
}

/// Echoes of keys, quiet and loaded by turns.
fn keys(agent: &Way, port: &Way, rounds: usize, size: usize) -> Result<Vec<Row>> {
    let script = "stty -icanon; echo ready; exec cat > /dev/null";
    let mut session = Session::start(agent, script, true)?;
    // "ready"
    session.until("pty", "cmVhZH")?;
    let (mut quiet, mut loaded) = (Vec::new(), Vec::new());
    for _ in 0..rounds.min(5) {
        quiet.extend(echoes(&mut session, agent)?);
        let (stop, page) = (AtomicBool::new(false), format!("/{size}"));
        std::thread::scope(|scope| -> Result<()> {
            let flood = scope.spawn(|| port.flood(&stop));
            let bulk = scope.spawn(|| -> Result<()> {
                while !stop.load(Ordering::Relaxed) {
                    port.download(&page, size)?;
                }
                Ok(())
            });
            let echoed = echoes(&mut session, agent);
            stop.store(true, Ordering::Relaxed);
            for load in [flood, bulk] {
                load.join()
                    .unwrap_or_else(|_| anyhow::bail!("the load panicked"))?;
            }
            loaded.extend(echoed?);
            Ok(())
        })?;
    }
    let mut rows = vec![
        Row::of("echo of a key", quiet, "ms", "")?,
        Row::of("the same under load", loaded, "ms", "99th ≤ 25 ms")?,
    ];
    let (quiet, loaded) = (rows[0].p99, rows[1].p99);
    let ratio = vec![loaded / quiet];
    rows.push(Row::of("99th under load", ratio, "× quiet", "≤ 2 ×")?);
    Ok(rows)
}

fn echoes(session: &mut Session, agent: &Way) -> Result<Vec<f64>> {
    let mut keyboard = session.keyboard(agent)?;
    let mut times = Vec::with_capacity(KEYS);
    for _ in 0..KEYS {
        std::thread::sleep(PAUSE);
        let since = Instant::now();
        keyboard.press()?;
        session.until("pty", "aw==")?;
        times.push(milliseconds(since));
        keyboard.taken()?;
    }
    Ok(times)
}
