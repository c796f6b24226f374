//! What goes wrong with a monitor, and what is said of it.

use crate::world::{World, how_it_ended};
use casemate_vm::driver::{How, Kind, Memory, Monitor};
use std::fs;
use std::path::Path;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// Long enough for a process to start on a busy machine.
const SHORT: Duration = Duration::from_secs(3);

/// The process whose folder this is.
pub(crate) fn monitor_of(place: &Path) -> Option<rustix::process::Pid> {
    let place = fs::canonicalize(place).ok()?;
    let processes = fs::read_dir("/proc").expect("processes").flatten();
    let is_there =
        |pid: &i32| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == place);
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    rustix::process::Pid::from_raw(pids.find(is_there)?)
}

/// Why a machine can't be started.
async fn not_started(world: &World) -> String {
    let place = world.place("one");
    let started = world.firecracker().start(&world.machine(), &place).await;
    let error = started.err().expect("it isn't started").to_string();
    // Nothing is left of it.
    while monitor_of(&place).is_some() {
        sleep(Duration::from_millis(5)).await;
    }
    error
}

#[tokio::test]
async fn a_start_that_is_refused_hangs_or_ends_is_reported() {
    let world = World::fake("refuse PUT /machine-config");
    let error = not_started(&world).await;
    assert!(error.contains("`PUT /machine-config`: 400: not"), "{error}");
    let world = World::fake("die PUT /machine-config");
    let error = not_started(&world).await;
    assert!(
        error.contains("its monitor exited with status 1"),
        "{error}"
    );
    let mut world = World::fake("hang PUT /machine-config");
    world.settings.patience = SHORT;
    let error = not_started(&world).await;
    assert!(error.contains("no answer in 3 s"), "{error}");
    let mut world = World::fake("");
    world.program = "/no/such/firecracker".into();
    let error = not_started(&world).await;
    assert!(
        error.contains("start Firecracker /no/such/firecracker"),
        "{error}"
    );
}

#[tokio::test]
async fn a_machine_that_does_not_start_at_last_is_ended() {
    let mut world = World::fake("hang PUT /actions");
    world.settings.patience = SHORT;
    let place = world.place("one");
    let running = world.firecracker().start(&world.machine(), &place).await;
    let running = running.unwrap_or_else(|error| panic!("{error}"));
    running.resume().await.expect_err("nobody answers");
    let ended = how_it_ended(&*running).await;
    assert!(
        matches!(&ended.how, How::Lost(why) if why.contains("no answer in 3 s")),
        "{ended}"
    );
}

#[tokio::test]
async fn a_monitor_that_does_not_answer_is_ended() {
    let mut world = World::fake("hang PATCH /vm");
    world.settings.patience = SHORT;
    let (running, _line) = world.boot("one", &world.machine()).await;
    running.pause().await.expect_err("nobody answers");
    let ended = how_it_ended(&*running).await;
    assert!(
        matches!(&ended.how, How::Lost(why) if why.contains("`PATCH /vm`")),
        "{ended}"
    );
    let error = running.resume().await.expect_err("it is gone").to_string();
    assert!(error.contains("can't be asked any more"), "{error}");
}

#[tokio::test]
async fn a_monitor_that_raves_is_ended() {
    for will in ["garbage PATCH /balloon", "huge PATCH /balloon"] {
        let world = World::fake(will);
        let (running, _line) = world.boot("one", &world.machine()).await;
        running.balloon(1).await.expect_err("it raves");
        let ended = how_it_ended(&*running).await;
        assert!(
            matches!(&ended.how, How::Lost(why) if why.contains("PATCH /balloon")),
            "{ended}"
        );
    }
}

#[tokio::test]
async fn a_monitor_that_is_killed_is_reported_with_its_last_words() {
    let world = World::fake("");
    let (running, _line) = world.boot("one", &world.machine()).await;
    let pid = monitor_of(&world.folder.path().join("one")).expect("it is there");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it is there");
    let ended = how_it_ended(&*running).await;
    assert_eq!(ended.how, How::Killed(9));
    assert!(
        ended.monitor.iter().any(|line| line == "a fake logs"),
        "{ended}"
    );
    assert!(
        ended.console.iter().any(|line| line == "a fake starts"),
        "{ended}"
    );
    let error = running.resume().await.expect_err("it is gone").to_string();
    assert!(error.contains("signal 9 ended its monitor"), "{error}");
}

#[tokio::test]
async fn a_monitor_is_killed_with_its_handle() {
    let world = World::fake("");
    let (running, _line) = world.boot("one", &world.machine()).await;
    let place = world.folder.path().join("one");
    assert!(monitor_of(&place).is_some());
    drop(running);
    while monitor_of(&place).is_some() {
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_snapshot_is_whole_or_not_there_and_the_machine_goes_on() {
    let world = World::fake("refuse PUT /snapshot/create");
    let (running, mut line) = world.boot("one", &world.machine()).await;
    let folder = world.folder.path();
    running
        .snapshot(&folder.join("two"))
        .await
        .expect_err("it is refused");
    assert_eq!(line.ask("echo alive").await, "alive");
    running
        .snapshot(&folder.join("one"))
        .await
        .expect_err("the name is taken");
    running
        .snapshot(&folder.join("no/where"))
        .await
        .expect_err("there is no folder");
    let left = fs::read_dir(folder).expect("a folder").flatten();
    let names: Vec<_> = left.map(|entry| entry.file_name()).collect();
    assert!(
        !names.iter().any(|name| name == "two" || name == ".two.new"),
        "{names:?}"
    );
}

#[tokio::test]
async fn a_snapshot_that_is_given_up_leaves_a_machine_that_goes_on() {
    let world = World::fake("");
    let (running, _line) = world.boot("one", &world.machine()).await;
    let path = |name: &str| world.folder.path().join(name);
    running
        .snapshot(&path("first"))
        .await
        .expect("it is written");
    // Given up at all kinds of moments.
    for millis in 0..20 {
        let name = path(&format!("given-up-{millis}"));
        let _ = timeout(Duration::from_millis(millis), running.snapshot(&name)).await;
    }
    // A difference would be of something that nobody has, unless the last of them was finished.
    let again = running
        .snapshot_as(&path("difference"), Kind::Difference)
        .await;
    running.resume().await.expect("it goes on");
    let mut line = crate::world::Line::of(&*running).await;
    assert_eq!(line.ask("poke 9 3").await, "poked");
    running
        .snapshot(&path("last"))
        .await
        .expect("it is written");
    let whole = again.is_ok().then(|| path("difference"));
    for snapshot in whole.into_iter().chain([path("last")]) {
        let place = world.place(&format!(
            "of-{}",
            snapshot.file_name().expect("a name").display()
        ));
        let restored = world
            .firecracker()
            .restore(&snapshot, &place, Memory::Own)
            .await;
        restored.unwrap_or_else(|error| panic!("{error}"));
    }
}

#[tokio::test]
async fn a_snapshot_that_was_changed_is_refused() {
    let world = World::fake("");
    let (running, _line) = world.boot("one", &world.machine()).await;
    let snapshot = world.folder.path().join("snapshot");
    running.snapshot(&snapshot).await.expect("it is written");
    let manifest = fs::read_to_string(snapshot.join("manifest.json")).expect("a manifest");
    let refused = async |name: &str| {
        let place = world.place(name);
        let restored = world
            .firecracker()
            .restore(&snapshot, &place, Memory::Own)
            .await;
        restored.err().expect("it is refused").to_string()
    };
    let other = manifest.replace(crate::fake::VERSION, "1.0.0");
    fs::write(snapshot.join("manifest.json"), other).expect("it is written");
    let error = refused("version").await;
    assert!(error.contains("wrote it, and this is"), "{error}");
    fs::write(snapshot.join("manifest.json"), &manifest).expect("it is written");
    let state = fs::read(snapshot.join("state")).expect("its state");
    fs::write(snapshot.join("state"), &state[1..]).expect("it is cut");
    let error = refused("state").await;
    assert!(error.contains("isn't what was written"), "{error}");
    fs::write(snapshot.join("manifest.json"), "{}").expect("it is written");
    let error = refused("manifest").await;
    assert!(error.contains("none of Firecracker's"), "{error}");
}

#[tokio::test]
async fn a_load_that_fails_is_reported() {
    let world = World::fake("");
    let (running, _line) = world.boot("one", &world.machine()).await;
    let snapshot = world.folder.path().join("snapshot");
    running.snapshot(&snapshot).await.expect("it is written");
    let mut others = World::fake("hang PUT /snapshot/load");
    others.settings.patience = SHORT;
    // Another fake's program, and this one's snapshot: memory has more time than that.
    let place = others.place("two");
    let firecracker = others.firecracker();
    let restored = timeout(
        SHORT + Duration::from_millis(500),
        firecracker.restore(&snapshot, &place, Memory::Own),
    );
    restored
        .await
        .err()
        .expect("it waits as long as its memory is worth");
    while monitor_of(&place).is_some() {
        sleep(Duration::from_millis(5)).await;
    }
    let others = World::fake("refuse PUT /snapshot/load");
    let place = others.place("three");
    let restored = others
        .firecracker()
        .restore(&snapshot, &place, Memory::Own)
        .await;
    let error = restored.err().expect("it is refused").to_string();
    assert!(error.contains("`PUT /snapshot/load`: 400: not"), "{error}");
}

#[tokio::test]
async fn a_machine_that_firecracker_does_not_have_is_refused() {
    use casemate_vm::driver::{Accelerator, Board, Machine};
    let world = World::fake("");
    let whole = world.machine();
    for (name, wrong, word) in [
        (
            "tcg",
            Machine {
                accelerator: Accelerator::Tcg,
                ..whole.clone()
            },
            "translates nothing",
        ),
        (
            "pci",
            Machine {
                board: Board::Pci,
                ..whole.clone()
            },
            "no such board",
        ),
        (
            "many",
            Machine {
                vcpus: 33,
                ..whole.clone()
            },
            "33 processors",
        ),
        (
            "small",
            Machine {
                memory: 1,
                ..whole.clone()
            },
            "1 MiB",
        ),
        (
            "net",
            Machine {
                network: true,
                ..whole.clone()
            },
            "needs a tap",
        ),
        (
            "kernel",
            Machine {
                kernel: "/no/kernel".into(),
                ..whole
            },
            "/no/kernel",
        ),
    ] {
        let place = world.place(name);
        let started = world.firecracker().start(&wrong, &place).await;
        let error = started.err().expect("it is wrong").to_string();
        assert!(error.contains(word), "{error}");
    }
}
