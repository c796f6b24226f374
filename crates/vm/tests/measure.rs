//! How long a machine stands still while it is written, and how long that takes: numbers to read, not
//! to be held. `cargo nextest run -p casemate-vm --run-ignored only --no-capture measure`.

#[allow(dead_code, reason = "other tests need the rest")]
mod world;

use casemate_vm::driver::{Kind, Memory, Monitor, Running};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::time::sleep;
use world::World;

/// Of 512 MiB, a program has so many bytes.
const USED: usize = 64 << 20;
const TIMES: usize = 5;

/// The longest time for which a guest that speaks each millisecond says nothing.
#[derive(Default)]
struct Silence {
    longest: AtomicU64,
    is_over: AtomicBool,
}

impl Silence {
    async fn of(running: &dyn Running) -> Arc<Self> {
        let silence = Arc::<Self>::default();
        let socket = running.channel().await.expect("it listens");
        let mut socket = std::os::unix::net::UnixStream::from(socket);
        socket.set_nonblocking(false).expect("a socket");
        let heard = Arc::clone(&silence);
        std::thread::spawn(move || {
            let (mut block, mut last) = ([0; 4096], Instant::now());
            while !heard.is_over.load(Ordering::Relaxed)
                && socket.read(&mut block).is_ok_and(|n| n > 0)
            {
                let silent = last.elapsed().as_micros();
                heard
                    .longest
                    .fetch_max(u64::try_from(silent).expect("short"), Ordering::Relaxed);
                last = Instant::now();
            }
        });
        silence
    }

    /// Since this was asked last, milliseconds.
    fn longest(&self) -> u64 {
        self.longest.swap(0, Ordering::Relaxed) / 1000
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

fn megabytes(path: &Path) -> u64 {
    fs::metadata(path).expect("it is there").blocks() * 512 / 1_000_000
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it measures"]
async fn measure() {
    let Some(world) = World::find() else { return };
    let mut machine = world.machine();
    machine.memory = 512;
    let place = world.place("source");
    let source = world
        .qemu
        .start(&machine, &place)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    source.resume().await.expect("it runs");
    let silence = Silence::of(&*source).await;
    while silence.longest() == 0 {
        sleep(Duration::from_millis(100)).await;
    }
    sleep(Duration::from_secs(3)).await;
    written(&world, &*source, &silence, "booted", Kind::Full).await;
    println!("memory file: {} MB", megabytes(&place.join("memory")));
    let begun = Instant::now();
    source.balloon(250).await.expect("it gives back");
    source.balloon(0).await.expect("it has it again");
    println!(
        "trimmed in {} ms: {} MB",
        begun.elapsed().as_millis(),
        megabytes(&place.join("memory"))
    );
    written(&world, &*source, &silence, "trimmed", Kind::Full).await;
    source.end();

    let from = world.folder.path().join("trimmed-0");
    for (memory, name) in [(Memory::Lent, "lent"), (Memory::Own, "own")] {
        let place = world.place(name);
        let begun = Instant::now();
        let restored = world.qemu.restore(&from, &place, memory).await;
        let running = restored.unwrap_or_else(|error| panic!("{error}"));
        println!("{name}: restored in {} ms", begun.elapsed().as_millis());
        let silence = Silence::of(&*running).await;
        running.resume().await.expect("it runs");
        sleep(Duration::from_secs(1)).await;
        if memory == Memory::Own {
            written(&world, &*running, &silence, "difference", Kind::Difference).await;
        } else {
            written(&world, &*running, &silence, "lent-full", Kind::Full).await;
        }
    }
    let last = world
        .folder
        .path()
        .join(format!("difference-{}", TIMES - 1));
    let begun = Instant::now();
    casemate_vm::qemu::merge(&last).await.expect("it is merged");
    println!("{TIMES} merged in {} ms", begun.elapsed().as_millis());
}

async fn written(world: &World, running: &dyn Running, silence: &Silence, name: &str, kind: Kind) {
    for number in 0..TIMES {
        sleep(Duration::from_millis(300)).await;
        let usual = silence.longest();
        let folder = world.folder.path().join(format!("{name}-{number}"));
        let begun = Instant::now();
        let written = running.snapshot_as(&folder, kind).await;
        written.unwrap_or_else(|error| panic!("{error}"));
        let whole = begun.elapsed().as_millis();
        sleep(Duration::from_millis(50)).await;
        println!(
            "{name}: silent {} ms (usually {usual}), whole {whole} ms, memory {} MB, state {} kB",
            silence.longest(),
            megabytes(&folder.join("memory")),
            fs::metadata(folder.join("state"))
                .expect("it is there")
                .len()
                / 1000,
        );
    }
}

/// The guest's, and no test of the host's.
#[test]
#[ignore = "it is the first program of a machine"]
fn first_program() {
    let Some(mut port) = world::first::begin() else {
        return;
    };
    let filled: Vec<u8> = (0..USED).map(|n| (n >> 3) as u8).collect();
    // What is freed may be given back.
    drop(vec![7_u8; USED]);
    loop {
        // Nobody may be there.
        let _ = port.write_all(&filled[5..6]);
        std::thread::sleep(Duration::from_millis(1));
    }
}
