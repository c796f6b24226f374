//! How fast pages are served: what one fault costs its thread, and how much is filled ahead in a
//! second, beside what plain files and plain memory cost on the same machine at the same time.
//!
//! ```text
//!   cargo run --release -p casemate-vm --example pages_bench [MIB] [SPIN_US]
//! ```
//!
//! One JSON object goes to standard output; times are nanoseconds.

#[path = "../tests/world/uffd.rs"]
mod uffd;

use casemate_vm::pages::{self, Layer, Options, Report, Source};
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use uffd::{PAGE, Peer};

/// The argument that makes this program the other process.
const PEER: &str = "--peer";
/// What one fill ahead is measured over, and how many faults.
const FAULTS: u64 = 20_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|word| word == PEER) {
        return uffd::obey();
    }
    let number = |at: usize, otherwise: u64| {
        let word = arguments.get(at);
        word.map_or(otherwise, |word| word.parse().expect("a number"))
    };
    let (mebibytes, spin) = (number(0, 512), Duration::from_micros(number(1, 50)));
    let folder = tempfile::tempdir().expect("a folder");
    let memory = folder.path().join("memory");
    fill(&memory, mebibytes);
    let one = |name: &str, everything: bool| {
        let socket = folder.path().join(name);
        let options = Options {
            everything,
            spin,
            ..Options::default()
        };
        Served::begin(&memory, &socket, options)
    };

    let pages = mebibytes * 1024 / 4;
    let faults = FAULTS.min(pages);
    let in_order = {
        let mut served = one("order", false);
        let took = served.peer.ask(&format!("time 0 0 {faults}"));
        measured(&took, &served.end())
    };
    let scattered = {
        let mut served = one("scattered", false);
        let took: Vec<String> = (0..faults / 64)
            .map(|n| n * 7919 % (pages - 64))
            .map(|first| served.peer.ask(&format!("time 0 {first} 1")))
            .collect();
        measured(&took.join(" "), &served.end())
    };
    let ahead = {
        let served = one("ahead", true);
        let begun = Instant::now();
        // It is there when all before it is.
        while served.resident() < mebibytes * 1024 {
            thread::sleep(Duration::from_millis(1));
        }
        let took = begun.elapsed() + served.took;
        json!({
            "seconds": took.as_secs_f64(),
            "gb_per_second": (mebibytes << 20) as f64 / 1e9 / took.as_secs_f64(),
            "pages": served.end().prefetched,
        })
    };
    let report = json!({
        "mebibytes": mebibytes,
        "spin_us": spin.as_micros() as u64,
        "fault_in_order": in_order,
        "fault_scattered": scattered,
        "fill_ahead": ahead,
        "baseline": baseline(&memory, mebibytes, faults),
    });
    println!("{report:#}");
}

/// Memory that is all data.
fn fill(path: &Path, mebibytes: u64) {
    let mut file = File::create(path).expect("a file");
    let mut word = 1_u64;
    for _ in 0..mebibytes {
        let words = (0..(1 << 20) / 8).flat_map(|_| {
            word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            word.to_le_bytes()
        });
        let block: Vec<u8> = words.collect();
        file.write_all(&block).expect("it is written");
    }
}

/// A machine that is served by a thread here.
struct Served {
    peer: Peer,
    server: JoinHandle<Report>,
    /// From having connected to now.
    took: Duration,
}

impl Served {
    fn begin(memory: &Path, socket: &Path, options: Options) -> Self {
        let listener = pages::listen(socket).expect("it listens");
        let layer = Layer::raw(memory, None).expect("it is memory");
        let source = Source::new(vec![layer]).expect("it is whole");
        let size = source.pages() * PAGE;
        let server = thread::spawn(move || {
            let served = pages::serve(listener, source, &options);
            served.unwrap_or_else(|error| panic!("{error}"))
        });
        let mut command = Command::new(std::env::current_exe().expect("it is there"));
        command.arg(PEER);
        let mut peer = Peer::of(command);
        assert_eq!(peer.ask(&format!("map {size}")), "ok");
        let begun = Instant::now();
        assert_eq!(peer.ask(&format!("connect {}", socket.display())), "ok");
        let took = begun.elapsed();
        Self { peer, server, took }
    }

    /// The peer's own memory, KiB.
    fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.peer.id()));
        let status = status.expect("it runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.and_then(|n| n.parse().ok()).expect("a number")
    }

    fn end(mut self) -> Report {
        self.peer.kill();
        self.server.join().expect("it ends by itself")
    }
}

fn percentiles(mut each: Vec<u64>) -> (u64, u64) {
    each.sort_unstable();
    let at = |percent: usize| each[(each.len() - 1) * percent / 100];
    (at(50), at(99))
}

fn measured(took: &str, report: &Report) -> Value {
    let each = took.split(' ').map(|n| n.parse().expect("a number"));
    let (p50, p99) = percentiles(each.collect());
    json!({
        "p50": p50,
        "p99": p99,
        "served_p50": report.p50,
        "served_p99": report.p99,
        "faults": report.faults,
    })
}

/// What the kernel does alone: a fault on a file that is mapped privately and read, one that is
/// written, and a copy of memory.
fn baseline(memory: &Path, mebibytes: u64, faults: u64) -> Value {
    use casemate_sys::uffd::Memory;
    let anonymous = Memory::new(faults * PAGE).expect("memory");
    let each = (0..faults).map(|page| {
        let begun = Instant::now();
        anonymous.set_word(page * PAGE, 1);
        begun.elapsed().as_nanos() as u64
    });
    let (anonymous_p50, anonymous_p99) = percentiles(each.collect());
    let private = Memory::of_file(File::open(memory).expect("a file"), faults * PAGE);
    let private = private.expect("it is mapped");
    let each = (0..faults).map(|page| {
        let begun = Instant::now();
        private.set_word(page * PAGE, 1);
        begun.elapsed().as_nanos() as u64
    });
    let (private_p50, private_p99) = percentiles(each.collect());
    let from = std::fs::read(memory).expect("a file");
    let mut to = vec![1; from.len()];
    let begun = Instant::now();
    to.copy_from_slice(&from);
    let took = begun.elapsed();
    json!({
        "anonymous_write_p50": anonymous_p50,
        "anonymous_write_p99": anonymous_p99,
        "private_file_write_p50": private_p50,
        "private_file_write_p99": private_p99,
        "memcpy_gb_per_second": (mebibytes << 20) as f64 / 1e9 / took.as_secs_f64(),
    })
}
