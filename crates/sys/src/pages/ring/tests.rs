use super::layout::{CAPACITY, SIZE, Shared, Side};
use super::{Breach, End, Error, MAX_FRAME, Ring};
use crate::pages::{Committed, PAGE};
use crate::probe::child;
use proptest::prelude::*;
use rustix::fd::{AsFd, OwnedFd};
use rustix::process::{PidfdFlags, pidfd_open};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

fn again(ring: &Ring) -> Ring {
    Ring::adopt(ring.as_fd().try_clone_to_owned().unwrap()).unwrap()
}

fn ends() -> (End, End) {
    let ring = Ring::new().unwrap();
    (again(&ring).caller().unwrap(), ring.callee().unwrap())
}

/// Long enough never to matter.
fn some_day() -> Instant {
    Instant::now() + Duration::from_secs(600)
}

fn now() -> Instant {
    Instant::now()
}

/// Answers every frame with the same one, until an empty one.
fn echo(mut callee: End) {
    let mut frame = Vec::new();
    loop {
        callee.receive(&mut frame, some_day()).unwrap();
        callee.send(&frame, some_day()).unwrap();
        if frame.is_empty() {
            break;
        }
    }
}

fn call(caller: &mut End, request: &[u8]) -> Vec<u8> {
    let mut reply = Vec::new();
    caller.send(request, some_day()).unwrap();
    caller.receive(&mut reply, some_day()).unwrap();
    reply
}

fn frame(length: usize, seed: u8) -> Vec<u8> {
    (0..length)
        .map(|at| (at as u8).wrapping_mul(31) ^ seed)
        .collect()
}

fn lengths() -> impl Strategy<Value = usize> {
    prop_oneof![
        4 => 1usize..100,
        2 => 1usize..5000,
        2 => CAPACITY - 9..CAPACITY + 9,
        1 => 1usize..200_000,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn frames_come_back_as_they_went(calls in prop::collection::vec((lengths(), any::<u8>()), 1..60)) {
        let (mut caller, callee) = ends();
        std::thread::scope(|scope| {
            scope.spawn(|| echo(callee));
            for (length, seed) in &calls {
                let request = frame(*length, *seed);
                assert!(call(&mut caller, &request) == request, "{length}");
            }
            assert_eq!(call(&mut caller, b""), b"");
        });
    }

    /// Many frames are under way, and each side waits for the other at times.
    #[test]
    fn frames_keep_their_order(calls in prop::collection::vec((lengths(), any::<u8>()), 1..60)) {
        let (mut caller, mut callee) = ends();
        std::thread::scope(|scope| {
            let receiver = scope.spawn(|| {
                let mut got = Vec::new();
                for (length, seed) in &calls {
                    callee.receive(&mut got, some_day()).unwrap();
                    assert!(got == frame(*length, *seed), "{length}");
                }
            });
            for (length, seed) in &calls {
                caller.send(&frame(*length, *seed), some_day()).unwrap();
            }
            receiver.join().unwrap();
        });
    }
}

#[test]
fn another_process_answers() {
    let (mut caller, callee) = ends();
    let child = child::fork(|| echo(callee)).unwrap();
    for turn in 0..2000usize {
        let request = frame(1 + turn * 37 % 40_000, turn as u8);
        assert!(call(&mut caller, &request) == request);
    }
    let longest = frame(MAX_FRAME as usize, 1);
    assert!(call(&mut caller, &longest) == longest);
    assert_eq!(call(&mut caller, b""), b"");
    assert_eq!(child::reap(child).unwrap().exit_status(), Some(0));
}

#[test]
fn what_is_too_long_is_not_sent() {
    let (mut caller, mut callee) = ends();
    let bytes = MAX_FRAME as usize + 1;
    assert_eq!(
        caller.send(&vec![0; bytes], now()),
        Err(Error::TooLong { bytes })
    );
    caller.send(b"short", now()).unwrap();
    let mut got = Vec::new();
    callee.receive(&mut got, now()).unwrap();
    assert_eq!(got, b"short");
}

#[test]
fn a_deadline_between_frames_leaves_the_ring_usable() {
    let (mut caller, mut callee) = ends();
    let mut got = Vec::new();
    assert_eq!(callee.receive(&mut got, now()), Err(Error::Late));
    let full = frame(CAPACITY - 4, 1);
    caller.send(&full, now()).unwrap();
    assert_eq!(caller.send(b"x", now()), Err(Error::Late));
    callee.receive(&mut got, now()).unwrap();
    assert_eq!(got, full);
    caller.send(b"x", now()).unwrap();
    callee.receive(&mut got, now()).unwrap();
    assert_eq!(got, b"x");
}

#[test]
fn a_deadline_within_a_frame_ends_it() {
    let (mut caller, mut callee) = ends();
    let mut got = Vec::new();
    assert_eq!(caller.send(&frame(CAPACITY, 1), now()), Err(Error::Late));
    assert_eq!(caller.send(b"x", now()), Err(Error::Halfway));
    assert_eq!(callee.receive(&mut got, now()), Err(Error::Late));
    assert_eq!(callee.receive(&mut got, now()), Err(Error::Halfway));
}

#[test]
fn the_end_of_the_other_process_is_noticed_and_what_it_sent_is_not_lost() {
    let (mut caller, mut callee) = ends();
    let child = child::fork(|| callee.send(b"last", some_day()).unwrap()).unwrap();
    caller.watch(pidfd_open(child, PidfdFlags::empty()).unwrap());
    let mut got = Vec::new();
    caller.receive(&mut got, some_day()).unwrap();
    assert_eq!(got, b"last");
    assert_eq!(caller.receive(&mut got, some_day()), Err(Error::Gone));
    assert_eq!(caller.send(b"x", some_day()), Err(Error::Gone));
    child::reap(child).unwrap();
}

#[test]
fn a_line_that_is_cut_wakes_who_waits() {
    // On two rings, or the one could have what the other sends before either line is cut.
    let ((mut caller, _silent), (_deaf, mut callee)) = (ends(), ends());
    let (for_caller, for_callee) = (caller.line(), callee.line());
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| caller.receive(&mut Vec::new(), some_day()));
        let sends = scope.spawn(|| callee.send(&vec![0; 2 * CAPACITY], some_day()));
        for_caller.cut();
        for_callee.cut();
        assert_eq!(waits.join().unwrap(), Err(Error::Gone));
        assert_eq!(sends.join().unwrap(), Err(Error::Gone));
    });
}

#[test]
fn only_a_ring_is_a_ring() {
    let wrong = Committed::new("heap", SIZE / PAGE + 1)
        .unwrap()
        .reader()
        .unwrap();
    assert!(Ring::adopt(wrong.into()).is_err());
    let null = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    assert!(Ring::adopt(null).is_err());
}

/// The memory as somebody has it who keeps to no rules.
fn hostile(ring: &Ring) -> Shared {
    Shared::map(&ring.as_fd().try_clone_to_owned().unwrap()).unwrap()
}

#[test]
fn impossible_numbers_are_a_breach_and_stay_one() {
    let capacity = CAPACITY as u64;
    for tail in [capacity + 1, u64::MAX, 1 << 63] {
        let ring = Ring::new().unwrap();
        let (shared, mut caller) = (hostile(&ring), again(&ring).caller().unwrap());
        shared
            .lane(Side::Callee)
            .tail
            .0
            .store(tail, Ordering::SeqCst);
        for _ in 0..2 {
            let received = caller.receive(&mut Vec::new(), some_day());
            assert_eq!(received, Err(Error::Breach(Breach::Tail)));
            shared.lane(Side::Callee).tail.0.store(0, Ordering::SeqCst);
        }
    }
    for head in [1, capacity, u64::MAX] {
        let ring = Ring::new().unwrap();
        let (shared, mut caller) = (hostile(&ring), again(&ring).caller().unwrap());
        shared
            .lane(Side::Caller)
            .head
            .0
            .store(head, Ordering::SeqCst);
        let sent = caller.send(b"x", some_day());
        assert_eq!(sent, Err(Error::Breach(Breach::Head)), "{head}");
    }
}

#[test]
fn what_was_told_cannot_be_taken_back() {
    let ring = Ring::new().unwrap();
    let (shared, mut caller) = (hostile(&ring), again(&ring).caller().unwrap());
    let mut callee = ring.callee().unwrap();
    callee.send(b"one", now()).unwrap();
    caller.receive(&mut Vec::new(), now()).unwrap();
    caller.send(b"two", now()).unwrap();
    callee.receive(&mut Vec::new(), now()).unwrap();
    caller.send(b"two", now()).unwrap();
    shared.lane(Side::Caller).head.0.store(6, Ordering::SeqCst);
    assert_eq!(
        caller.send(b"three", now()),
        Err(Error::Breach(Breach::Head))
    );
    shared.lane(Side::Caller).tail.0.store(6, Ordering::SeqCst);
    let received = callee.receive(&mut Vec::new(), now());
    assert_eq!(received, Err(Error::Breach(Breach::Tail)));
}

#[test]
fn a_length_that_is_too_long_takes_no_memory() {
    let ring = Ring::new().unwrap();
    let (shared, mut caller) = (hostile(&ring), again(&ring).caller().unwrap());
    let bytes = shared.bytes(Side::Callee);
    // SAFETY: a lane has more than four bytes, and nothing else uses them.
    unsafe { bytes.cast::<u32>().write_volatile(MAX_FRAME + 1) };
    shared.lane(Side::Callee).tail.0.store(4, Ordering::SeqCst);
    let mut got = Vec::new();
    assert_eq!(
        caller.receive(&mut got, some_day()),
        Err(Error::Breach(Breach::Length))
    );
    assert!(got.capacity() < 100);
    // One that isn't takes only what has arrived.
    let ring = Ring::new().unwrap();
    let (shared, mut caller) = (hostile(&ring), again(&ring).caller().unwrap());
    // SAFETY: as above.
    unsafe {
        shared
            .bytes(Side::Callee)
            .cast::<u32>()
            .write_volatile(MAX_FRAME)
    };
    shared.lane(Side::Callee).tail.0.store(10, Ordering::SeqCst);
    assert_eq!(caller.receive(&mut got, now()), Err(Error::Late));
    assert!(got.len() == 6 && got.capacity() < 100);
}

#[test]
fn a_frame_that_comes_byte_by_byte_has_to_be_there_in_time() {
    let ring = Ring::new().unwrap();
    let (shared, mut caller) = (hostile(&ring), again(&ring).caller().unwrap());
    let lane = shared.lane(Side::Callee);
    // SAFETY: a lane has more than four bytes, and nothing else uses them.
    unsafe {
        shared
            .bytes(Side::Callee)
            .cast::<u32>()
            .write_volatile(MAX_FRAME)
    };
    lane.tail.0.store(4, Ordering::SeqCst);
    let done = AtomicBool::new(false);
    let received = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let tail = lane.tail.0.load(Ordering::Acquire);
                if lane.head.0.load(Ordering::Acquire) == tail {
                    lane.tail.0.store(tail + 1, Ordering::Release);
                    lane.filled.0.ring();
                }
            }
        });
        // Long enough for some thousand of the bytes, and not for four million.
        let deadline = Instant::now() + Duration::from_millis(10);
        let received = caller.receive(&mut Vec::new(), deadline);
        done.store(true, Ordering::Relaxed);
        received
    });
    assert_eq!(received, Err(Error::Late));
}

#[test]
fn being_woken_for_nothing_without_end_is_a_breach() {
    let ring = Ring::new().unwrap();
    let (shared, mut caller) = (hostile(&ring), again(&ring).caller().unwrap());
    let done = AtomicBool::new(false);
    let received = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                shared.lane(Side::Callee).filled.0.ring_always();
            }
        });
        let received = caller.receive(&mut Vec::new(), some_day());
        done.store(true, Ordering::Relaxed);
        received
    });
    assert_eq!(received, Err(Error::Breach(Breach::Noise)));
}

/// Numbers that come from nowhere, and are the same each time.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Writes anything anywhere, and now and then something that could be.
fn scribble(shared: &Shared, state: &mut u64) {
    let (what, value) = (next(state) % 8, next(state));
    let small = value % (3 * CAPACITY as u64);
    let lane = shared.lane([Side::Caller, Side::Callee][(value % 2) as usize]);
    match what {
        0 => lane.tail.0.store(small, Ordering::Relaxed),
        1 => lane.head.0.store(small, Ordering::Relaxed),
        2 => {
            lane.tail.0.fetch_add(small % 64, Ordering::Relaxed);
        }
        3 => lane.filled.0.ring_always(),
        4 => lane.emptied.0.ring_always(),
        5 => shared
            .processor(Side::Callee)
            .store(value as u32, Ordering::Relaxed),
        _ => {
            let word = (value as usize % (SIZE / 8)) * 8;
            let at = shared
                .bytes(Side::Caller)
                .wrapping_sub(PAGE)
                .wrapping_add(word);
            // SAFETY: an aligned word inside of the mapping, which all sides take for one that
            // changes at any time.
            let word = unsafe { &*at.cast::<AtomicU64>() };
            word.store(next(state) >> (value % 64), Ordering::Relaxed);
        }
    }
}

#[test]
fn scribbling_into_the_memory_ends_in_errors_of_a_kind() {
    let (mut ended, mut passed) = (0, 0);
    for round in 1..400u64 {
        let ring = Ring::new().unwrap();
        let (shared, mut caller) = (hostile(&ring), again(&ring).caller().unwrap());
        let mut callee = ring.callee().unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut state = round.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                while !done.load(Ordering::Relaxed) {
                    scribble(&shared, &mut state);
                }
            });
            let mut got = Vec::new();
            for turn in 0..100 {
                let soon = || Instant::now() + Duration::from_micros(50);
                let results = [
                    caller.send(&frame(turn * 200, 1), soon()),
                    callee.receive(&mut got, soon()),
                    callee.send(&frame(turn * 3, 2), soon()),
                    caller.receive(&mut got, soon()),
                ];
                assert!(got.len() <= MAX_FRAME as usize);
                for result in results {
                    match result {
                        Ok(()) => passed += 1,
                        Err(Error::Late | Error::Halfway | Error::Breach(_)) => ended += 1,
                        Err(other) => panic!("{other}"),
                    }
                }
            }
            done.store(true, Ordering::Relaxed);
        });
    }
    assert!(ended > 0 && passed > 0, "{ended} {passed}");
}
