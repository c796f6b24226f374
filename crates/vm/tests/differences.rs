//! Snapshots that build on others, and memory that guests give back, under a real QEMU.

#[allow(dead_code, reason = "other tests need the rest")]
mod world;

use casemate_vm::driver::{Board, Disk, Kind, Memory, Monitor, Rate, Running};
use casemate_vm::memory::{PAGE, Ranges};
use casemate_vm::qemu::merge;
use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, memfd_create};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use world::{Line, World};

/// What the guest marks its pages with: found in a memory file wherever the guest has them.
const MARK: &[u8; 16] = b"casemate-marked!";

impl World {
    fn snapshot(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn restored(&self, from: &Path, name: &str, memory: Memory) -> (Arc<dyn Running>, Line) {
        let place = self.place(name);
        let restored = self.qemu.restore(from, &place, memory).await;
        let running = restored.unwrap_or_else(|error| panic!("{error}"));
        let line = Line::of(&*running).await;
        running.resume().await.expect("it goes on");
        (running, line)
    }
}

async fn written(running: &dyn Running, folder: &Path, kind: Kind) {
    let written = running.snapshot_as(folder, kind).await;
    written.unwrap_or_else(|error| panic!("{error}"));
}

/// Bytes that a file takes.
fn taken(path: &Path) -> u64 {
    fs::metadata(path).expect("it is there").blocks() * 512
}

#[tokio::test]
async fn a_chain_is_followed_merged_and_not_taken_from_others() {
    let Some(world) = World::find() else { return };
    let disk = world.folder.path().join("disk");
    let file = File::create(&disk).expect("a disk");
    file.set_len(8 << 20).expect("it is long");
    file.write_all_at(&vec![9; 4 << 20], 1 << 20)
        .expect("it has something");
    let mut machine = world.machine();
    machine.disks.push(Disk::whole(disk, false));
    let (source, mut line) = world.boot("source", &machine).await;
    let [first, second, third] = ["first", "second", "third"].map(|name| world.snapshot(name));
    let error = source
        .snapshot_as(&first, Kind::Difference)
        .await
        .expect_err("on nothing");
    assert!(
        error.to_string().contains("hint: take a full snapshot"),
        "{error}"
    );
    assert!(!first.exists());
    line.ask("mark 900").await;
    line.ask("write first").await;
    written(&*source, &first, Kind::Full).await;
    line.ask("mark 300").await;
    line.ask("write second").await;
    written(&*source, &second, Kind::Difference).await;
    line.ask("mark 1000").await;
    written(&*source, &third, Kind::Difference).await;
    source.end();
    for one in [&second, &third] {
        let (all, own) = (taken(&first.join("memory")), taken(&one.join("memory")));
        assert!(own < all / 2, "{own} of {all}");
        let disk = taken(&one.join("disk0"));
        assert!(disk < 1 << 20, "{disk}");
    }

    // Each is of its moment, in whichever way it is restored.
    for (memory, name) in [(Memory::Own, "own"), (Memory::Lent, "lent")] {
        let (clone, mut line) = world
            .restored(&second, &format!("second-{name}"), memory)
            .await;
        assert_eq!(line.ask("marked").await, "300");
        assert_eq!(line.ask("read").await, "second");
        clone.end();
    }
    let (clone, mut line) = world.restored(&third, "third-own", Memory::Own).await;
    assert_eq!(line.ask("marked").await, "1000");
    line.ask("mark 5").await;
    let fourth = world.snapshot("fourth");
    written(&*clone, &fourth, Kind::Difference).await;
    clone.end();

    // What builds on one that was merged goes on doing so.
    merge(&third).await.expect("it is merged");
    merge(&third).await.expect("it is whole");
    assert!(!third.join("memory.ranges").exists());
    for gone in [&first, &second] {
        fs::remove_dir_all(gone).expect("it is there");
    }
    for (from, marked) in [(&third, "1000"), (&fourth, "5")] {
        let name = from.file_name().expect("a name").to_string_lossy();
        let (_clone, mut line) = world
            .restored(from, &format!("{name}-after"), Memory::Own)
            .await;
        assert_eq!(line.ask("marked").await, marked);
        assert_eq!(line.ask("read").await, "second");
    }

    // Another in the place of what one builds on.
    fs::rename(&third, &first).expect("it is there");
    let restored = world
        .qemu
        .restore(&fourth, &world.place("orphan"), Memory::Own)
        .await;
    let error = restored.err().expect("it has no parent").to_string();
    assert!(error.contains("third"), "{error}");
    fs::rename(&first, &third).expect("it is there");
    let manifest = fourth.join("manifest.json");
    let text = fs::read_to_string(&manifest).expect("it is there");
    let mut itself: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
    itself["parent"]["id"] = itself["id"].clone();
    itself["parent"]["folder"] = fourth.to_str().into();
    fs::write(&manifest, itself.to_string()).expect("it is written");
    let restored = world
        .qemu
        .restore(&fourth, &world.place("circle"), Memory::Own)
        .await;
    let error = restored.err().expect("it is itself").to_string();
    assert!(error.contains("builds on itself"), "{error}");
    fs::write(&manifest, text).expect("it is written");
    let ranges = fourth.join("memory.ranges");
    let bytes = fs::read(&ranges).expect("it is there");
    fs::write(&ranges, &bytes[..bytes.len() - 16]).expect("it is cut");
    let restored = world
        .qemu
        .restore(&fourth, &world.place("cut"), Memory::Own)
        .await;
    let error = restored.err().expect("it was cut").to_string();
    assert!(
        error.contains("memory.ranges: it isn't what was written"),
        "{error}"
    );
}

#[tokio::test]
async fn what_the_host_says_while_a_machine_is_written_is_said_once() {
    let Some(world) = World::find() else { return };
    let (source, line) = world.boot("source", &world.machine()).await;
    drop(line);
    let channel = source.channel().await.expect("it listens");
    let mut says = std::os::unix::net::UnixStream::from(channel);
    says.set_nonblocking(false).expect("a socket");
    let mut hears = says.try_clone().expect("a socket");
    let heard = std::thread::spawn(move || {
        let mut all = Vec::new();
        let _ = hears.read_to_end(&mut all);
        String::from_utf8(all).expect("it is text")
    });
    let talk = std::thread::spawn(move || {
        for number in 0.. {
            if says
                .write_all(format!("echo {number}\n").as_bytes())
                .is_err()
            {
                break;
            }
            std::thread::sleep(Duration::from_micros(300));
        }
    });
    let kinds = [Kind::Full, Kind::Difference, Kind::Difference, Kind::Full];
    let mut snapshots = Vec::new();
    for (kind, number) in kinds.into_iter().zip(0..) {
        let folder = world.snapshot(&format!("snapshot{number}"));
        written(&*source, &folder, kind).await;
        snapshots.push(folder);
    }
    drop(source);
    talk.join().expect("nobody listens any more");
    let heard = heard.join().expect("it has ended");
    let (whole, _cut) = heard.rsplit_once('\n').expect("it answered");
    let numbers: Vec<u64> = whole.lines().flat_map(str::parse).collect();
    assert!(numbers.len() > 20, "{heard}");
    assert!(
        numbers.iter().copied().eq(0..numbers.len() as u64),
        "{heard}"
    );
    for (from, number) in snapshots.iter().zip(0..) {
        let (_clone, mut line) = world
            .restored(from, &format!("clone{number}"), Memory::Own)
            .await;
        // It may be in the middle of a line, and has answers to what it had heard.
        line.say("").await;
        line.say("echo end").await;
        while line.hear().await != "end" {}
    }
}

/// A guest that gives its memory back.
#[tokio::test]
async fn what_a_guest_gives_back_is_its_own() {
    let Some(world) = World::find() else { return };
    let (source, mut line) = world.boot("source", &world.machine()).await;
    assert_eq!(line.ask("mark 9000").await, "9000");
    let snapshot = world.snapshot("snapshot");
    written(&*source, &snapshot, Kind::Full).await;
    let marked = |path: &Path| {
        let (file, mut page, mut found) = (File::open(path).expect("it is there"), [0; 16], 0);
        for number in Ranges::of_data(&file).expect("it is read").iter().flatten() {
            file.read_exact_at(&mut page, number * PAGE)
                .expect("it is read");
            found += u32::from(&page == MARK);
        }
        found
    };
    let memory = snapshot.join("memory");
    assert_eq!(marked(&memory), 9000);
    let untouched = File::open(&memory).expect("it is there");
    let before = taken(&memory);
    source.end();

    let (own, mut line) = world.restored(&snapshot, "own", Memory::Own).await;
    let (lent, mut other) = world.restored(&snapshot, "lent", Memory::Lent).await;
    for (running, line) in [(&own, &mut line), (&lent, &mut other)] {
        assert_eq!(line.ask("free").await, "0");
        running.balloon(100).await.expect("it gives back");
        running.balloon(0).await.expect("it has it again");
        assert_eq!(line.ask("echo alive").await, "alive");
    }
    // Most of what was freed reads as zero in the machine's own, and is as it was in what is lent.
    let left = marked(&world.folder.path().join("own/memory"));
    assert!(left < 3000, "{left}");
    assert_eq!(marked(&memory), 9000);
    assert_eq!(taken(&memory), before);
    drop(untouched);
    let (_third, mut line) = world.restored(&snapshot, "third", Memory::Lent).await;
    assert_eq!(line.ask("marked").await, "9000");
    let error = own.balloon(255).await.expect_err("nothing would be left");
    assert!(error.to_string().contains("16 have to stay"), "{error}");
}

#[tokio::test]
async fn each_restored_machine_has_another_generation() {
    let Some(world) = World::find() else { return };
    let (source, _line) = world.boot("source", &world.machine()).await;
    let snapshot = world.snapshot("snapshot");
    written(&*source, &snapshot, Kind::Full).await;
    // QEMU writes it into the guest's memory, and tells the guest.
    let mut changed = Vec::new();
    for name in ["one", "two"] {
        let place = world.place(name);
        let restored = world.qemu.restore(&snapshot, &place, Memory::Own).await;
        let _running = restored.unwrap_or_else(|error| panic!("{error}"));
        let [old, new] = [&snapshot, &place]
            .map(|folder| File::open(folder.join("memory")).expect("it is there"));
        let differing = Ranges::differing(&old, &new).expect("they are compared");
        // Nothing has run yet.
        assert_eq!(differing.pages(), 1, "{differing:?}");
        let page = differing.iter().next().expect("there is one").start;
        let [before, after] = [old, new].map(|file| {
            let mut bytes = vec![0; PAGE as usize];
            file.read_exact_at(&mut bytes, page * PAGE)
                .expect("it is read");
            bytes
        });
        let differs: Vec<usize> = (0..before.len())
            .filter(|n| before[*n] != after[*n])
            .collect();
        let (first, last) = (differs[0], differs[differs.len() - 1]);
        assert!(last - first < 16, "{differs:?}");
        changed.push((page, after));
    }
    assert_eq!(changed[0].0, changed[1].0);
    assert_ne!(changed[0].1, changed[1].1);
}

#[tokio::test]
async fn a_disk_is_as_fast_as_it_may_be() {
    let Some(world) = World::find() else { return };
    for (board, name) in [(Board::Pci, "pci"), (Board::Micro, "micro")] {
        let disk = world.folder.path().join(format!("{name}.disk"));
        File::create(&disk)
            .expect("a disk")
            .set_len(8 << 20)
            .expect("it is long");
        let mut machine = world.machine();
        machine.board = board;
        machine.disks.push(Disk::whole(disk.clone(), false));
        machine.disk_rates.bytes = Some(Rate {
            sustained: 1 << 20,
            burst: 2 << 20,
        });
        let (running, mut line) = world.boot(name, &machine).await;
        line.say("flood 6000000").await;
        // It is written in six seconds or so, and not at once.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let so_far = fs::read(&disk)
            .expect("a disk")
            .iter()
            .filter(|byte| **byte == 7)
            .count();
        assert!(so_far < 5_000_000, "{so_far}");
        assert_eq!(line.hear().await, "written");
        let snapshot = world.snapshot(&format!("{name}.snapshot"));
        written(&*running, &snapshot, Kind::Full).await;
        let (_clone, mut line) = world
            .restored(&snapshot, &format!("{name}.clone"), Memory::Lent)
            .await;
        assert_eq!(line.ask("echo alive").await, "alive");
    }
}

/// The guest's, and no test of the host's.
#[test]
#[ignore = "it is the first program of a machine"]
fn first_program() {
    let Some(port) = world::first::begin() else {
        return;
    };
    let memory = memfd_create(c"marked", MemfdFlags::CLOEXEC).expect("there is memory");
    let memory = File::from(memory);
    let mark = |pages: u64| {
        let length = memory.metadata().expect("a file").len();
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if length > 0 {
            fallocate(&memory, flags, 0, length).expect("it is freed");
        }
        memory.set_len(pages * PAGE).expect("it is long");
        (0..pages).for_each(|page| memory.write_all_at(MARK, page * PAGE).expect("memory"));
        pages.to_string()
    };
    let disk = || {
        File::options()
            .read(true)
            .write(true)
            .open("/dev/vda")
            .expect("a disk")
    };
    world::first::serve(port, |asked| {
        let (what, rest) = asked.split_once(' ').unwrap_or((asked, ""));
        match what {
            "echo" => rest.to_owned(),
            "mark" => mark(rest.parse().expect("a number")),
            "free" => mark(0),
            "marked" => {
                let (mut bytes, mut marked) = ([0; 16], 0);
                while memory.read_exact_at(&mut bytes, marked * PAGE).is_ok() && &bytes == MARK {
                    marked += 1;
                }
                marked.to_string()
            }
            "write" => {
                disk()
                    .write_all_at(format!("{rest:<512}").as_bytes(), 0)
                    .expect("a disk");
                rustix::fs::sync();
                String::new()
            }
            "read" => {
                fs::write("/proc/sys/vm/drop_caches", "3").expect("it is there");
                let mut sector = [0; 512];
                disk().read_exact_at(&mut sector, 0).expect("a disk");
                String::from_utf8_lossy(&sector).trim().to_owned()
            }
            "flood" => {
                let block = vec![7; rest.parse().expect("a number")];
                let disk = disk();
                disk.write_all_at(&block, 0).expect("a disk");
                disk.sync_all().expect("a disk");
                "written".to_owned()
            }
            _ => "what?".to_owned(),
        }
    });
}
