//! Queries beside updates: each sees one version of everything.

use super::stand::{self, Stand};
use casemate_wasm::call::{Call, Entry, Pace, Pause, Ran};
use casemate_wasm::executor::{Crash, Queries, Seat};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A number that is written to a global, to 64 pages of the heap and to 16 of stable memory.
const EVERYWHERE: &str = r#"(module
    (import "ic0" "msg_reply_data_append" (func $append (param i32 i32)))
    (import "ic0" "msg_reply" (func $reply))
    (import "ic0" "stable64_grow" (func $stable_grow (param i64) (result i64)))
    (import "ic0" "stable64_read" (func $stable_read (param i64 i64 i64)))
    (import "ic0" "stable64_write" (func $stable_write (param i64 i64 i64)))
    (memory 8 200)
    (global $number (mut i64) (i64.const 0))
    (func (export "canister_init") (drop (call $stable_grow (i64.const 1))))
    (func $place (param $page i32) (result i32)
        (i32.add (i32.const 65536) (i32.shl (local.get $page) (i32.const 12))))
    (func (export "canister_update add") (local $i i32)
        (global.set $number (i64.add (global.get $number) (i64.const 1)))
        (drop (memory.grow (i32.const 1)))
        (loop
            (i64.store (call $place (local.get $i)) (global.get $number))
            (i64.store (i32.const 32) (global.get $number))
            (call $stable_write
                (i64.extend_i32_u (i32.shl (i32.and (local.get $i) (i32.const 15)) (i32.const 12)))
                (i64.const 32) (i64.const 8))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if 0 (i32.lt_u (local.get $i) (i32.const 64)))))
    (func (export "canister_query read") (local $i i32) (local $others i64)
        (loop
            (call $stable_read (i64.const 40)
                (i64.extend_i32_u (i32.shl (i32.and (local.get $i) (i32.const 15)) (i32.const 12)))
                (i64.const 8))
            (local.set $others (i64.add (local.get $others) (i64.extend_i32_u (i32.or
                (i64.ne (i64.load (call $place (local.get $i))) (global.get $number))
                (i64.ne (i64.load (i32.const 40)) (global.get $number))))))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if 0 (i32.lt_u (local.get $i) (i32.const 64))))
        (i64.store (i32.const 0) (global.get $number))
        (i64.store (i32.const 8) (local.get $others))
        (i64.store (i32.const 16) (i64.extend_i32_u (memory.size)))
        (call $append (i32.const 0) (i32.const 24))
        (call $reply)))"#;

fn add() -> Arc<Call> {
    sliced(Entry::Update("add".to_owned()))
}

fn read() -> Arc<Call> {
    sliced(Entry::Query("read".to_owned()))
}

/// With some twenty pauses.
fn sliced(entry: Entry) -> Arc<Call> {
    let mut call = Call::clone(&Stand::call(entry, Vec::new()));
    call.limits.slice = 250;
    Arc::new(call)
}

/// The number that is found, which is the same everywhere.
fn number(ran: Ran) -> u64 {
    let answer = ran.result.unwrap().unwrap();
    let [number, others, size] = super::numbers(answer)[..] else {
        panic!("no three numbers");
    };
    assert_eq!(others, 0, "not all of it is {number}");
    assert_eq!(size, 8 + number);
    number
}

fn ask(queries: &dyn Queries) -> u64 {
    number(queries.query(&read(), &mut ()).unwrap())
}

fn update(seat: &mut dyn Seat) {
    let ran = seat.run(&add(), &mut ()).unwrap();
    assert_eq!(ran.result, Ok(None));
    seat.commit(&ran).unwrap();
}

pub(crate) fn queries_answer_while_an_update_waits() {
    stand::each(EVERYWHERE, |stand| {
        let (seat, queries) = stand.sides();
        for before in 0..3 {
            let mut pauses = 0;
            let ran = seat.run(&add(), &mut |_: &Pause| {
                pauses += 1;
                assert_eq!(ask(&*queries), before);
                Pace::Resume
            });
            assert!(pauses > 10, "{pauses}");
            let ran = ran.unwrap();
            assert_eq!(ask(&*queries), before);
            seat.commit(&ran).unwrap();
            assert_eq!(ask(&*queries), before + 1);
        }
    });
}

/// It runs while a commit comes, at each place where it can wait.
pub(crate) fn a_query_reads_one_version() {
    stand::each(EVERYWHERE, |stand| {
        let (seat, queries) = stand.sides();
        let mut version = 0;
        for place in 1.. {
            let mut is_there = false;
            let mut later = Vec::new();
            let ran = queries.query(&read(), &mut |pause: &Pause| {
                if pause.slices == place {
                    is_there = true;
                    update(seat);
                    // It may not see what the first one sees, whenever it comes.
                    let queries = queries.clone();
                    later.push(std::thread::spawn(move || ask(&*queries)));
                }
                Pace::Resume
            });
            assert_eq!(number(ran.unwrap()), version);
            if !is_there {
                assert!(place > 10, "{place}");
                break;
            }
            version += 1;
            for other in later {
                assert_eq!(other.join().unwrap(), version);
            }
            assert_eq!(ask(&*queries), version);
        }
    });
}

/// The one waits while the other runs to its end.
pub(crate) fn two_queries_run_at_once() {
    stand::each(EVERYWHERE, |stand| {
        let (seat, queries) = stand.sides();
        update(seat);
        let mut pauses = 0;
        let ran = queries.query(&read(), &mut |_: &Pause| {
            pauses += 1;
            assert_eq!(ask(&*queries), 1);
            Pace::Resume
        });
        assert_eq!(number(ran.unwrap()), 1);
        assert!(pauses > 10, "{pauses}");
    });
}

pub(crate) fn many_threads_see_what_was_committed() {
    stand::each(EVERYWHERE, |stand| {
        let (seat, queries) = stand.sides();
        let (committed, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let ask_on = || {
                let mut asked = 0;
                while !is_over.load(Ordering::SeqCst) || asked < 20 {
                    let least = committed.load(Ordering::SeqCst);
                    let found = ask(&*queries);
                    assert!(found >= least, "{found} after {least}");
                    asked += 1;
                }
            };
            for _ in 0..4 {
                scope.spawn(ask_on);
            }
            for number in 1..=100 {
                update(seat);
                committed.store(number, Ordering::SeqCst);
            }
            is_over.store(true, Ordering::SeqCst);
        });
        assert_eq!(ask(&*queries), 100);
    });
}

pub(crate) fn a_worker_that_dies_fails_all_that_it_runs() {
    stand::each(EVERYWHERE, |stand| {
        let (seat, queries) = stand.sides();
        let Some(process) = seat.process() else {
            return;
        };
        let process = rustix::process::Pid::from_raw(process.cast_signed()).unwrap();
        let mut query = None;
        let update = seat.run(&add(), &mut |_: &Pause| {
            let ran = queries.query(&read(), &mut |_: &Pause| {
                let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
                Pace::Resume
            });
            query = Some(ran);
            Pace::Resume
        });
        for ended in [update, query.unwrap(), queries.query(&read(), &mut ())] {
            let crash = ended.unwrap_err();
            assert!(matches!(crash, Crash::Gone(_)), "{crash}");
            assert!(crash.to_string().contains("signal 9 ended it"), "{crash}");
        }
        // From what is committed, another one goes on.
        stand.reload();
        let (seat, queries) = stand.sides();
        assert_eq!(ask(&*queries), 0);
        self::update(seat);
        assert_eq!(ask(&*queries), 1);
    });
}
