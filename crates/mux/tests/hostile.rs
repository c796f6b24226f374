//! Peers that break the rules: they lose their session, and nothing else happens.

use casemate_mux::{Door, Ended, Fault, Guest, Host, STREAMS, Session, Stream, WINDOW};
use proptest::prelude::*;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

const PATIENCE: Duration = Duration::from_secs(30);
const SILENCE: usize = (16 << 10) + 16;

/// A frame by its bytes, with whatever length it claims.
fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(stream.to_le_bytes());
    bytes.extend((payload.len() as u16).to_le_bytes());
    bytes.extend(payload);
    bytes.push(0xA5);
    bytes
}

fn hello() -> Vec<u8> {
    let mut bytes = vec![0; SILENCE];
    bytes.extend(frame(1, 0, &[[7; 17].as_slice(), &[]].concat()));
    // The version.
    let version = bytes.len() - 2;
    bytes[version] = 1;
    bytes
}

/// A guest of our own hands: a session of a real host, and the raw channel to it.
async fn raw_guest() -> (Session, DuplexStream) {
    let (host, mut guest) = duplex(1 << 20);
    let answer = async {
        let mut begin = vec![0; SILENCE + 25];
        guest.read_exact(&mut begin).await.expect("it says hello");
        let nonce_and_version = &begin[SILENCE + 7..SILENCE + 24];
        let welcome = frame(2, 0, nonce_and_version);
        guest.write_all(&welcome).await.expect("it listens");
        guest
    };
    let (session, guest) = tokio::join!(Host::connect(host, PATIENCE), answer);
    (session.expect("it was welcomed"), guest)
}

async fn ended_by(bytes: &[u8]) -> Ended {
    let (session, mut guest) = raw_guest().await;
    let _stream = session.open(Door::Agent).expect("there is room");
    guest.write_all(bytes).await.expect("it listens");
    session.closed().await
}

#[tokio::test]
async fn a_guest_that_breaks_a_rule_loses_the_session() {
    let cases: [(Vec<u8>, Fault); 11] = [
        (vec![0], Fault::Malformed),
        (vec![0xFF], Fault::Malformed),
        (vec![4, 1, 0, 0, 0, 0xFF, 0xFF], Fault::Malformed),
        (frame(4, 1, &[]), Fault::Malformed),
        (frame(3, 2, &[1]), Fault::Misplaced),
        (frame(1, 0, &[0; 17]), Fault::Misplaced),
        (frame(2, 0, &[0; 17]), Fault::Misplaced),
        (frame(4, 2, b"x"), Fault::NoStream),
        (frame(7, 2, &[1]), Fault::NoStream),
        (frame(5, 1, &1_u32.to_le_bytes()), Fault::Overdraft),
        (
            [frame(6, 1, &[]), frame(4, 1, b"x")].concat(),
            Fault::Misplaced,
        ),
    ];
    for (bytes, fault) in cases {
        assert_eq!(ended_by(&bytes).await, Ended::Broken(fault), "{bytes:?}");
    }
}

#[tokio::test]
async fn credit_is_not_overrun() {
    let (session, mut guest) = raw_guest().await;
    let _stream = session.open(Door::Agent).expect("there is room");
    let block = frame(4, 1, &[1; 16 << 10]);
    for _ in 0..WINDOW as usize / (16 << 10) {
        guest.write_all(&block).await.expect("it listens");
    }
    guest
        .write_all(&frame(4, 1, b"x"))
        .await
        .expect("it listens");
    assert_eq!(session.closed().await, Ended::Broken(Fault::Overrun));
    assert_eq!(session.kept(), WINDOW as usize);
}

#[tokio::test]
async fn one_byte_at_a_time_is_kept_as_bytes() {
    let (session, mut guest) = raw_guest().await;
    let mut stream = session.open(Door::Agent).expect("there is room");
    for _ in 0..1000 {
        guest
            .write_all(&frame(4, 1, b"x"))
            .await
            .expect("it listens");
    }
    guest
        .write_all(&frame(6, 1, &[]))
        .await
        .expect("it listens");
    let mut read = Vec::new();
    stream.read_to_end(&mut read).await.expect("it ends");
    assert_eq!(read, vec![b'x'; 1000]);
}

#[tokio::test]
async fn pongs_that_nobody_asked_for_answer_nothing() {
    let (session, mut guest) = raw_guest().await;
    let asked = tokio::spawn({
        let session = session.clone();
        async move { session.ping().await }
    });
    let mut ping = [0; 16];
    guest.read_exact(&mut ping).await.expect("it asks");
    for token in 0..100_u64 {
        let pong = frame(9, 0, &token.to_le_bytes());
        guest.write_all(&pong).await.expect("it listens");
    }
    let sent = session.open(Door::Agent).expect("there is room");
    drop(sent);
    assert!(!asked.is_finished());
    let pong = frame(9, 0, &ping[7..15]);
    guest.write_all(&pong).await.expect("it listens");
    asked.await.expect("no panic").expect("it was answered");
}

#[tokio::test]
async fn pings_without_end_are_answered_within_bounds() {
    let (_session, guest) = raw_guest().await;
    let (mut from, mut to) = tokio::io::split(guest);
    let send = async {
        for token in 0..100_000_u64 {
            let ping = frame(8, 0, &token.to_le_bytes());
            to.write_all(&ping).await.expect("it listens");
        }
    };
    let last = async {
        let mut pong = [0; 16];
        while pong[7..15] != 99_999_u64.to_le_bytes() {
            from.read_exact(&mut pong).await.expect("it answers");
        }
    };
    tokio::join!(send, last);
}

/// A real guest that keeps all streams it gets, and the raw channel to it.
fn raw_host() -> (
    DuplexStream,
    Arc<Mutex<Vec<Stream>>>,
    tokio::task::JoinHandle<Ended>,
) {
    let (host, guest) = duplex(1 << 16);
    let kept = Arc::<Mutex<Vec<Stream>>>::default();
    let streams = Arc::clone(&kept);
    let served = tokio::spawn(Guest::serve(guest, move |_, stream| {
        streams.lock().expect("no panic").push(stream);
    }));
    (host, kept, served)
}

#[tokio::test]
async fn ten_thousand_opens_get_as_many_streams_as_there_are() {
    let (host, kept, _served) = raw_host();
    let (mut from, mut to) = tokio::io::split(host);
    to.write_all(&hello()).await.expect("it listens");
    let send = async {
        for id in 1..=10_000 {
            to.write_all(&frame(3, id, &[1])).await.expect("it listens");
        }
    };
    let mut refused = 0;
    let answers = async {
        let mut welcome = vec![0; SILENCE + 25];
        from.read_exact(&mut welcome).await.expect("a welcome");
        let mut reset = [0; 9];
        while refused < 10_000 - STREAMS {
            from.read_exact(&mut reset).await.expect("a reset");
            assert_eq!((reset[0], reset[7]), (7, 2));
            refused += 1;
        }
    };
    tokio::join!(send, answers);
    assert_eq!(kept.lock().expect("no panic").len(), STREAMS);
}

#[tokio::test]
async fn opens_whose_answers_nobody_takes_end_the_session() {
    let (mut host, kept, _served) = raw_host();
    host.write_all(&hello()).await.expect("it listens");
    for id in 1..=20_000 {
        host.write_all(&frame(3, id, &[1]))
            .await
            .expect("it listens");
    }
    let streams = std::mem::take(&mut *kept.lock().expect("no panic"));
    assert_eq!(streams.len(), STREAMS);
    for mut stream in streams {
        stream.read_u8().await.expect_err("the session is over");
    }
    // And another can begin.
    host.write_all(&hello()).await.expect("it listens");
    host.write_all(&frame(3, 1, &[1]))
        .await
        .expect("it listens");
    while kept.lock().expect("no panic").is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn streams_that_are_opened_and_reset_leave_nothing() {
    let (host, guest) = duplex(1 << 16);
    tokio::spawn(Guest::serve(guest, |_, stream| drop(stream)));
    let (mut from, mut to) = tokio::io::split(host);
    let drain = tokio::spawn(async move {
        let mut sink = tokio::io::sink();
        tokio::io::copy(&mut from, &mut sink).await
    });
    to.write_all(&hello()).await.expect("it listens");
    for id in 1..=50_000 {
        to.write_all(&frame(3, id, &[1])).await.expect("it listens");
        to.write_all(&frame(7, id, &[4])).await.expect("it listens");
    }
    to.shutdown().await.expect("it listens");
    drain
        .await
        .expect("no panic")
        .expect("it answered to the end");
}

fn scraps() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        (
            0_u8..11,
            0_u32..4,
            proptest::collection::vec(any::<u8>(), 0..20)
        )
            .prop_map(|(kind, stream, payload)| frame(kind, stream, &payload)),
        (0_u32..4, 1_usize..16_384).prop_map(|(stream, size)| frame(4, stream, &vec![1; size])),
        Just(hello()),
    ];
    proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_bytes_of_a_guest_do_more_than_end_the_session(bytes in scraps()) {
        let kept = run(async {
            let (session, guest) = raw_guest().await;
            let streams: Vec<_> = (0..3).map(|_| session.open(Door::Agent)).collect();
            let (mut from, mut to) = tokio::io::split(guest);
            let drain = tokio::spawn(async move {
                tokio::io::copy(&mut from, &mut tokio::io::sink()).await
            });
            let _ = to.write_all(&bytes).await;
            drop(to);
            drain.abort();
            session.closed().await;
            drop(streams);
            session.kept()
        });
        prop_assert_eq!(kept, 0);
    }

    #[test]
    fn no_bytes_of_a_host_keep_a_guest_from_the_next(bytes in scraps()) {
        run(async {
            let (host, kept, _served) = raw_host();
            let (mut from, mut to) = tokio::io::split(host);
            tokio::spawn(async move {
                tokio::io::copy(&mut from, &mut tokio::io::sink()).await
            });
            to.write_all(&bytes).await.expect("it listens");
            to.write_all(&hello()).await.expect("it listens");
            to.write_all(&frame(3, 77, &[3, 1, 0])).await.expect("it listens");
            let found = |streams: &[Stream]| {
                streams.last().is_some_and(|stream| stream.door() == Door::Port(1))
            };
            while !found(&kept.lock().expect("no panic")) {
                tokio::task::yield_now().await;
            }
        });
    }
}
