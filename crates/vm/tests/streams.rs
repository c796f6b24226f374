//! Streams to a guest over its virtio-serial port, while it is written to disk and restored in the
//! middle of what it says.
//!
//! The guest's first program is this one, which the kernel is told to start with the arguments that
//! make it run [`first_program`].

#[allow(dead_code, reason = "other tests need the rest")]
mod world;

use casemate_mux::{Code, Door, Guest, Host, Session, Stream};
use casemate_vm::driver::{Memory, Monitor, Running};
use std::fs::File;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, duplex, split};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Handle};
use tokio::time::timeout;
use world::{PATIENCE, World};

async fn connect(running: &dyn Running) -> Session {
    let socket = running.channel().await.expect("it listens");
    let socket = std::os::unix::net::UnixStream::from(socket);
    let socket = UnixStream::from_std(socket).expect("a socket");
    let session = Host::connect(socket, PATIENCE).await;
    session.unwrap_or_else(|ended| panic!("{ended}"))
}

/// Sends so many bytes, and checks that they come back.
async fn echoed(session: &Session, length: u32) {
    let stream = session.open(Door::Agent).expect("there is room");
    let sent: Vec<u8> = (0..length).map(|n| (n ^ (n >> 7)) as u8).collect();
    let (mut from, mut to) = split(stream);
    let write = async {
        to.write_all(&sent).await.expect("it is taken");
        to.shutdown().await.expect("it ends");
    };
    let mut back = Vec::new();
    let ((), read) = tokio::join!(write, from.read_to_end(&mut back));
    read.expect("it comes back");
    assert!(back == sent);
}

#[tokio::test]
async fn streams_go_on_at_the_source_and_begin_anew_at_its_clones() {
    let Some(world) = World::find() else { return };
    let machine = world.machine();
    let place = world.place("source");
    let started = world.qemu.start(&machine, &place).await;
    let source = started.unwrap_or_else(|error| panic!("{error}"));
    source.resume().await.expect("it runs");
    let session = connect(&*source).await;
    session.ping().await.expect("it lives");
    echoed(&session, 100_000).await;
    let mut closed = session.open(Door::Port(9)).expect("there is room");
    let error = closed.opened().await.expect_err("nobody is there");
    assert_eq!(Code::of(&error), Some(Code::Closed));

    // In the middle of what both say.
    let snapshot = world.folder.path().join("snapshot");
    let (talks, is_written) = (session.clone(), Arc::new(AtomicBool::new(false)));
    let is_enough = Arc::clone(&is_written);
    let talk = tokio::spawn(async move {
        while !is_enough.load(Ordering::Relaxed) {
            echoed(&talks, 3_000_000).await;
        }
    });
    while session.kept() == 0 {
        tokio::task::yield_now().await;
    }
    source.snapshot(&snapshot).await.expect("it is written");
    is_written.store(true, Ordering::Relaxed);
    talk.await.expect("what the source says is whole");
    for (name, memory) in [("one", Memory::Lent), ("two", Memory::Own)] {
        let place = world.place(name);
        let restored = world.qemu.restore(&snapshot, &place, memory).await;
        let clone = restored.unwrap_or_else(|error| panic!("{error}"));
        clone.resume().await.expect("it goes on");
        let session = connect(&*clone).await;
        echoed(&session, 1_000_000).await;
    }
    // Another host takes over, in the middle of the first one's words.
    let talks = session.clone();
    let talk = tokio::spawn(async move { echoed(&talks, 8_000_000).await });
    while session.kept() == 0 {
        tokio::task::yield_now().await;
    }
    talk.abort();
    let _ = talk.await;
    drop((session, closed));
    let session = connect(&*source).await;
    echoed(&session, 1_000_000).await;
}

#[tokio::test]
async fn a_guest_that_hangs_answers_no_ping_and_its_console_says_more() {
    let Some(world) = World::find() else { return };
    let place = world.place("one");
    let started = world.qemu.start(&world.machine(), &place).await;
    let running = started.unwrap_or_else(|error| panic!("{error}"));
    running.resume().await.expect("it runs");
    let session = connect(&*running).await;
    session.ping().await.expect("it lives");
    running.pause().await.expect("it stops");
    let late = timeout(Duration::from_secs(1), session.ping()).await;
    late.expect_err("it doesn't live");
    let console = running.console();
    assert!(
        console.iter().any(|line| line.contains("first_program")),
        "{console:?}"
    );
    running.resume().await.expect("it goes on");
    session.ping().await.expect("it lives again");
}

/// The guest's, and no test of the host's.
#[test]
#[ignore = "it is the first program of a machine"]
fn first_program() {
    let Some(port) = world::first::begin() else {
        return;
    };
    let runtime = Builder::new_current_thread().build().expect("a runtime");
    let (near, far) = duplex(1 << 16);
    let (from_guest, to_guest) = split(far);
    let (handle, ours) = (runtime.handle().clone(), port.try_clone().expect("a port"));
    std::thread::spawn(move || hear(&handle, ours, to_guest));
    let handle = runtime.handle().clone();
    std::thread::spawn(move || say(&handle, port, from_guest));
    let ended = runtime.block_on(Guest::serve(near, handle_stream));
    panic!("{ended}");
}

fn handle_stream(door: Door, mut stream: Stream) {
    if door != Door::Agent {
        stream.reset(Code::Closed);
        return;
    }
    stream.accept();
    tokio::spawn(async move {
        let (mut from, mut to) = split(stream);
        let _ = copy(&mut from, &mut to).await;
        let _ = to.shutdown().await;
    });
}

fn hear(handle: &Handle, mut port: File, mut to: impl AsyncWriteExt + Unpin) {
    let mut block = vec![0; 8192];
    loop {
        match port.read(&mut block) {
            // Nobody is at the other end, for now.
            Ok(0) | Err(_) => std::thread::sleep(Duration::from_millis(1)),
            Ok(count) => {
                let heard = handle.block_on(to.write_all(&block[..count]));
                heard.expect("somebody listens");
            }
        }
    }
}

fn say(handle: &Handle, mut port: File, mut from: impl AsyncReadExt + Unpin) {
    let mut block = vec![0; 8192];
    loop {
        let count = handle.block_on(from.read(&mut block));
        let count = count.expect("somebody speaks");
        let mut left = &block[..count];
        while !left.is_empty() {
            match port.write(left) {
                Ok(count) => left = &left[count..],
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }
}
