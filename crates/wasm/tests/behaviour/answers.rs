//! What a call says: its answer, its effects, its clocks; and why it failed.

use super::numbers;
use super::stand::{self, Stand};
use casemate_wasm::call::{Answer, Call, Effects, Entry, Failure, Principal};

const SPEAKS: &str = r#"(module
  (import "ic0" "msg_reply_data_append" (func $append (param i32 i32)))
  (import "ic0" "msg_reply" (func $reply))
  (import "ic0" "msg_reject" (func $reject (param i32 i32)))
  (import "ic0" "certified_data_set" (func $certify (param i32 i32)))
  (import "ic0" "call_new" (func $new (param i32 i32 i32 i32 i32 i32 i32 i32)))
  (import "ic0" "call_data_append" (func $add (param i32 i32)))
  (import "ic0" "call_cycles_add" (func $attach (param i64)))
  (import "ic0" "call_perform" (func $perform (result i32)))
  (import "ic0" "msg_cycles_accept" (func $accept (param i64) (result i64)))
  (import "ic0" "time" (func $time (result i64)))
  (import "ic0" "performance_counter" (func $counter (param i32) (result i64)))
  (memory 1)
  (data (i32.const 100) "one, two")
  (func (export "canister_update twice") (call $reply) (call $reply))
  (func (export "canister_update reply_and_reject") (call $reply) (call $reject (i32.const 100) (i32.const 3)))
  (func (export "canister_update reject_and_append")
    (call $reject (i32.const 100) (i32.const 3)) (call $append (i32.const 0) (i32.const 1)))
  (func (export "canister_update pieces")
    (call $append (i32.const 100) (i32.const 3))
    (call $append (i32.const 0) (i32.const 0))
    (call $append (i32.const 103) (i32.const 5))
    (call $reply))
  (func (export "canister_update unsaid") (call $append (i32.const 100) (i32.const 3)))
  (func (export "canister_update certify_32") (call $certify (i32.const 100) (i32.const 32)))
  (func (export "canister_update certify_33") (call $certify (i32.const 100) (i32.const 33)))
  (func $begin
    (call $new (i32.const 0) (i32.const 0) (i32.const 100) (i32.const 3)
      (i32.const 0) (i32.const 7) (i32.const 1) (i32.const 8))
    (call $add (i32.const 105) (i32.const 3))
    (call $attach (i64.const 40)))
  (func $effects (param $ends i32)
    (call $certify (i32.const 100) (i32.const 3))
    (drop (call $accept (i64.const 30)))
    (call $begin)
    (drop (call $perform))
    (if (local.get $ends) (then unreachable)))
  (func (export "canister_update effects") (call $effects (i32.const 0)))
  (func (export "canister_update effects_and_trap") (call $effects (i32.const 1)))
  (func (export "canister_update begin_only") (call $begin) (call $begin))
  (func (export "canister_update clock") (local $turns i32)
    (i64.store (i32.const 0) (call $time))
    (loop $next
      (local.set $turns (i32.add (local.get $turns) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $turns) (i32.const 100000))))
    (i64.store (i32.const 8) (call $time))
    (call $append (i32.const 0) (i32.const 16))
    (call $reply))
  (func (export "canister_update counters")
    (i64.store (i32.const 0) (call $counter (i32.const 0)))
    (i64.store (i32.const 8) (call $counter (i32.const 0)))
    (i64.store (i32.const 16) (call $counter (i32.const 1)))
    (call $append (i32.const 0) (i32.const 24))
    (call $reply))
  (func (export "canister_update no_counter") (drop (call $counter (i32.const 2))))
  (func (export "canister_init")))"#;

fn of(name: &str) -> Call {
    Stand::call_of(Entry::Update(name.to_owned()))
}

pub(crate) fn a_call_is_answered_once() {
    stand::each(SPEAKS, |stand| {
        for name in ["twice", "reply_and_reject", "reject_and_append"] {
            match stand.update(name).unwrap_err() {
                Failure::Contract { why, .. } => assert_eq!(why, "the call is answered already"),
                other => panic!("{name}: {other}"),
            }
        }
        // So is one that an earlier call of the same context answered.
        let mut late = of("pieces");
        late.is_answered = true;
        let failure = stand.take(late).0.result.unwrap_err();
        assert!(matches!(failure, Failure::Contract { .. }), "{failure}");
    });
}

pub(crate) fn an_answer_is_put_together_of_its_pieces() {
    stand::each(SPEAKS, |stand| {
        for _ in 0..2 {
            let answer = stand.update("pieces").unwrap();
            assert_eq!(answer, Answer::Reply(b"one, two".to_vec()));
            // Pieces of which no answer is made are nobody's.
            assert_eq!(stand.update_without_answer("unsaid"), None);
        }
    });
}

pub(crate) fn certified_data_is_at_most_32_bytes() {
    stand::each(SPEAKS, |stand| {
        let (ran, _) = stand.take(of("certify_32"));
        assert_eq!(ran.effects.certified.map(|data| data.len()), Some(32));
        let (ran, _) = stand.take(of("certify_33"));
        match ran.result.unwrap_err() {
            Failure::Contract { function, why } => {
                assert_eq!(function, "ic0.certified_data_set");
                assert_eq!(why, "33 bytes are more than the 32 that it takes");
            }
            other => panic!("{other}"),
        }
        assert_eq!(ran.effects, Effects::default());
    });
}

pub(crate) fn effects_are_those_of_calls_that_succeed() {
    stand::each(SPEAKS, |stand| {
        let call = |name| {
            let mut call = of(name);
            call.cycles = 100;
            call.statics.cycles = 1000;
            call
        };
        let (ran, _) = stand.take(call("effects"));
        let effects = ran.effects;
        assert_eq!((effects.accepted, effects.attached()), (30, 40));
        assert_eq!(effects.certified.as_deref(), Some(&b"one"[..]));
        let [outgoing] = &effects.calls[..] else {
            panic!("{effects:?}");
        };
        assert_eq!(outgoing.callee, Principal::MANAGEMENT);
        assert_eq!(
            (outgoing.method.as_str(), &outgoing.argument[..]),
            ("one", &b"two"[..])
        );
        assert_eq!(
            (outgoing.on_reply.function, outgoing.on_reply.environment),
            (0, 7)
        );
        assert_eq!(
            (outgoing.on_reject.function, outgoing.on_reject.environment),
            (1, 8)
        );
        let (ran, _) = stand.take(call("effects_and_trap"));
        assert!(ran.result.is_err());
        assert_eq!(ran.effects, Effects::default());
        // What is begun and not performed is no call.
        let (ran, _) = stand.take(call("begin_only"));
        assert_eq!((ran.result, ran.effects), (Ok(None), Effects::default()));
    });
}

pub(crate) fn time_stands_still_in_a_call() {
    stand::each(SPEAKS, |stand| {
        for time in [1, u64::MAX, 1_700_000_000_000_000_000] {
            let mut call = of("clock");
            call.time = time;
            let answer = stand.take(call).0.result.unwrap().unwrap();
            assert_eq!(numbers(answer), [time, time]);
        }
    });
}

pub(crate) fn counters_count_the_call_and_its_context() {
    stand::each(SPEAKS, |stand| {
        let mut seen = Vec::new();
        for before in [0, 5_000] {
            let mut call = of("counters");
            call.instructions_before = before;
            let (ran, _) = stand.take(call);
            let counted = numbers(ran.result.unwrap().unwrap());
            let [first, second, whole] = counted[..] else {
                panic!("{counted:?}");
            };
            assert!(0 < first && first < second, "{counted:?}");
            assert!(before + second < whole, "{counted:?}");
            assert!(whole - before < ran.instructions, "{counted:?}");
            seen.push([first, second, whole - before]);
        }
        assert_eq!(seen[0], seen[1]);
        let failure = stand.update("no_counter").unwrap_err();
        assert!(matches!(failure, Failure::Contract { .. }), "{failure}");
    });
}

const TRAPS: &str = r#"(module
  (memory 1)
  (table 2 funcref)
  (elem (i32.const 1) $takes)
  (type $nothing (func))
  (global $zero (mut i32) (i32.const 0))
  (func $takes (param i32))
  (func $deep (call $deep) (global.set $zero (i32.const 0)))
  (func (export "canister_update unreachable") unreachable)
  (func (export "canister_update heap") (drop (i32.load (i32.const 65533))))
  (func (export "canister_update division") (drop (i32.rem_s (i32.const 1) (global.get $zero))))
  (func (export "canister_update overflow")
    (drop (i32.div_s (i32.const 0x80000000) (i32.sub (global.get $zero) (i32.const 1)))))
  (func (export "canister_update conversion") (drop (i32.trunc_f32_s (f32.const nan))))
  (func (export "canister_update stack") (call $deep))
  (func (export "canister_update table")
    (call_indirect (type $nothing) (i32.add (global.get $zero) (i32.const 2))))
  (func (export "canister_update empty") (call_indirect (type $nothing) (global.get $zero)))
  (func (export "canister_update signature")
    (call_indirect (type $nothing) (i32.add (global.get $zero) (i32.const 1))))
  (func (export "canister_init")))"#;

pub(crate) fn each_trap_has_its_name() {
    stand::each(TRAPS, |stand| {
        for (name, expected) in [
            ("unreachable", "unreachable"),
            ("heap", "heap out of bounds"),
            ("division", "integer division by zero"),
            ("overflow", "integer overflow"),
            ("conversion", "float that is no integer"),
            ("stack", "stack overflow"),
            ("table", "table out of bounds"),
            ("empty", "call of an empty table entry"),
            ("signature", "indirect call with another signature"),
        ] {
            match stand.update(name).unwrap_err() {
                Failure::Trap { kind, frames } => {
                    assert_eq!(kind, expected, "{name}");
                    assert!(!frames.is_empty(), "{name}");
                }
                other => panic!("{name}: {other}"),
            }
        }
    });
}
