//! Calls that stop now and then, and go on or don't.

use super::stand::{self, Stand, page_of};
use casemate_wasm::call::{Answer, Effects, Failure, Next, Pace, Pause, Ran};

/// Work of all kinds, that also looks at its own counter.
const WORKER: &str = r#"(module
    (import "ic0" "performance_counter" (func $counter (param i32) (result i64)))
    (import "ic0" "debug_print" (func $print (param i32 i32)))
    (import "ic0" "msg_reply_data_append" (func $append (param i32 i32)))
    (import "ic0" "msg_reply" (func $reply))
    (import "ic0" "stable64_grow" (func $stable_grow (param i64) (result i64)))
    (import "ic0" "stable64_write" (func $stable_write (param i64 i64 i64)))
    (memory 8 100)
    (global $times (mut i64) (i64.const 0))
    (func (export "canister_update work") (local $i i32)
        (drop (call $stable_grow (i64.const 1)))
        (loop
            (i32.store (i32.mul (local.get $i) (i32.const 1000)) (local.get $i))
            (call $stable_write (i64.extend_i32_u (local.get $i)) (i64.const 0) (i64.const 40))
            (i64.store (i32.const 16) (call $counter (i32.const 0)))
            (call $append (i32.const 16) (i32.const 8))
            (call $print (i32.const 16) (i32.const 8))
            (memory.fill (i32.const 400000) (local.get $i) (i32.const 300))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if 0 (i32.lt_u (local.get $i) (i32.const 150))))
        (memory.fill (i32.const 300000) (i32.const 5) (i32.const 40000))
        (global.set $times (i64.add (global.get $times) (i64.const 1)))
        (drop (memory.grow (i32.const 1)))
        (call $reply))
    (func (export "canister_update fill")
        (memory.fill (i32.const 0) (i32.const 5) (i32.const 50000)))
    (func (export "canister_update spin") (loop (br 0)))
    (func (export "canister_query times")
        (i64.store (i32.const 0) (global.get $times))
        (i64.store (i32.const 8) (i64.extend_i32_u (memory.size)))
        (call $append (i32.const 0) (i32.const 16))
        (call $reply))
    (func (export "canister_update write") (local $i i32)
        (loop
            (i32.store (i32.shl (local.get $i) (i32.const 12)) (i32.const 7))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if 0 (i32.lt_u (local.get $i) (i32.const 10)))))
    (func (export "canister_init")))"#;

fn goes_on(_: &Pause, _: &casemate_wasm::executor::CanisterMemory) -> Pace {
    Pace::Resume
}

/// Runs `work` in slices of this length, and says how often it waited.
fn work(stand: &mut Stand, slice: u64) -> (Ran, u64) {
    let mut pauses = 0;
    let ran = stand.update_paced(
        "work",
        |limits| limits.slice = slice,
        |pause, _| {
            pauses += 1;
            assert_eq!((pause.slices, pause.next), (pauses, Next::Slice));
            Pace::Resume
        },
    );
    (ran, pauses)
}

pub(crate) fn a_call_is_the_same_however_it_is_sliced() {
    let mut all = Vec::new();
    stand::executors(|executor| {
        let code = executor.compile(WORKER.as_bytes()).unwrap();
        for slice in [
            u64::MAX,
            1000,
            1001,
            1500,
            2345,
            4096,
            10_000,
            33_333,
            100_000,
            150_000,
            1_000_000,
        ] {
            let mut stand = Stand::of(executor, &code);
            let (ran, pauses) = work(&mut stand, slice);
            assert!(ran.result.is_ok(), "{slice}: {:?}", ran.result);
            let fewest = (ran.instructions - 1) / slice;
            assert!(
                pauses == fewest || pauses + 1 == fewest,
                "{slice}: {pauses}"
            );
            all.push((slice, ran, stand.content(200)));
        }
    });
    let (_, ran, content) = &all[0];
    assert!(ran.instructions > 100_000 && ran.effects.logs.len() == 150);
    for (slice, other, memory) in &all {
        assert_eq!(other, ran, "{slice}");
        assert!(memory == content, "{slice}");
    }
}

pub(crate) fn an_aborted_call_leaves_nothing() {
    stand::executors(|executor| {
        let mut stand = Stand::new(executor, WORKER);
        let before = stand.content(200);
        for last in [1, 2, 60, 120] {
            let ran = stand.update_paced(
                "work",
                |limits| limits.slice = 1000,
                |pause, _| match pause.slices == last {
                    true => Pace::Abort,
                    false => Pace::Resume,
                },
            );
            assert_eq!(ran.result, Err(Failure::Aborted));
            assert_eq!(ran.effects, Effects::default());
            assert!(ran.instructions > last * 1000);
            assert!(stand.content(200) == before);
            let found = super::numbers(stand.query("times").unwrap());
            assert_eq!(found, [0, 8]);
        }
        let (ran, _) = work(&mut stand, 1000);
        assert!(matches!(ran.result, Ok(Some(Answer::Reply(_)))));
        assert_eq!(super::numbers(stand.query("times").unwrap()), [1, 9]);
    });
}

/// 50,000 bytes are paid for at once, by the slices that follow.
pub(crate) fn debts_are_carried_over() {
    stand::each(WORKER, |stand| {
        let mut pauses = Vec::new();
        let ran = stand.update_paced(
            "fill",
            |limits| limits.slice = 1000,
            |pause, _| {
                pauses.push(*pause);
                Pace::Resume
            },
        );
        assert_eq!(ran.result, Ok(None));
        assert_eq!(pauses.len(), 50);
        let first = pauses[0].instructions;
        assert!(first > 50_000 && ran.instructions < 51_000);
        for (number, pause) in (1..).zip(&pauses) {
            assert_eq!((pause.slices, pause.instructions), (number, first));
        }
    });
}

pub(crate) fn slices_run_out() {
    stand::each(WORKER, |stand| {
        let mut pauses = 0;
        let ran = stand.update_paced(
            "fill",
            |limits| limits.slice = 100,
            |_, _| {
                pauses += 1;
                Pace::Resume
            },
        );
        assert_eq!(ran.result, Err(Failure::Slices { slice: 100 }));
        assert_eq!(pauses, 399);
        let slices = |slice| move |limits: &mut casemate_wasm::call::Limits| limits.slice = slice;
        let [sliced, whole] =
            [100_000, u64::MAX].map(|slice| stand.update_paced("spin", slices(slice), goes_on));
        let limit = stand.limit();
        assert_eq!(sliced.result, Err(Failure::Instructions { limit }));
        assert_eq!(sliced, whole);
        assert_eq!(super::numbers(stand.query("times").unwrap()), [0, 8]);
    });
}

/// It has ended, nothing of it is committed yet, and it can still be undone.
pub(crate) fn a_call_waits_before_many_pages_are_copied() {
    stand::each(WORKER, |stand| {
        for (dirty, aborts) in [(9, true), (10, false), (9, false), (0, false)] {
            let before = stand.content(20);
            let mut pauses = Vec::new();
            let ran = stand.update_paced(
                "write",
                |limits| limits.dirty = dirty,
                |pause, memory| {
                    pauses.push(pause.next);
                    assert_eq!(page_of(memory, 0, 3)[..], before[3][..]);
                    match aborts {
                        true => Pace::Abort,
                        false => Pace::Resume,
                    }
                },
            );
            let expected: &[Next] = match dirty < 10 {
                true => &[Next::Copy { pages: 10 }],
                false => &[],
            };
            assert_eq!(pauses, expected);
            let expected = if aborts {
                Err(Failure::Aborted)
            } else {
                Ok(None)
            };
            assert_eq!(ran.result, expected);
            let now = if aborts { 0 } else { 7 };
            assert_eq!(stand.committed(3)[0], now);
        }
    });
}
