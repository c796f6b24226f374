//! A channel that is cut at any byte, both ways, and whose guest doesn't notice.

use casemate_mux::{Door, Guest, Host, Session, Stream};
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio::sync::Notify;
use tokio::task::JoinSet;

const PATIENCE: Duration = Duration::from_secs(30);

/// Of a host that is cut off; the clock of this test jumps.
const SHORT: Duration = Duration::from_millis(200);

/// One host's time on the line.
#[derive(Debug, Clone)]
struct Round {
    /// Bytes to the guest, and to the host, until it is cut.
    down: usize,
    up: usize,
    /// What of the guest's words is lost between this host and the next.
    lost: usize,
    /// What each stream sends.
    sends: Vec<usize>,
}

fn rounds() -> impl Strategy<Value = Vec<Round>> {
    let cut = || prop_oneof![0_usize..20_000, 16_000_usize..17_000, 0_usize..600_000];
    let sends = proptest::collection::vec(1_usize..300_000, 1..5);
    let round = (cut(), cut(), 0_usize..5000, sends);
    let round = round.prop_map(|(down, up, lost, sends)| Round {
        down,
        up,
        lost,
        sends,
    });
    proptest::collection::vec(round, 1..6)
}

/// What a stream of this seed says at a place.
fn byte(seed: u8, at: usize) -> u8 {
    (at.wrapping_mul(31) ^ (at >> 8)) as u8 ^ seed
}

/// The guest's: checks what comes, and sends it back.
async fn echo(mut stream: Stream, is_right: Arc<AtomicBool>) {
    let mut block = vec![0; 10_000];
    let (mut seed, mut at) = (None, 0);
    while let Ok(count) = stream.read(&mut block).await {
        if count == 0 {
            let _ = stream.shutdown().await;
            return;
        }
        for &found in &block[..count] {
            let seed = *seed.get_or_insert(found);
            if at > 0 && found != byte(seed, at) {
                is_right.store(false, Ordering::Relaxed);
            }
            at += 1;
        }
        if stream.write_all(&block[..count]).await.is_err() {
            return;
        }
    }
}

/// Carries so many bytes; the rest stays where it is.
async fn carry(from: &mut ReadHalf<DuplexStream>, to: &mut WriteHalf<DuplexStream>, most: usize) {
    let (mut block, mut left) = (vec![0; 3000], most);
    while left > 0 {
        let most = left.min(block.len());
        let Ok(count @ 1..) = from.read(&mut block[..most]).await else {
            return;
        };
        if to.write_all(&block[..count]).await.is_err() {
            return;
        }
        left -= count;
    }
}

/// The end of the line at the guest: its words, and its ears.
type End = (ReadHalf<DuplexStream>, WriteHalf<DuplexStream>);

/// Carries what a host says and hears until it has left.
async fn connect(mut guest: End, host: DuplexStream, round: Round, left: Arc<Notify>) -> End {
    let (mut from_host, mut to_host) = split(host);
    let both = async {
        let downward = carry(&mut from_host, &mut guest.1, round.down);
        let upward = carry(&mut guest.0, &mut to_host, round.up);
        tokio::join!(downward, upward)
    };
    tokio::select! {
        _ = both => {}
        () = left.notified() => {}
    }
    // What is lost while nobody is there; nothing more may be on its way.
    let mut lost = vec![0; round.lost];
    let _ = tokio::time::timeout(Duration::from_millis(5), guest.0.read(&mut lost)).await;
    guest
}

/// One stream's talk; true if all came back.
async fn talk(session: &Session, seed: u8, length: usize) -> bool {
    let Ok(stream) = session.open(Door::Agent) else {
        return false;
    };
    let sent: Vec<u8> = std::iter::once(seed)
        .chain((1..length).map(|at| byte(seed, at)))
        .collect();
    let (mut from, mut to) = split(stream);
    let mut echoed = Vec::new();
    let write = async {
        to.write_all(&sent).await?;
        to.shutdown().await
    };
    let (wrote, read) = tokio::join!(write, from.read_to_end(&mut echoed));
    assert!(
        sent.starts_with(&echoed),
        "what came back isn't what was sent"
    );
    // Its end isn't seen unless all was.
    assert!(read.is_err() || echoed.len() == sent.len());
    wrote.is_ok() && read.is_ok()
}

async fn play(rounds: Vec<Round>) {
    let (guest, line) = duplex(7000);
    let is_right = Arc::new(AtomicBool::new(true));
    let open = Arc::new(AtomicUsize::new(0));
    let (right, count) = (Arc::clone(&is_right), Arc::clone(&open));
    let _served = tokio::spawn(Guest::serve(guest, move |_, stream| {
        count.fetch_add(1, Ordering::Relaxed);
        let (right, count) = (Arc::clone(&right), Arc::clone(&count));
        tokio::spawn(async move {
            echo(stream, right).await;
            count.fetch_sub(1, Ordering::Relaxed);
        });
    }));
    let mut line = split(line);
    for round in rounds {
        let (host, end) = duplex(5000);
        let left = Arc::new(Notify::new());
        let carried = tokio::spawn(connect(line, end, round.clone(), Arc::clone(&left)));
        if let Ok(session) = Host::connect(host, SHORT).await {
            let mut talks = JoinSet::new();
            for (length, seed) in round.sends.into_iter().zip(1..) {
                let session = session.clone();
                talks.spawn(async move { talk(&session, seed, length).await });
            }
            // What is cut one way only is left after a while.
            let all = async {
                while talks
                    .join_next()
                    .await
                    .transpose()
                    .expect("no panic")
                    .is_some()
                {}
            };
            let _ = tokio::time::timeout(SHORT, all).await;
        }
        left.notify_one();
        line = carried.await.expect("no panic");
    }
    let (host, end) = duplex(5000);
    let last = Round {
        down: usize::MAX,
        up: usize::MAX,
        lost: 0,
        sends: Vec::new(),
    };
    let _carried = tokio::spawn(connect(line, end, last, Arc::default()));
    let session = Host::connect(host, PATIENCE)
        .await
        .expect("it is found again");
    for (seed, length) in [(1, 1), (2, 500_000), (3, 20_000)] {
        assert!(talk(&session, seed, length).await);
    }
    assert!(
        is_right.load(Ordering::Relaxed),
        "the guest got what nobody sent"
    );
    // Those of hosts that are gone have ended.
    while open.load(Ordering::Relaxed) > 0 {
        tokio::task::yield_now().await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn the_next_host_finds_the_guest_wherever_the_last_one_left(rounds in rounds()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(play(rounds));
    }
}
