//! Streams between a host and a guest that mean well.

use casemate_mux::WINDOW;
use casemate_mux::{BACKLOG, Code, Door, Ended, Guest, Host, STREAMS, Session, Stream, Unopened};
use std::io::ErrorKind;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, duplex, split};
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(30);

/// What a guest has behind its doors: the agent echoes, the control door keeps what comes unread,
/// port 1 says `done` and drops, and nobody listens elsewhere.
fn handle(door: Door, mut stream: Stream) {
    tokio::spawn(async move {
        match door {
            Door::Agent => {
                stream.accept();
                let (mut from, mut to) = split(stream);
                let _ = copy(&mut from, &mut to).await;
                let _ = to.shutdown().await;
            }
            Door::Control => std::future::pending().await,
            Door::Port(1) => {
                let _ = stream.write_all(b"done").await;
                let _ = stream.shutdown().await;
            }
            Door::Port(_) => stream.reset(Code::Closed),
        }
    });
}

async fn pair() -> (Session, JoinHandle<Ended>) {
    let (host, guest) = duplex(10_000);
    let guest = tokio::spawn(Guest::serve(guest, handle));
    let session = Host::connect(host, PATIENCE).await.expect("it answers");
    (session, guest)
}

#[tokio::test]
async fn what_is_written_is_read_and_each_way_ends_alone() {
    let (session, _guest) = pair().await;
    let mut stream = session.open(Door::Agent).expect("there is room");
    stream.opened().await.expect("somebody is there");
    let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n ^ (n >> 8)) as u8).collect();
    let (mut from, mut to) = split(stream);
    let mut echoed = Vec::new();
    let write = async {
        to.write_all(&sent).await.expect("it is taken");
        to.shutdown().await.expect("it ends");
    };
    let (_, read) = tokio::join!(write, from.read_to_end(&mut echoed));
    read.expect("it comes back");
    assert!(echoed == sent);
    let late = to.write(b"x").await.expect_err("this way has ended");
    assert_eq!(late.kind(), ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn what_was_sent_before_the_other_side_left_is_read() {
    let (session, _guest) = pair().await;
    let mut stream = session.open(Door::Port(1)).expect("there is room");
    let mut said = String::new();
    stream
        .read_to_string(&mut said)
        .await
        .expect("it ends well");
    assert_eq!(said, "done");
    // The guest's handle is gone, so nobody reads.
    let error = loop {
        if let Err(error) = stream.write_all(&[0; 1000]).await {
            break error;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(Code::of(&error), Some(Code::Dropped));
}

#[tokio::test]
async fn a_closed_port_says_so() {
    let (session, _guest) = pair().await;
    let mut stream = session.open(Door::Port(9)).expect("there is room");
    let error = stream.opened().await.expect_err("nobody is there");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(Code::of(&error), Some(Code::Closed));
    let error = stream.read_u8().await.expect_err("nobody is there");
    assert_eq!(Code::of(&error), Some(Code::Closed));
}

#[tokio::test]
async fn one_that_is_not_read_costs_nobody_else_anything() {
    let (session, _guest) = pair().await;
    let mut stuck = session.open(Door::Control).expect("there is room");
    let block = [1; 8192];
    let mut taken = 0;
    while let Ok(count) =
        tokio::time::timeout(Duration::from_millis(300), stuck.write(&block)).await
    {
        taken += count.expect("it is taken");
    }
    assert_eq!(taken, WINDOW as usize + BACKLOG);
    let mut other = session.open(Door::Agent).expect("there is room");
    other.write_all(b"hello").await.expect("it is taken");
    let mut back = [0; 5];
    other.read_exact(&mut back).await.expect("it comes back");
    assert_eq!(&back, b"hello");
    session.ping().await.expect("it lives");
}

#[tokio::test]
async fn an_echo_that_nobody_reads_stops_the_guests_reader_too() {
    let (session, _guest) = pair().await;
    let mut stream = session.open(Door::Agent).expect("there is room");
    let block = vec![1; 1 << 16];
    let mut taken = 0;
    while let Ok(count) =
        tokio::time::timeout(Duration::from_millis(300), stream.write(&block)).await
    {
        taken += count.expect("it is taken");
    }
    // Both windows, both backlogs, and what the echo has in its hands.
    let most = 2 * (WINDOW as usize + BACKLOG) + 65_536;
    assert!(taken <= most, "{taken} > {most}");
    assert!(session.kept() <= WINDOW as usize + BACKLOG);
}

#[tokio::test]
async fn streams_are_counted_and_their_places_come_back() {
    let (session, _guest) = pair().await;
    let mut held: Vec<_> = (0..STREAMS)
        .map(|_| session.open(Door::Agent).expect("there is room"))
        .collect();
    let full = session.open(Door::Agent).expect_err("there are too many");
    assert_eq!(full, Unopened::Full);
    for stream in &mut held {
        stream.opened().await.expect("somebody is there");
    }
    held.pop();
    let mut stream = loop {
        match session.open(Door::Agent) {
            Ok(stream) => break stream,
            Err(why) => assert_eq!(why, Unopened::Full),
        }
        tokio::task::yield_now().await;
    };
    // The guest forgets its own when it has heard of the reset, which comes before the opening.
    stream.opened().await.expect("somebody is there");
}

#[tokio::test]
async fn the_session_ends_with_either_side() {
    let (session, guest) = pair().await;
    let mut stream = session.open(Door::Agent).expect("there is room");
    guest.abort();
    assert_eq!(
        session.closed().await,
        Ended::Gone(ErrorKind::UnexpectedEof)
    );
    let error = stream.read_u8().await.expect_err("it is over");
    assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
    assert!(matches!(session.open(Door::Agent), Err(Unopened::Ended(_))));

    let (session, guest) = pair().await;
    let mut stream = session.open(Door::Agent).expect("there is room");
    drop(session);
    let ended = guest.await.expect("it doesn't panic");
    assert_eq!(ended, Ended::Gone(ErrorKind::UnexpectedEof));
    let error = stream.read_u8().await.expect_err("it is over");
    assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_says_nothing_is_given_up() {
    let (host, _guest) = duplex(10);
    let late = Host::connect(host, PATIENCE).await.err();
    assert_eq!(late, Some(Ended::Late));
}
