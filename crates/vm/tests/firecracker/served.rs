//! Machines whose memory is a page server's.

use crate::faults::monitor_of;
use crate::world::{World, how_it_ended, script};
use casemate_vm::driver::{How, Memory, Monitor};
use casemate_vm::firecracker::settings::PageServer;
use std::fs;
use std::io::Read;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::sleep;

/// A page server in a process of its own: it hears what Firecracker says, and serves nothing.
pub(crate) fn run(args: &str, will: &str) {
    let words: Vec<&str> = args.split(' ').collect();
    let ["--own", "words", "--socket", socket, "--snapshot", snapshot] = words[..] else {
        panic!("{words:?}");
    };
    assert!(PathBuf::from(snapshot).join("manifest.json").is_file());
    if will == "end at once" {
        eprintln!("there is nothing to serve");
        std::process::exit(3);
    }
    let draft = format!("{socket}.new");
    let listener = UnixListener::bind(&draft).expect("it listens");
    fs::rename(draft, socket).expect("it is renamed");
    let (mut stream, _) = listener.accept().expect("a connection");
    let mut heard = vec![0; 4096];
    let length = stream.read(&mut heard).expect("a message");
    fs::write("pages.pid", std::process::id().to_string()).expect("it is written");
    fs::write("pages.new", &heard[..length]).expect("it is written");
    fs::rename("pages.new", "pages.heard").expect("it is renamed");
    // Firecracker says nothing more, and its end is this one's.
    let _ = stream.read(&mut heard);
}

fn world(will: &str) -> World {
    let mut world = World::fake("");
    let program = world.folder.path().join("pages");
    script(&program, "page_server", will);
    world.settings.pages = Some(PageServer {
        program,
        args: vec!["--own".into(), "words".into()],
    });
    world
}

async fn snapshot(world: &World) -> PathBuf {
    let (source, _line) = world.boot("source", &world.machine()).await;
    let snapshot = world.folder.path().join("snapshot");
    source.snapshot(&snapshot).await.expect("it is written");
    snapshot
}

async fn when_written(path: PathBuf) -> String {
    loop {
        match fs::read_to_string(&path) {
            Ok(text) => return text,
            Err(_) => sleep(Duration::from_millis(5)).await,
        }
    }
}

#[tokio::test]
async fn a_page_server_is_met_and_ends_with_its_machine() {
    let world = world("");
    let snapshot = snapshot(&world).await;
    let place = world.place("clone");
    let restored = world
        .firecracker()
        .restore(&snapshot, &place, Memory::Served)
        .await;
    let running = restored.unwrap_or_else(|error| panic!("{error}"));
    let heard = when_written(place.join("pages.heard")).await;
    let regions: serde_json::Value = serde_json::from_str(&heard).expect("JSON");
    assert_eq!(regions[0]["size"], 32 << 20);
    running.resume().await.expect("it goes on");
    running.end();
    assert_eq!(how_it_ended(&*running).await.how, How::Asked);
    // Both have this folder.
    while monitor_of(&place).is_some() {
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_page_server_that_is_gone_ends_its_machine() {
    let world = world("");
    let snapshot = snapshot(&world).await;
    let place = world.place("clone");
    let restored = world
        .firecracker()
        .restore(&snapshot, &place, Memory::Served)
        .await;
    let running = restored.unwrap_or_else(|error| panic!("{error}"));
    running.resume().await.expect("it goes on");
    when_written(place.join("pages.heard")).await;
    let pid = when_written(place.join("pages.pid")).await;
    let pid = rustix::process::Pid::from_raw(pid.parse().expect("a number")).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it is there");
    let ended = how_it_ended(&*running).await;
    let is_said = |why: &str| why.starts_with("its page server is gone: signal 9");
    assert!(
        matches!(&ended.how, How::Lost(why) if is_said(why)),
        "{ended}"
    );
    running.resume().await.expect_err("it is gone");
}

#[tokio::test]
async fn a_machine_that_ends_by_itself_is_not_its_page_servers_fault() {
    let world = world("");
    let snapshot = snapshot(&world).await;
    let place = world.place("clone");
    let restored = world
        .firecracker()
        .restore(&snapshot, &place, Memory::Served)
        .await;
    let running = restored.unwrap_or_else(|error| panic!("{error}"));
    running.resume().await.expect("it goes on");
    when_written(place.join("pages.heard")).await;
    let mut line = crate::world::Line::of(&*running).await;
    line.say("off").await;
    assert_eq!(how_it_ended(&*running).await.how, How::Off);
}

#[tokio::test]
async fn a_page_server_that_does_not_begin_is_reported() {
    let mut world = world("end at once");
    let snapshot = snapshot(&world).await;
    let place = world.place("clone");
    let restored = world
        .firecracker()
        .restore(&snapshot, &place, Memory::Served)
        .await;
    let error = restored.err().expect("it ends").to_string();
    assert!(error.contains("start a page server"), "{error}");
    assert!(error.contains("there is nothing to serve"), "{error}");
    world.settings.pages = None;
    let place = world.place("none");
    let restored = world
        .firecracker()
        .restore(&snapshot, &place, Memory::Served)
        .await;
    let error = restored.err().expect("there is none").to_string();
    assert!(error.contains("it has no page server"), "{error}");
}
