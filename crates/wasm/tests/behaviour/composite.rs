//! Composite queries, execution by execution: what they leave, and on which version they go on.

use super::stand::{self, Stand};
use casemate_wasm::call::{Call, Entry, Failure, Principal, Ran};
use casemate_wasm::executor::{Crash, Kept, Queries, Seat};
use casemate_wasm::system::Context;
use rustix::process::{Pid, Signal, kill_process};
use std::sync::Arc;

/// An update writes its number to 40 pages of the heap and to 8 of stable memory, each time one page
/// further to the end, and grows both. A query writes to every fourth page of what is there, and
/// calls; its callback writes to one more, grows the heap, and replies with a sum of all there is.
const SHARED: &str = r#"(module
    (import "ic0" "msg_reply_data_append" (func $append (param i32 i32)))
    (import "ic0" "msg_reply" (func $reply))
    (import "ic0" "call_new" (func $new (param i32 i32 i32 i32 i32 i32 i32 i32)))
    (import "ic0" "call_perform" (func $perform (result i32)))
    (import "ic0" "stable64_size" (func $stable_size (result i64)))
    (import "ic0" "stable64_grow" (func $stable_grow (param i64) (result i64)))
    (import "ic0" "stable64_read" (func $stable_read (param i64 i64 i64)))
    (import "ic0" "stable64_write" (func $stable_write (param i64 i64 i64)))
    (memory 8 200)
    (table 2 funcref)
    (elem (i32.const 0) $sum $trap)
    (global $number (mut i64) (i64.const 0))
    (func (export "canister_init") (drop (call $stable_grow (i64.const 1))))
    (func $write (param $page i32) (param $step i32) (param $number i64)
        (loop
            (i64.store (i32.shl (local.get $page) (i32.const 12)) (local.get $number))
            (local.set $page (i32.add (local.get $page) (local.get $step)))
            (br_if 0 (i32.lt_u (local.get $page)
                (i32.shl (memory.size) (i32.const 4))))))
    (func $save (param $at i64) (param $number i64)
        (i64.store (i32.const 32) (local.get $number))
        (loop
            (call $stable_write (local.get $at) (i64.const 32) (i64.const 8))
            (local.set $at (i64.add (local.get $at) (i64.const 8192)))
            (br_if 0 (i64.lt_u (local.get $at)
                (i64.shl (call $stable_size) (i64.const 16))))))
    (func (export "canister_update add")
        (global.set $number (i64.add (global.get $number) (i64.const 1)))
        (drop (memory.grow (i32.const 1)))
        (drop (call $stable_grow (i64.const 1)))
        (call $write (i32.add (i32.const 1) (i32.wrap_i64 (global.get $number))) (i32.const 3)
            (global.get $number))
        (call $save (i64.shl (global.get $number) (i64.const 12)) (global.get $number)))
    (func $ask
        (global.set $number (i64.add (global.get $number) (i64.const 1000)))
        (call $write (i32.const 1) (i32.const 4) (i64.const 77))
        (call $save (i64.const 8192) (i64.const 88))
        (call $new (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
            (i32.const 0) (i32.const 5) (i32.const 1) (i32.const 5))
        (drop (call $perform)))
    (func (export "canister_composite_query ask") (call $ask))
    (func (export "canister_composite_query grow")
        (drop (memory.grow (i32.const 2)))
        (drop (call $stable_grow (i64.const 2)))
        (call $ask))
    (func $trap (param i32) (i32.store (i32.const 8192) (i32.const 1)) (unreachable))
    ;; Of each page the first number, times its place; the sizes, and the global.
    (func $sum (param i32) (local $i i32) (local $sum i64) (local $end i32)
        (drop (memory.grow (i32.const 1)))
        (drop (call $stable_grow (i64.const 1)))
        (local.set $i (i32.const 1))
        (local.set $end (i32.shl (memory.size) (i32.const 4)))
        (loop
            (local.set $sum (i64.add (local.get $sum) (i64.mul
                (i64.extend_i32_u (local.get $i))
                (i64.load (i32.shl (local.get $i) (i32.const 12))))))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if 0 (i32.lt_u (local.get $i) (local.get $end))))
        (i64.store (i32.const 0) (local.get $sum))
        (local.set $sum (i64.const 0))
        (local.set $i (i32.const 0))
        (local.set $end (i32.shl (i32.wrap_i64 (call $stable_size)) (i32.const 4)))
        (loop
            (call $stable_read (i64.const 32)
                (i64.shl (i64.extend_i32_u (local.get $i)) (i64.const 12)) (i64.const 8))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (local.set $sum (i64.add (local.get $sum) (i64.mul
                (i64.extend_i32_u (local.get $i)) (i64.load (i32.const 32)))))
            (br_if 0 (i32.lt_u (local.get $i) (local.get $end))))
        (i64.store (i32.const 8) (local.get $sum))
        (i64.store (i32.const 16) (global.get $number))
        (i64.store (i32.const 24) (i64.extend_i32_u (memory.size)))
        (call $append (i32.const 0) (i32.const 32))
        (call $reply)))"#;

fn ask(name: &str) -> Arc<Call> {
    let mut call = Call::clone(&Stand::call(Entry::CompositeQuery(name.to_owned()), vec![]));
    call.limits.dirty = 16384;
    Arc::new(call)
}

fn callback(function: u64) -> Arc<Call> {
    let mut call = Call::clone(&ask("ask"));
    call.entry = Entry::Callback {
        context: Context::CompositeReply,
        function,
        environment: 5,
    };
    Arc::new(call)
}

fn begin(queries: &dyn Queries, name: &str) -> Kept {
    let (ran, kept) = queries.converse(&ask(name), None, &mut ()).unwrap();
    assert_eq!((&ran.result, ran.effects.calls.len()), (&Ok(None), 1));
    kept.unwrap()
}

fn end(queries: &dyn Queries, kept: &Kept) -> Vec<u64> {
    let (ran, none) = queries.converse(&callback(0), Some(kept), &mut ()).unwrap();
    assert!(none.is_none());
    super::numbers(ran.result.unwrap().unwrap())
}

fn update(seat: &mut dyn Seat) {
    let call = Stand::call(Entry::Update("add".to_owned()), Vec::new());
    let ran: Ran = seat.run(&call, &mut ()).unwrap();
    assert_eq!(ran.result, Ok(None));
    seat.commit(&ran).unwrap();
}

/// What a query is told doesn't depend on what was committed while it waited, however it got there.
pub(crate) fn a_query_that_waits_goes_on_with_its_version() {
    stand::each(SHARED, |stand| {
        let (seat, queries) = stand.sides();
        let queries = queries.as_ref();
        for name in ["ask", "grow"] {
            update(seat);
            let kept = begin(queries, name);
            let expected = end(queries, &kept);
            // It is left for as long as it is wanted, and queries between are none of its business.
            let other = begin(queries, "grow");
            assert_eq!(end(queries, &kept), expected);
            for _ in 0..4 {
                update(seat);
                assert_eq!(end(queries, &kept), expected, "{name}");
            }
            drop(other);
            // One that begins now sees what was committed.
            let now = end(queries, &begin(queries, name));
            assert_eq!(now[2], expected[2] + 4);
            // A callback that fails leaves it as it was.
            let (ran, none) = queries
                .converse(&callback(1), Some(&kept), &mut ())
                .unwrap();
            assert!(matches!(ran.result, Err(Failure::Trap { .. })) && none.is_none());
            assert_eq!(end(queries, &kept), expected);
            // What is left of a callback takes its place, with what was put aside before.
            let mut waits = Call::clone(&callback(1));
            waits.entry = Entry::CompositeQuery("grow".to_owned());
            waits.queued = vec![(Principal::MANAGEMENT, 1)];
            let (_, kept) = queries
                .converse(&Arc::new(waits), Some(&kept), &mut ())
                .unwrap();
            let kept = kept.unwrap();
            let expected = end(queries, &kept);
            update(seat);
            assert_eq!(end(queries, &kept), expected);
        }
        // Nothing of it is left.
        let plain = end(queries, &begin(queries, "ask"));
        let again = end(queries, &begin(queries, "ask"));
        assert_eq!(plain, again);
    });
}

/// Commits while a query waits, and while another runs, neither wait for it nor for each other.
pub(crate) fn nobody_waits_for_a_query_that_waits() {
    stand::each(SHARED, |stand| {
        let (seat, queries) = stand.sides();
        let queries = queries.as_ref();
        update(seat);
        let kept: Vec<Kept> = (0..20).map(|_| begin(queries, "ask")).collect();
        let expected = end(queries, &kept[0]);
        for _ in 0..5 {
            update(seat);
        }
        for kept in &kept {
            assert_eq!(end(queries, kept), expected);
        }
    });
}

/// Its worker's end is its own.
pub(crate) fn a_query_ends_with_its_worker() {
    let executor = stand::sandboxed();
    let mut stand = Stand::new(&executor, SHARED);
    let (seat, queries) = stand.sides();
    update(seat);
    let kept = begin(queries.as_ref(), "ask");
    let worker = seat.process().and_then(|pid| i32::try_from(pid).ok());
    kill_process(worker.and_then(Pid::from_raw).unwrap(), Signal::KILL).unwrap();
    let gone = queries
        .converse(&callback(0), Some(&kept), &mut ())
        .err()
        .unwrap();
    assert!(matches!(gone, Crash::Gone(_)), "{gone}");
    stand.reload();
    let (_, queries) = stand.sides();
    let kept = begin(queries.as_ref(), "ask");
    end(queries.as_ref(), &kept);
}
