//! A machine's life, as anybody can see it: of a fake Firecracker, and of a real one where there is.

use crate::world::{Line, World, how_it_ended};
use casemate_vm::driver::{Disk, How, Identity, Kind, Memory, Monitor, Rate, Running};
use casemate_vm::firecracker::client::model::HugePages;
use casemate_vm::firecracker::settings::Tap;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Makes of each function a test with a fake, and one with a real Firecracker.
macro_rules! both {
    ($($name:ident),* $(,)?) => {
        mod a_fake {
            $(#[tokio::test]
            async fn $name() {
                super::$name(&crate::world::World::fake("")).await;
            })*
        }
        mod a_real {
            $(#[tokio::test]
            async fn $name() {
                if let Some(world) = crate::world::World::real() {
                    super::$name(&world).await;
                }
            })*
        }
    };
}

both!(
    answers_and_stands_still_when_paused,
    is_written_whole_and_cloned,
    is_written_by_differences,
    has_its_own_disks,
    ends_as_it_says,
    is_told_how_large_it_may_be,
);

async fn restored(
    world: &World,
    snapshot: &Path,
    name: &str,
    memory: Memory,
) -> (Arc<dyn Running>, Line) {
    let place = world.place(name);
    let restored = world.firecracker().restore(snapshot, &place, memory).await;
    let running = restored.unwrap_or_else(|error| panic!("{error}"));
    let resumed = running.resume().await;
    resumed.unwrap_or_else(|error| panic!("{error}"));
    let line = Line::of(&*running).await;
    (running, line)
}

async fn peeked(line: &mut Line, pages: &[u64]) -> Vec<String> {
    let mut found = Vec::new();
    for page in pages {
        found.push(line.ask(&format!("peek {page}")).await);
    }
    found
}

async fn answers_and_stands_still_when_paused(world: &World) {
    let place = world.place("one");
    let machine = world.machine();
    let running = world.firecracker().start(&machine, &place).await;
    let running = running.unwrap_or_else(|error| panic!("{error}"));
    running.pause().await.expect("it stands still as it is");
    running.resume().await.expect("it begins");
    running.resume().await.expect("it runs already");
    let mut line = Line::of(&*running).await;
    assert_eq!(line.ask("echo hello").await, "hello");
    running.pause().await.expect("it stops");
    line.say("echo again").await;
    let silent = timeout(Duration::from_millis(200), line.hear()).await;
    silent.expect_err("it stands still");
    running.pause().await.expect("it has stopped already");
    running.resume().await.expect("it goes on");
    assert_eq!(line.hear().await, "again");
    let metrics = running.metrics().await.expect("it is there");
    assert!(metrics.resident > 0);
    let counted = running.counters().await.expect("it counts");
    assert!(counted.contains("latencies_us"), "{counted}");
    running.end();
    assert_eq!(how_it_ended(&*running).await.how, How::Asked);
    running.metrics().await.expect_err("it is gone");
    let error = running.resume().await.expect_err("it is gone").to_string();
    assert!(error.contains("it was ended"), "{error}");
}

async fn is_written_whole_and_cloned(world: &World) {
    let (source, mut line) = world.boot("source", &world.machine()).await;
    line.ask("poke 5 7").await;
    line.ask("poke 6 8").await;
    let snapshot = world.folder.path().join("snapshot");
    source.snapshot(&snapshot).await.expect("it is written");
    let memory = fs::metadata(snapshot.join("memory")).expect("its memory");
    assert_eq!(memory.len(), u64::from(world.machine().memory) << 20);
    assert!(
        memory.blocks() * 512 < memory.len() * 3 / 4,
        "zeros are there"
    );
    // It ran before, and does again; connections are over.
    let mut line = Line::of(&*source).await;
    assert_eq!(line.ask("echo on").await, "on");
    line.ask("poke 5 9").await;
    let (lent, mut first) = restored(world, &snapshot, "lent", Memory::Lent).await;
    let (own, mut second) = restored(world, &snapshot, "own", Memory::Own).await;
    for line in [&mut first, &mut second] {
        assert_eq!(peeked(line, &[4, 5, 6]).await, ["0", "7", "8"]);
    }
    first.ask("poke 5 1").await;
    assert_eq!(second.ask("peek 5").await, "7");
    assert_eq!(line.ask("peek 5").await, "9");
    source.end();
    for (clone, name, byte) in [(&lent, "lent-again", "1"), (&own, "own-again", "7")] {
        clone.pause().await.expect("it stops");
        let again = world.folder.path().join(format!("{name}.snapshot"));
        clone.snapshot(&again).await.expect("it is written");
        clone.end();
        let (_grandchild, mut line) = restored(world, &again, name, Memory::Lent).await;
        assert_eq!(line.ask("peek 5").await, byte);
    }
}

async fn is_written_by_differences(world: &World) {
    let path = |name: &str| world.folder.path().join(name);
    let (source, mut line) = world.boot("source", &world.machine()).await;
    for page in [1, 2, 3, 4] {
        line.ask(&format!("poke {page} 50")).await;
    }
    let error = source.snapshot_as(&path("none"), Kind::Difference).await;
    let error = error
        .expect_err("there is nothing it differs from")
        .to_string();
    assert!(
        error.contains("hint: take a full snapshot first"),
        "{error}"
    );
    source
        .snapshot_as(&path("full"), Kind::Full)
        .await
        .expect("it is written");
    let mut line = Line::of(&*source).await;
    // A page that becomes zero is a change like any other.
    line.ask("poke 2 0").await;
    line.ask("poke 3 51").await;
    source
        .snapshot_as(&path("one"), Kind::Difference)
        .await
        .expect("it is written");
    let size = |name: &str| {
        fs::metadata(path(name).join("memory"))
            .expect("a memory")
            .blocks()
    };
    assert!(size("one") * 4 < fs::metadata(path("one/memory")).expect("it").len() / 512);
    let mut line = Line::of(&*source).await;
    line.ask("poke 3 0").await;
    line.ask("poke 4 52").await;
    source
        .snapshot_as(&path("two"), Kind::Difference)
        .await
        .expect("it is written");
    source.end();
    for (name, pages) in [
        ("full", ["50", "50", "50", "50"]),
        ("one", ["50", "0", "51", "50"]),
        ("two", ["50", "0", "0", "52"]),
    ] {
        let clone = format!("of-{name}");
        let (_running, mut line) = restored(world, &path(name), &clone, Memory::Own).await;
        assert_eq!(peeked(&mut line, &[1, 2, 3, 4]).await, pages, "{name}");
    }
    // One that was restored knows what it builds on, unless its memory is lent.
    let (own, mut line) = restored(world, &path("two"), "own", Memory::Own).await;
    line.ask("poke 1 0").await;
    own.snapshot_as(&path("three"), Kind::Difference)
        .await
        .expect("it is written");
    let (lent, _) = restored(world, &path("three"), "lent", Memory::Lent).await;
    let error = lent.snapshot_as(&path("four"), Kind::Difference).await;
    error.expect_err("what it wrote isn't known");
    let mut line = Line::of(&*lent).await;
    assert_eq!(
        peeked(&mut line, &[1, 2, 3, 4]).await,
        ["0", "0", "0", "52"]
    );
    // What it builds on has to be there, and to be that.
    fs::rename(path("one"), path("moved")).expect("it is moved");
    let refused = world
        .firecracker()
        .restore(&path("two"), &world.place("x"), Memory::Own)
        .await;
    let error = refused.err().expect("a part is missing").to_string();
    assert!(
        error.contains("a difference needs what it was told from"),
        "{error}"
    );
    fs::rename(path("three"), path("one")).expect("it is moved");
    let refused = world
        .firecracker()
        .restore(&path("two"), &world.place("y"), Memory::Own)
        .await;
    let error = refused.err().expect("it is another").to_string();
    assert!(error.contains("another snapshot is where"), "{error}");
}

async fn has_its_own_disks(world: &World) {
    let disk = |name: &str| -> PathBuf {
        let path = world.folder.path().join(name);
        let file = File::create(&path).expect("a disk");
        file.set_len(1 << 20).expect("it is long");
        path
    };
    let (own, tools) = (disk("root"), disk("tools"));
    let mut machine = world.machine();
    for (path, read_only) in [(&own, false), (&tools, true)] {
        machine.disks.push(Disk::whole(path.clone(), read_only));
    }
    let (source, mut line) = world.boot("source", &machine).await;
    assert_eq!(line.ask("write 0 before").await, "written");
    let snapshot = world.folder.path().join("snapshot");
    source.snapshot(&snapshot).await.expect("it is written");
    let mut line = Line::of(&*source).await;
    assert_eq!(line.ask("write 0 after").await, "written");
    let begins = |path: &Path| fs::read(path).expect("a disk")[..6].to_owned();
    assert_eq!(begins(&own), b"after ");
    assert_eq!(begins(&snapshot.join("disk0")), b"before");
    assert!(!snapshot.join("disk1").exists());
    let (_clone, mut other) = restored(world, &snapshot, "clone", Memory::Own).await;
    assert_eq!(other.ask("read 0").await, "before");
    assert_eq!(other.ask("write 0 clone").await, "written");
    assert_eq!(other.ask("read 0").await, "clone");
    assert_eq!(line.ask("read 0").await, "after");
    assert_eq!(begins(&snapshot.join("disk0")), b"before");
    assert_eq!(begins(&tools), [0; 6]);
}

async fn ends_as_it_says(world: &World) {
    let (running, mut line) = world.boot("off", &world.machine()).await;
    line.say("off").await;
    let ended = how_it_ended(&*running).await;
    assert_eq!(ended.how, How::Off, "{ended}");
    let error = running.pause().await.expect_err("it is gone").to_string();
    assert!(error.contains("switched it off"), "{error}");
    let (running, mut line) = world.boot("crash", &world.machine()).await;
    line.say("crash").await;
    let ended = how_it_ended(&*running).await;
    assert_eq!(ended.how, How::Panicked, "{ended}");
    assert!(!ended.console.is_empty());
}

async fn is_told_how_large_it_may_be(world: &World) {
    let (running, mut line) = world.boot("one", &world.machine()).await;
    running.balloon(8).await.expect("it is told");
    assert_eq!(line.ask("echo well").await, "well");
    running.balloon(0).await.expect("it is told");
    let all = world.machine().memory;
    running.balloon(all).await.expect_err("it would have none");
    let who = Identity {
        sandbox: "s".to_owned(),
        template: "t".to_owned(),
    };
    let error = running.identify(&who).await.expect_err("it has no network");
    assert!(error.hint.is_some(), "{error}");
}

/// A tap isn't made here, so that only the fake has one.
#[tokio::test]
async fn a_guest_reads_whom_it_is_for_also_after_a_restore() {
    let mut world = World::fake("");
    let named = |name: &str| Identity {
        sandbox: format!("sandbox-{name}"),
        template: "base".to_owned(),
    };
    world.settings.tap = Some(Tap::new("tap0"));
    world.settings.identity = Some(named("one"));
    let mut machine = world.machine();
    machine.network = true;
    let (source, mut line) = world.boot("source", &machine).await;
    let expected = |name: &str| format!(r#"{{"envID":"base","instanceID":"sandbox-{name}"}}"#);
    assert_eq!(line.ask("whoami").await, expected("one"));
    assert_eq!(line.ask("tap").await, r#""tap0""#);
    source.identify(&named("two")).await.expect("it is told");
    assert_eq!(line.ask("whoami").await, expected("two"));
    let snapshot = world.folder.path().join("snapshot");
    source.snapshot(&snapshot).await.expect("it is written");
    world.settings.tap = Some(Tap::new("tap1"));
    world.settings.identity = Some(named("three"));
    let (_clone, mut line) = restored(&world, &snapshot, "three", Memory::Own).await;
    assert_eq!(line.ask("whoami").await, expected("three"));
    assert_eq!(line.ask("tap").await, r#""tap1""#);
    world.settings.identity = None;
    let (clone, mut line) = restored(&world, &snapshot, "nobody", Memory::Own).await;
    assert_eq!(line.ask("whoami").await, "nobody");
    clone.identify(&named("four")).await.expect("it is told");
    assert_eq!(line.ask("whoami").await, expected("four"));
    world.settings.tap = None;
    let place = world.place("five");
    let refused = world
        .firecracker()
        .restore(&snapshot, &place, Memory::Own)
        .await;
    let error = refused.err().expect("it has no tap").to_string();
    assert!(error.contains("it needs a tap"), "{error}");
}

/// Its process, as any user can see it.
#[tokio::test]
async fn a_monitor_has_nothing_that_it_was_not_given() {
    let world = World::fake("");
    let (_running, mut line) = world.boot("one", &world.machine()).await;
    let status = line.ask("status").await;
    let has = |words: &str| {
        status
            .split(';')
            .any(|line| line.replace('\t', " ") == words)
    };
    assert!(has("NoNewPrivs: 1"), "{status}");
    assert!(has("Umask: 0077"), "{status}");
}

/// All that a machine is made of, as the fake was told.
#[tokio::test]
async fn a_machine_is_configured_as_it_is_wished_for() {
    let mut world = World::fake("");
    world.settings.tap = Some(Tap {
        mac: Some("02:00:00:00:00:05".to_owned()),
        mtu: Some(1400),
        ..Tap::new("tap0")
    });
    world.settings.cpu = Some(json!({ "kvm_capabilities": ["!56"] }));
    world.settings.huge_pages = Some(HugePages::Transparent);
    let mut machine = world.machine();
    machine.network = true;
    machine.vcpus = 2;
    machine.disk_rates.bytes = Some(Rate {
        sustained: 1000,
        burst: 2000,
    });
    for name in ["root", "tools"] {
        let path = world.folder.path().join(name);
        fs::write(&path, [0; 4096]).expect("a disk");
        let read_only = name == "tools";
        machine.disks.push(Disk::whole(path, read_only));
    }
    let (_running, _line) = world.boot("one", &machine).await;
    let folder = world.folder.path().join("one");
    let told = asked(&folder.join("api.sock"), "/vm/config").await;
    let limits = json!({ "bandwidth": { "size": 2000, "refill_time": 2000 } });
    let net = json!({
        "bandwidth": { "size": 200_000_000, "refill_time": 1000, "one_time_burst": 100_000_000 },
    });
    let drive = |name: &str, read_only: bool| {
        json!({
            "drive_id": name, "path_on_host": name, "is_root_device": false,
            "is_read_only": read_only, "cache_type": "Writeback", "rate_limiter": limits,
        })
    };
    let words = "console=ttyS0 reboot=k panic=-1 pci=off i8042.noaux i8042.nomux i8042.dumbkbd";
    let expected = json!({
        "/balloon": {
            "amount_mib": 0, "deflate_on_oom": true, "stats_polling_interval_s": 3600,
        },
        "/boot-source": {
            "kernel_image_path": "kernel", "initrd_path": "initramfs",
            "boot_args": format!("{words} {}", machine.command_line),
        },
        "/cpu-config": { "kvm_capabilities": ["!56"] },
        "/drives/disk0": drive("disk0", false),
        "/drives/disk1": drive("disk1", true),
        "/entropy": {},
        "/machine-config": {
            "vcpu_count": 2, "mem_size_mib": machine.memory, "smt": false,
            "track_dirty_pages": true, "huge_pages": "Transparent",
        },
        "/mmds/config": { "network_interfaces": ["eth0"], "version": "V2" },
        "/network-interfaces/eth0": {
            "iface_id": "eth0", "host_dev_name": "tap0", "guest_mac": "02:00:00:00:00:05",
            "mtu": 1400, "rx_rate_limiter": net, "tx_rate_limiter": net,
        },
        "/vsock": { "guest_cid": 3, "uds_path": "agent.sock" },
    });
    assert_eq!(told, expected);
}

/// What is answered at a socket, to somebody else.
async fn asked(socket: &Path, path: &str) -> Value {
    let mut stream = UnixStream::connect(socket).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .await
        .expect("it is taken");
    let mut answer = Vec::new();
    loop {
        let mut block = [0; 4096];
        let count = stream.read(&mut block).await.expect("an answer");
        answer.extend(&block[..count]);
        let body = answer.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(Ok(value)) = body.map(|at| serde_json::from_slice(&answer[at + 4..])) {
            return value;
        }
        assert!(count > 0, "it was cut");
    }
}
