//! Machines under a real QEMU, which translates their instructions.

mod world;

use casemate_vm::driver::{Board, Disk, How, Memory, Monitor, Running};
use rustix::system::RebootCommand;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{sleep, timeout};
use world::{Line, PATIENCE, World};

async fn restored(
    world: &World,
    snapshot: &Path,
    name: &str,
    memory: Memory,
) -> (Arc<dyn Running>, Line) {
    let place = world.place(name);
    let restored = world.qemu.restore(snapshot, &place, memory).await;
    let running = restored.unwrap_or_else(|error| panic!("{error}"));
    let line = Line::of(&*running).await;
    (running, line)
}

async fn how_it_ended(running: &dyn Running) -> casemate_vm::driver::Ended {
    timeout(PATIENCE, running.ended()).await.expect("it ends")
}

#[tokio::test]
async fn a_machine_boots_answers_and_stands_still_when_paused() {
    let Some(world) = World::find() else { return };
    let (running, mut line) = world.boot("one", &world.machine()).await;
    let before = line.ticks().await;
    running.pause().await.expect("it stops");
    line.say("tick").await;
    let silent = timeout(Duration::from_millis(300), line.hear()).await;
    silent.expect_err("it stands still");
    running.pause().await.expect("it has stopped already");
    running.resume().await.expect("it goes on");
    let after: u64 = line.hear().await.parse().expect("a number");
    assert!(after >= before);
    while line.ticks().await <= after {}
    let metrics = running.metrics().await.expect("it is there");
    assert!(metrics.resident > 10 << 20 && !metrics.processor.is_zero());
    line.say("off").await;
    assert_eq!(how_it_ended(&*running).await.how, How::Off);
    running.metrics().await.expect_err("it is gone");
    let error = running.resume().await.expect_err("it is gone");
    assert!(error.to_string().contains("switched it off"), "{error}");
}

#[tokio::test]
async fn a_micro_board_boots_too() {
    let Some(world) = World::find() else { return };
    let mut machine = world.machine();
    machine.board = Board::Micro;
    let (running, mut line) = world.boot("one", &machine).await;
    let snapshot = world.folder.path().join("snapshot");
    line.ask("fill 100000").await;
    running.snapshot(&snapshot).await.expect("it is written");
    let (clone, mut other) = restored(&world, &snapshot, "two", Memory::Lent).await;
    clone.resume().await.expect("it goes on");
    assert_eq!(other.ask("sum").await, "700000");
}

#[tokio::test]
async fn clones_go_on_where_the_snapshot_was_taken_and_can_be_written_again() {
    let Some(world) = World::find() else { return };
    let (source, mut line) = world.boot("source", &world.machine()).await;
    assert_eq!(line.ask("fill 5000000").await, "5000000");
    source.pause().await.expect("it stops");
    let snapshot = world.folder.path().join("snapshot");
    source.snapshot(&snapshot).await.expect("it is written");
    let memory = fs::metadata(snapshot.join("memory")).expect("its memory");
    assert_eq!(memory.len(), 256 << 20);
    assert!(
        memory.blocks() * 512 < 200 << 20,
        "what isn't used isn't there"
    );
    source.resume().await.expect("it goes on");
    let at_source = line.ticks().await;

    let (lent, mut first) = restored(&world, &snapshot, "lent", Memory::Lent).await;
    let (own, mut second) = restored(&world, &snapshot, "own", Memory::Own).await;
    for (clone, line) in [(&lent, &mut first), (&own, &mut second)] {
        line.say("tick").await;
        timeout(Duration::from_millis(200), line.hear())
            .await
            .expect_err("it is paused");
        clone.resume().await.expect("it goes on");
        let ticks: u64 = line.hear().await.parse().expect("a number");
        // Both began before the source went on; a tick lasts a millisecond or more of the guest's.
        assert!(ticks > 0 && ticks < at_source + 100_000);
        assert_eq!(line.ask("sum").await, "35000000");
    }
    // What one writes is its own.
    assert_eq!(first.ask("fill 10").await, "10");
    assert_eq!(second.ask("sum").await, "35000000");
    source.end();
    assert_eq!(how_it_ended(&*source).await.how, How::Asked);

    for (clone, name, sum) in [(&lent, "lent-again", "70"), (&own, "own-again", "35000000")] {
        let again = world.folder.path().join(format!("{name}.snapshot"));
        clone.snapshot(&again).await.expect("it is written");
        clone.end();
        let (grandchild, mut line) = restored(&world, &again, name, Memory::Lent).await;
        grandchild.resume().await.expect("it goes on");
        assert_eq!(line.ask("sum").await, sum);
    }
    // The snapshot is as it was.
    let (third, mut line) = restored(&world, &snapshot, "third", Memory::Lent).await;
    third.resume().await.expect("it goes on");
    assert_eq!(line.ask("sum").await, "35000000");
}

#[tokio::test]
async fn a_clone_begins_at_the_tick_of_its_snapshot() {
    let Some(world) = World::find() else { return };
    let (source, mut line) = world.boot("source", &world.machine()).await;
    source.pause().await.expect("it stops");
    let snapshot = world.folder.path().join("snapshot");
    // It is asked while it stands still, so that each of the two answers first of all.
    line.say("tick").await;
    source.snapshot(&snapshot).await.expect("it is written");
    let mut ticks = Vec::new();
    for name in ["one", "two"] {
        let (clone, mut line) = restored(&world, &snapshot, name, Memory::Lent).await;
        line.say("tick").await;
        clone.resume().await.expect("it goes on");
        ticks.push(line.hear().await.parse::<u64>().expect("a number"));
        clone.end();
    }
    // It is the same still, and QEMU writes it once.
    let again = world.folder.path().join("again");
    let error = source.snapshot(&again).await.expect_err("it is written");
    assert!(error.to_string().contains("hint: "), "{error}");
    assert!(!again.exists());
    source.resume().await.expect("it goes on");
    source.snapshot(&again).await.expect("it ran meanwhile");
    let at_source: u64 = line.hear().await.parse().expect("a number");
    sleep(Duration::from_millis(50)).await;
    let later = line.ticks().await;
    assert!(later > at_source);
    for tick in ticks {
        assert!(
            tick.abs_diff(at_source) < 1000,
            "{tick} is not near {at_source}"
        );
    }
}

#[tokio::test]
async fn disks_are_of_the_snapshots_moment() {
    let Some(world) = World::find() else { return };
    let disk = world.folder.path().join("disk");
    let file = fs::File::create(&disk).expect("a disk");
    file.set_len(8 << 20).expect("it is long");
    let mut machine = world.machine();
    machine.disks.push(Disk::whole(disk.clone(), false));
    let (source, mut line) = world.boot("source", &machine).await;
    assert_eq!(line.ask("write before").await, "written");
    let snapshot = world.folder.path().join("snapshot");
    source.snapshot(&snapshot).await.expect("it is written");
    assert_eq!(line.ask("write after").await, "written");
    let begins = |path: &Path| fs::read(path).expect("a disk")[..6].to_owned();
    assert_eq!(begins(&disk), b"after ");
    assert_eq!(begins(&snapshot.join("disk0")), b"before");
    let (clone, mut other) = restored(&world, &snapshot, "clone", Memory::Own).await;
    clone.resume().await.expect("it goes on");
    assert_eq!(other.ask("read").await, "before");
    assert_eq!(other.ask("write clone").await, "written");
    assert_eq!(other.ask("read").await, "clone");
    assert_eq!(line.ask("read").await, "after");
    assert_eq!(begins(&snapshot.join("disk0")), b"before");
}

/// Needs a folder on a file system with less than 6 MiB left, which only root can make.
#[tokio::test]
async fn a_machine_whose_disk_is_full_goes_on() {
    let Some(full) = std::env::var_os("CASEMATE_SMALL_DISK") else {
        println!("skipped: CASEMATE_SMALL_DISK names no folder on a small disk");
        return;
    };
    let Some(world) = World::find() else { return };
    let disk = tempfile::NamedTempFile::new_in(full).expect("a disk");
    disk.as_file().set_len(16 << 20).expect("it is long");
    let mut machine = world.machine();
    machine
        .disks
        .push(Disk::whole(disk.path().to_owned(), false));
    let (_running, mut line) = world.boot("one", &machine).await;
    assert_ne!(line.ask("flood 12000000").await, "written");
    assert_eq!(line.ask("echo alive").await, "alive");
}

#[tokio::test]
async fn a_snapshot_is_whole_or_not_there() {
    let Some(world) = World::find() else { return };
    let (source, mut line) = world.boot("source", &world.machine()).await;
    let taken = world.place("taken");
    source
        .snapshot(&taken)
        .await
        .expect_err("the name is taken");
    let nowhere = world.folder.path().join("no/where");
    source
        .snapshot(&nowhere)
        .await
        .expect_err("there is no folder");
    assert_eq!(line.ask("echo alive").await, "alive");
    let snapshot = world.folder.path().join("snapshot");
    source.snapshot(&snapshot).await.expect("it is written");
    let state = fs::read(snapshot.join("state")).expect("its state");
    fs::write(snapshot.join("state"), &state[..state.len() / 2]).expect("it is cut");
    let place = world.place("clone");
    let restored = world.qemu.restore(&snapshot, &place, Memory::Lent).await;
    let error = restored.err().expect("it is refused").to_string();
    assert!(error.contains("isn't what was written"), "{error}");
    let left = fs::read_dir(world.folder.path())
        .expect("a folder")
        .flatten();
    assert!(
        !left
            .into_iter()
            .any(|entry| entry.file_name().to_string_lossy().ends_with(".new"))
    );
}

#[tokio::test]
async fn a_monitor_that_is_killed_is_reported() {
    let Some(world) = World::find() else { return };
    let place = world.place("one");
    let running = world
        .qemu
        .start(&world.machine(), &place)
        .await
        .expect("it starts");
    let pid = monitor_of(&place);
    let pid = rustix::process::Pid::from_raw(pid).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it is there");
    assert_eq!(how_it_ended(&*running).await.how, How::Killed(9));
    let error = running.resume().await.expect_err("it is gone").to_string();
    assert!(error.contains("signal 9 ended its monitor"), "{error}");
}

/// The process whose folder this is.
fn monitor_of(place: &Path) -> i32 {
    let processes = fs::read_dir("/proc").expect("processes").flatten();
    let is_there =
        |pid: &i32| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == place);
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.find(is_there).expect("it is there")
}

#[tokio::test]
async fn a_panic_is_reported_with_the_consoles_last_lines() {
    let Some(world) = World::find() else { return };
    let (running, mut line) = world.boot("one", &world.machine()).await;
    line.say("crash").await;
    let ended = how_it_ended(&*running).await;
    assert_eq!(ended.how, How::Panicked, "{ended}");
    let told = |line: &String| line.contains("Kernel panic - not syncing: sysrq triggered crash");
    assert!(ended.console.iter().any(told), "{ended}");
}

#[tokio::test]
async fn a_machine_that_cannot_be_says_why() {
    let Some(world) = World::find() else { return };
    let mut machine = world.machine();
    machine.kernel = "/no/such/kernel".into();
    let place = world.place("one");
    let error = world
        .qemu
        .start(&machine, &place)
        .await
        .err()
        .expect("no kernel");
    assert!(error.to_string().contains("/no/such/kernel"), "{error}");
}

#[tokio::test]
async fn a_monitor_has_nothing_that_it_was_not_given() {
    let Some(world) = World::find() else { return };
    let place = world.place("one");
    let running = world
        .qemu
        .start(&world.machine(), &place)
        .await
        .expect("it starts");
    let pid = monitor_of(&place);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1))
            .map(str::to_owned)
    };
    assert_eq!(field("NoNewPrivs:").as_deref(), Some("1"));
    assert_eq!(field("Seccomp:").as_deref(), Some("2"));
    assert!(
        fs::read(format!("/proc/{pid}/environ"))
            .expect("its environment")
            .is_empty()
    );
    for name in ["memory", "qmp.sock", "agent.sock"] {
        let mode = fs::metadata(place.join(name)).expect("it is there").mode();
        assert_eq!(mode & 0o077, 0, "{name}: {mode:o}");
    }
    drop(running);
    // It is killed with its handle.
    while fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == place) {
        sleep(Duration::from_millis(5)).await;
    }
}

/// A keeper that is killed, and whether its machine went with it.
async fn machine_ends_with_its_keeper(mode: &str) -> Option<bool> {
    let world = World::find()?;
    let place = world.place("one");
    let mut keeper = std::process::Command::new(std::env::current_exe().expect("it runs"))
        .args(["--ignored", "--exact", "keeper", "--nocapture"])
        .env("KEEPER_MODE", mode)
        .env("KEEPER_PLACE", &place)
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("it starts");
    let pid = loop {
        // It listens, so it is all there.
        if place.join("qmp.sock").exists() {
            break monitor_of(&place);
        }
        assert!(
            keeper.try_wait().expect("a child").is_none(),
            "it has ended"
        );
        sleep(Duration::from_millis(5)).await;
    };
    keeper.kill().expect("it is there");
    keeper.wait().expect("it has ended");
    let is_there = || fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == place);
    // What the kernel does to it takes a moment.
    for _ in 0..100 {
        if !is_there() {
            return Some(true);
        }
        sleep(Duration::from_millis(10)).await;
    }
    let pid = rustix::process::Pid::from_raw(pid).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it is there");
    Some(false)
}

#[tokio::test]
async fn a_machine_ends_with_its_keeper_unless_it_is_to_outlive_it() {
    let ends = machine_ends_with_its_keeper("bound").await;
    assert!(ends.is_none_or(|ends| ends));
    let ends = machine_ends_with_its_keeper("outliving").await;
    assert!(ends.is_none_or(|ends| !ends));
}

/// Another process of the host's, which is killed.
#[tokio::test]
#[ignore = "it is a part of another test"]
async fn keeper() {
    let Some(place) = std::env::var_os("KEEPER_PLACE") else {
        return;
    };
    let mut world = World::find().expect("it was found before");
    if std::env::var("KEEPER_MODE").is_ok_and(|mode| mode == "outliving") {
        world.qemu = world.qemu.outliving();
    }
    let started = world.qemu.start(&world.machine(), Path::new(&place)).await;
    let _running = started.unwrap_or_else(|error| panic!("{error}"));
    std::future::pending().await
}

/// The guest's, and no test of the host's: it counts, and does what it is asked, a line each.
#[test]
#[ignore = "it is the first program of a machine"]
fn first_program() {
    let Some(port) = world::first::begin() else {
        return;
    };
    let ticks = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&ticks);
    std::thread::spawn(move || {
        loop {
            counted.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let mut filled = Vec::new();
    world::first::serve(port, |asked| {
        let (what, rest) = asked.split_once(' ').unwrap_or((asked, ""));
        match what {
            "echo" => rest.to_owned(),
            "tick" => ticks.load(Ordering::Relaxed).to_string(),
            "fill" => {
                filled = vec![7_u8; rest.parse().expect("a number")];
                filled.len().to_string()
            }
            "sum" => filled
                .iter()
                .map(|byte| u64::from(*byte))
                .sum::<u64>()
                .to_string(),
            "write" => {
                let written = fs::write("/dev/vda", format!("{rest:<512}"));
                rustix::fs::sync();
                written.map_or_else(|e| e.to_string(), |()| "written".to_owned())
            }
            "read" => {
                // From the disk, and not from memory.
                fs::write("/proc/sys/vm/drop_caches", "3").expect("it is there");
                let mut sector = [0; 512];
                let read =
                    fs::File::open("/dev/vda").and_then(|mut disk| disk.read_exact(&mut sector));
                read.map_or_else(
                    |e| e.to_string(),
                    |()| String::from_utf8_lossy(&sector).trim().to_owned(),
                )
            }
            "flood" => {
                let block = vec![7; rest.parse().expect("a number")];
                let disk = fs::File::options().write(true).open("/dev/vda");
                let written = disk.and_then(|mut disk| {
                    disk.write_all(&block)?;
                    disk.sync_all()
                });
                written.map_or_else(|e| e.kind().to_string(), |()| "written".to_owned())
            }
            "crash" => {
                fs::write("/proc/sysrq-trigger", "c").expect("it is there");
                String::new()
            }
            "off" => format!("{:?}", rustix::system::reboot(RebootCommand::PowerOff)),
            _ => "what?".to_owned(),
        }
    });
}
