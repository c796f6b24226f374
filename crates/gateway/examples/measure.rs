//! How much the gateway costs: bytes a second against the direct way, and how long a key's echo
//! takes while bulk goes through the same sandbox.
//!
//! `cargo run --release -p casemate-gateway --example measure [rounds] [MiB]`. The program inside,
//! the gateway and the client are processes of their own, and the ways take turns.

#![allow(
    clippy::unwrap_used,
    reason = "a measurement that can't go on has failed"
)]
#![allow(clippy::print_stdout, reason = "that is what it's for")]

#[path = "../tests/way/world.rs"]
#[allow(dead_code, reason = "the tests use all of it")]
mod world;

use casemate_core::node::Door;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use world::{Behind, Wire, World, host, patient, server, settings, unix_server};

const PORT: u16 = 3000;
const CHUNK: usize = 128 << 10;
const KEYS: usize = 1000;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("inside") => inside(Path::new(&arguments[2])).await,
        Some("gateway") => gateway(&arguments[2], Path::new(&arguments[3])).await,
        rounds => {
            let number = |text: Option<&str>| text.and_then(|own| own.parse::<usize>().ok());
            let rounds = number(rounds).unwrap_or(9);
            let size = number(arguments.get(2).map(String::as_str)).unwrap_or(1024) << 20;
            tokio::task::spawn_blocking(move || client(rounds, size))
                .await
                .unwrap();
        }
    }
}

/// The program and the agent.
async fn inside(socket: &Path) {
    let (address, _program) = server(serve).await;
    let _agent = unix_server(socket, serve).await;
    println!("{address}");
    std::future::pending::<()>().await;
}

/// `GET /{bytes}` is so many bytes, `POST` is swallowed, and chunks that come to `StreamInput` go
/// back one by one.
async fn serve<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(mut wire: Wire<S>) {
    loop {
        let head = wire.head().await;
        let mut words = head.split(' ');
        let (method, path) = (words.next(), words.next().unwrap_or_default());
        if path == "/process.Process/StreamInput" {
            wire.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                .await;
            while let Some(Some(chunk)) = wire.chunk().await {
                let text = String::from_utf8(chunk).unwrap();
                wire.say(format!("{:x}\r\n{text}\r\n", text.len())).await;
            }
            return;
        }
        match method {
            Some("GET") => {
                let target = path.split(['/', '=']).next_back();
                let mut left: usize = target.unwrap_or_default().parse().unwrap_or(0);
                wire.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {left}\r\n\r\n"))
                    .await;
                let zeros = vec![0; CHUNK];
                while left > 0 {
                    let now = left.min(CHUNK);
                    if wire.0.get_mut().write_all(&zeros[..now]).await.is_err() {
                        return;
                    }
                    left -= now;
                }
            }
            Some("POST") => {
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: "));
                let mut left: usize = length.unwrap_or("0").parse().unwrap();
                let mut chunk = vec![0; CHUNK];
                while left > 0 {
                    let most = left.min(CHUNK);
                    match wire.0.read(&mut chunk[..most]).await {
                        Ok(read @ 1..) => left -= read,
                        _ => return,
                    }
                }
                wire.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    .await;
            }
            _ => return,
        }
    }
}

async fn gateway(address: &str, socket: &Path) {
    let world = World::with(settings(patient())).await;
    world.port(PORT, address.parse().unwrap());
    world.open(Door::Agent, Behind::Unix(socket.into()));
    println!("{}", world.address);
    std::future::pending::<()>().await;
}

struct Process(Child, SocketAddr);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    fn new(arguments: &[&str]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        Self(child, line.trim().parse().unwrap())
    }

    fn memory(&self) -> String {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmHWM"))
            .unwrap();
        line.split_whitespace()
            .skip(1)
            .collect::<Vec<_>>()
            .join(" ")
    }
}

fn client(rounds: usize, size: usize) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("agent.sock");
    let socket = socket.to_str().unwrap();
    let inside = Process::new(&["inside", socket]);
    let gateway = Process::new(&["gateway", &inside.1.to_string(), socket]);
    let program = host(PORT);
    let agent = host(49983);
    let file = format!("/files?path={size}");
    let page = format!("/{size}");
    let ways: [(&str, &dyn Fn() -> Duration); 5] = [
        ("direct: download", &|| {
            download(inside.1, &program, &page, size)
        }),
        ("port: download", &|| {
            download(gateway.1, &program, &page, size)
        }),
        ("files: download", &|| {
            download(gateway.1, &agent, &file, size)
        }),
        ("direct: upload", &|| upload(inside.1, &program, size)),
        ("port: upload", &|| upload(gateway.1, &program, size)),
    ];
    let mut rates = [const { Vec::new() }; 5];
    for _ in 0..rounds {
        for (at, (_, way)) in ways.iter().enumerate() {
            rates[at].push(size as f64 / way().as_secs_f64() / f64::from(1 << 20));
        }
    }
    for (at, (name, _)) in ways.iter().enumerate() {
        rates[at].sort_by(f64::total_cmp);
        println!(
            "{name:18} {:8.0} MiB/s (median of {rounds})",
            rates[at][rounds / 2]
        );
    }
    let median = |at: usize| rates[at][rounds / 2];
    println!(
        "port/direct {:.2}, files/direct {:.2}, upload {:.2}",
        median(1) / median(0),
        median(2) / median(0),
        median(4) / median(3)
    );
    println!("gateway's memory at most: {}", gateway.memory());

    let mut quiet = Vec::new();
    let mut loaded = Vec::new();
    for _ in 0..3 {
        quiet.extend(keys(gateway.1, &agent));
        let stop = Arc::new(AtomicBool::new(false));
        let bulk: Vec<_> = (0..4)
            .map(|_| {
                let (stop, program, address) = (Arc::clone(&stop), program.clone(), gateway.1);
                let page = format!("/{}", 256 << 20);
                std::thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        download(address, &program, &page, 256 << 20);
                    }
                })
            })
            .collect();
        loaded.extend(keys(gateway.1, &agent));
        stop.store(true, Ordering::Relaxed);
        bulk.into_iter().for_each(|own| own.join().unwrap());
    }
    for (name, mut times) in [("quiet", quiet), ("under load", loaded)] {
        times.sort();
        let at = |share: f64| times[(times.len() as f64 * share) as usize];
        println!(
            "a key's echo, {name}: p50 {:?}, p99 {:?}, max {:?}",
            at(0.5),
            at(0.99),
            times[times.len() - 1]
        );
    }
}

fn download(address: SocketAddr, host: &str, path: &str, size: usize) -> Duration {
    let began = Instant::now();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
    let mut chunk = vec![0; CHUNK];
    let mut read = stream.read(&mut chunk).unwrap();
    let head = chunk[..read]
        .windows(4)
        .position(|own| own == b"\r\n\r\n")
        .unwrap()
        + 4;
    read -= head;
    while read < size {
        match stream.read(&mut chunk).unwrap() {
            0 => panic!("cut off after {read} bytes"),
            more => read += more,
        }
    }
    began.elapsed()
}

fn upload(address: SocketAddr, host: &str, size: usize) -> Duration {
    let began = Instant::now();
    let mut stream = TcpStream::connect(address).unwrap();
    // In lower case, as it arrives through the gateway.
    write!(
        stream,
        "POST / HTTP/1.1\r\nhost: {host}\r\ncontent-length: {size}\r\n\r\n"
    )
    .unwrap();
    let chunk = vec![0; CHUNK];
    let mut left = size;
    while left > 0 {
        let now = left.min(CHUNK);
        stream.write_all(&chunk[..now]).unwrap();
        left -= now;
    }
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    began.elapsed()
}

/// Echoes of keys over one terminal, a little apart as they're typed.
fn keys(address: SocketAddr, host: &str) -> Vec<Duration> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    write!(stream, "POST /process.Process/StreamInput HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    let mut echoed = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    while echoed.read_line(&mut line).unwrap() > 2 {}
    (0..KEYS)
        .map(|_| {
            std::thread::sleep(Duration::from_millis(1));
            let began = Instant::now();
            stream.write_all(b"1\r\nk\r\n").unwrap();
            let mut echo = [0; 6];
            echoed.read_exact(&mut echo).unwrap();
            began.elapsed()
        })
        .collect()
}
