//! What goes wrong around a machine, under a real QEMU: who asked is told, and nothing is left.

#[allow(dead_code, reason = "other tests need the rest")]
mod world;

use casemate_vm::driver::{How, Kind, Memory, Monitor};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::timeout;
use world::World;

/// How soon an end is to be known, once the kernel has told of it.
const SOON: Duration = Duration::from_secs(1);

/// A file system with little room, as long as this is there.
struct Small(PathBuf);

impl Small {
    /// `None`, and a word why, if this user can't make one.
    fn new(at: PathBuf, size: &str) -> Option<Self> {
        fs::create_dir(&at).expect("a folder");
        let options = CString::new(format!("size={size}")).expect("text");
        match mount(
            "small",
            &at,
            "tmpfs",
            MountFlags::empty(),
            options.as_c_str(),
        ) {
            Ok(()) => Some(Self(at)),
            Err(errno) => {
                println!("skipped: a small file system can't be mounted: {errno}");
                None
            }
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder").flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().into_string().expect("text"))
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_snapshot_for_which_there_is_no_room_is_refused_and_the_machine_goes_on() {
    let Some(world) = World::find() else { return };
    let (source, mut line) = world.boot("source", &world.machine()).await;
    let first = world.folder.path().join("first");
    source.snapshot(&first).await.expect("there is room");
    // Not enough for the memory, and not for the state.
    for (name, size, kind) in [
        ("less", "20m", Kind::Full),
        ("little", "200k", Kind::Full),
        ("none", "200k", Kind::Difference),
    ] {
        let Some(small) = Small::new(world.folder.path().join(name), size) else {
            return;
        };
        let written = source.snapshot_as(&small.0.join("snapshot"), kind).await;
        let error = written.expect_err("there is no room").to_string();
        println!("{error}");
        assert_eq!(names(&small.0), [""; 0]);
        assert_eq!(line.ask("echo alive").await, "alive");
    }
    // What it builds on is still the first.
    let second = world.folder.path().join("second");
    source
        .snapshot_as(&second, Kind::Difference)
        .await
        .expect("there is room");
    let restored = world
        .qemu
        .restore(&second, &world.place("clone"), Memory::Own)
        .await;
    restored.map(drop).unwrap_or_else(|error| panic!("{error}"));
}

#[tokio::test]
async fn memory_whose_name_is_gone_is_the_machines_still() {
    let Some(world) = World::find() else { return };
    let (source, mut line) = world.boot("source", &world.machine()).await;
    fs::remove_file(world.folder.path().join("source/memory")).expect("it is there");
    assert_eq!(line.ask("echo alive").await, "alive");
    let snapshot = world.folder.path().join("snapshot");
    source.snapshot(&snapshot).await.expect("it is written");
    let (clone, place) = (
        world.folder.path().join("clone/memory"),
        world.place("clone"),
    );
    let running = world.qemu.restore(&snapshot, &place, Memory::Own).await;
    let running = running.unwrap_or_else(|error| panic!("{error}"));
    running.resume().await.expect("it goes on");
    let mut line = world::Line::of(&*running).await;
    assert_eq!(line.ask("echo alive").await, "alive");
    assert!(clone.exists());

    // Of a snapshot it can't be missed, and not be another's.
    let memory = snapshot.join("memory");
    fs::File::options()
        .write(true)
        .open(&memory)
        .expect("a file")
        .set_len(1 << 20)
        .expect("cut");
    for (name, memory) in [("lent", Memory::Lent), ("own", Memory::Own)] {
        let restored = world
            .qemu
            .restore(&snapshot, &world.place(name), memory)
            .await;
        let error = restored.err().expect("it was cut").to_string();
        assert!(
            error.contains("hasn't the machine's 268435456 bytes"),
            "{error}"
        );
    }
    fs::remove_file(&memory).expect("it is there");
    for (name, how) in [("lent-2", Memory::Lent), ("own-2", Memory::Own)] {
        let restored = world.qemu.restore(&snapshot, &world.place(name), how).await;
        let error = restored.err().expect("it is gone").to_string();
        assert!(error.contains("snapshot/memory"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_monitor_that_is_killed_while_it_is_written_leaves_nothing() {
    let Some(world) = World::find() else { return };
    let (source, _line) = world.boot("source", &world.machine()).await;
    let snapshots = world.folder.path().join("snapshots");
    fs::create_dir(&snapshots).expect("a folder");
    let (writes, to) = (std::sync::Arc::clone(&source), snapshots.join("one"));
    let written = tokio::spawn(async move { writes.snapshot(&to).await });
    while names(&snapshots).is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let pid = monitor_of(&world.folder.path().join("source"));
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it is there");
    let ended = timeout(SOON, source.ended())
        .await
        .expect("it is known soon");
    assert_eq!(ended.how, How::Killed(9));
    assert!(
        ended.console.iter().any(|line| line.contains("last words")),
        "{ended}"
    );
    let error = written
        .await
        .expect("it ends")
        .expect_err("it is gone")
        .to_string();
    assert!(error.contains("signal 9 ended its monitor"), "{error}");
    assert_eq!(names(&snapshots), [""; 0]);
}

/// The process whose folder this is.
fn monitor_of(place: &Path) -> rustix::process::Pid {
    let processes = fs::read_dir("/proc").expect("processes").flatten();
    let is_there =
        |pid: &i32| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == place);
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let pid = pids.find(is_there).expect("it is there");
    rustix::process::Pid::from_raw(pid).expect("a process")
}

/// The guest's, and no test of the host's.
#[test]
#[ignore = "it is the first program of a machine"]
fn first_program() {
    let Some(port) = world::first::begin() else {
        return;
    };
    println!("last words");
    world::first::serve(port, |asked| match asked.strip_prefix("echo ") {
        Some(words) => words.to_owned(),
        None => "what?".to_owned(),
    });
}
