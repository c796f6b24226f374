//! Calls between canisters, timers, other code, and what survives of all of it: with both executors.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod composite;
#[allow(dead_code, reason = "nothing here needs the path of this program")]
#[path = "../processes/harness.rs"]
mod harness;
mod script;
mod shared;
mod stand;

use candid::{Decode, Encode};
use casemate_wasm::call::{Answer, Failure, Principal, Status};
use casemate_wasm::canisters::{Ask, CanisterError, Options, Phase};
use casemate_wasm::store::{Durability, Kept};
use script::{out, raw, script};
use stand::{PUPPET, Stand, each, each_with, kill, process, while_it_works};
use std::time::{Duration, Instant};

fn main() {
    casemate_wasm::process::role(&casemate_wasm::worker::Wasm);
    harness::main(&[
        ("an_answer_comes_back", an_answer_comes_back),
        (
            "nothing_but_its_code_is_shared",
            shared::nothing_but_its_code,
        ),
        ("a_call_is_counted_as_a_whole", a_call_is_counted_as_a_whole),
        ("a_rejection_says_why", a_rejection_says_why),
        (
            "a_call_that_traps_calls_nobody",
            a_call_that_traps_calls_nobody,
        ),
        (
            "a_callback_that_traps_is_cleaned_up",
            a_callback_that_traps_is_cleaned_up,
        ),
        (
            "cycles_are_neither_made_nor_lost",
            cycles_are_neither_made_nor_lost,
        ),
        ("calls_go_round", calls_go_round),
        (
            "who_says_nothing_is_answered_for",
            who_says_nothing_is_answered_for,
        ),
        ("a_queue_has_an_end", a_queue_has_an_end),
        ("what_is_on_its_way_survives", what_is_on_its_way_survives),
        ("no_moment_of_a_crash_matters", no_moment_of_a_crash_matters),
        ("a_key_is_used_once", a_key_is_used_once),
        ("timers_go_off", timers_go_off),
        (
            "who_is_stopped_takes_no_calls",
            who_is_stopped_takes_no_calls,
        ),
        (
            "stable_memory_outlives_the_code",
            stable_memory_outlives_the_code,
        ),
        (
            "the_management_canister_answers",
            the_management_canister_answers,
        ),
        (
            "memory_is_shared_and_given_back",
            memory_is_shared_and_given_back,
        ),
        ("lines_survive", lines_survive),
        ("a_query_waits_for_no_update", a_query_waits_for_no_update),
        (
            "who_cant_be_made_again_is_nobodys",
            who_cant_be_made_again_is_nobodys,
        ),
        ("who_moved_has_its_own_name", who_moved_has_its_own_name),
        ("who_is_evicted_comes_back", who_is_evicted_comes_back),
        ("what_may_be_lost_is_said", what_may_be_lost_is_said),
        ("each_part_is_measured", each_part_is_measured),
        (
            "a_process_that_ends_costs_one_call",
            a_process_that_ends_costs_one_call,
        ),
        (
            "a_call_that_is_not_over_in_time_leaves_nothing",
            a_call_that_is_not_over_in_time_leaves_nothing,
        ),
        (
            "who_waits_for_another_is_late",
            who_waits_for_another_is_late,
        ),
        (
            "callers_at_once_are_all_answered",
            callers_at_once_are_all_answered,
        ),
        ("a_query_asks_others", composite::a_query_asks_others),
        (
            "callbacks_go_on_with_what_was_there",
            composite::callbacks_go_on_with_what_was_there,
        ),
        (
            "a_callback_that_fails_leaves_what_was_there",
            composite::a_callback_that_fails_leaves_what_was_there,
        ),
        (
            "the_first_answer_ends_it",
            composite::the_first_answer_ends_it,
        ),
        (
            "a_query_is_told_why_a_call_was_rejected",
            composite::a_query_is_told_why_a_call_was_rejected,
        ),
        (
            "calls_within_each_other_have_an_end",
            composite::calls_within_each_other_have_an_end,
        ),
        (
            "calls_of_a_query_have_an_end",
            composite::calls_of_a_query_have_an_end,
        ),
        (
            "instructions_are_of_all_together",
            composite::instructions_are_of_all_together,
        ),
        (
            "replies_have_their_size",
            composite::replies_have_their_size,
        ),
        (
            "what_a_query_writes_has_its_size",
            composite::what_a_query_writes_has_its_size,
        ),
        ("queries_that_cross_end", composite::queries_that_cross_end),
        (
            "a_process_that_ends_costs_one_query",
            composite::a_process_that_ends_costs_one_query,
        ),
    ]);
}

fn an_answer_comes_back() {
    each(|stand| {
        stand.puppet("a");
        let b = stand.puppet("b");
        let there = script().add(5).say("five").reply();
        assert_eq!(
            stand.reply("a", script().add(1).call(out(b, there))),
            b"five"
        );
        assert_eq!((stand.counter("a"), stand.counter("b")), (1, 5));
    });
}

fn a_call_is_counted_as_a_whole() {
    each(|stand| {
        stand.puppet("a");
        let b = stand.puppet("b");
        let call = out(b, script().reply()).on_reply(script().instructions().reply());
        let outcome = stand.tell("a", script().call(call)).unwrap();
        let Ok(Some(Answer::Reply(counted))) = &outcome.result else {
            panic!("{outcome:?}");
        };
        let counted = u64::from_le_bytes(counted[..].try_into().unwrap());
        // What its callback counted is all but the rest of the callback.
        assert!(
            counted > 100 && counted <= outcome.instructions,
            "{counted}"
        );
    });
}

fn a_rejection_says_why() {
    each(|stand| {
        stand.puppet("a");
        let b = stand.puppet("b");
        let rejected = |there| stand.reply("a", script().call(out(b, there)));
        assert_eq!(rejected(script().add(1).reject("no")), b"\x04no");
        let trapped = rejected(script().add(10).trap("ouch"));
        assert_eq!(trapped[0], 5);
        assert!(String::from_utf8_lossy(&trapped).contains("ouch"));
        // What it did before it said no is kept, and what it did before it trapped isn't.
        assert_eq!(stand.counter("b"), 1);
        let nobody = Principal::of_canister(1);
        let said = stand.reply("a", script().call(out(nobody, script())));
        assert_eq!(said[0], 3);
        let said = stand.reply("a", script().call(out(b, script()).method("nothing")));
        assert_eq!(said[0], 3);
    });
}

fn a_call_that_traps_calls_nobody() {
    each(|stand| {
        stand.puppet("a");
        let b = stand.puppet("b");
        let there = script().add(5).reply();
        let failure = stand.failure("a", script().call(out(b, there)).trap("late"));
        assert!(matches!(failure, Failure::Canister { .. }), "{failure:?}");
        stand.canisters().settle(Duration::from_secs(1));
        assert_eq!(stand.counter("b"), 0);
    });
}

fn a_callback_that_traps_is_cleaned_up() {
    each(|stand| {
        stand.puppet("a");
        let b = stand.puppet("b");
        let call = out(b, script().reply())
            .on_reply(script().add(100).trap("in the callback"))
            .cleanup(script().add(7));
        let failure = stand.failure("a", script().add(1).call(call));
        assert!(failure.to_string().contains("in the callback"), "{failure}");
        assert_eq!(stand.counter("a"), 8);
        stand.again();
        assert_eq!(stand.counter("a"), 8);
    });
}

fn cycles_are_neither_made_nor_lost() {
    each(|stand| {
        stand.puppet("a");
        let b = stand.puppet("b");
        let balance = |name| {
            let bytes = stand.reply(name, script().balance().reply());
            u128::from_le_bytes(bytes.try_into().unwrap())
        };
        let before = (balance("a"), balance("b"));
        let there = script().accept(300).reply();
        let call = out(b, there)
            .cycles(1000)
            .on_reply(script().refunded().reply());
        let refund = stand.reply("a", script().call(call));
        assert_eq!(u128::from_le_bytes(refund.try_into().unwrap()), 700);
        assert_eq!(
            (balance("a"), balance("b")),
            (before.0 - 300, before.1 + 300)
        );
        // A call that fails takes nothing.
        let call = out(b, script().accept(300).trap("no")).cycles(1000);
        stand.reply("a", script().call(call));
        assert_eq!(balance("a") + balance("b"), before.0 + before.1);
    });
    each(|stand| {
        let a = stand.puppet("a");
        stand.puppet("b");
        let more = out(a, script()).cycles(u32::MAX);
        let many = (0..30_000).fold(script(), |all, _| all.add(0));
        let failure = stand.failure("a", many.call(more).trap("end"));
        assert!(failure.to_string().contains("end"), "{failure}");
    });
}

fn calls_go_round() {
    each(|stand| {
        let a = stand.puppet("a");
        let b = stand.puppet("b");
        let home = script().add(1).counter().reply();
        let there = script().add(1).call(out(a, home));
        // The counter of the first is as it was left by its own turn before.
        assert_eq!(
            stand.reply("a", script().add(10).call(out(b, there))),
            11_u32.to_le_bytes()
        );
        let own = script().call(out(a, script().add(1).counter().reply()));
        assert_eq!(stand.reply("a", own), 12_u32.to_le_bytes());
    });
}

fn who_says_nothing_is_answered_for() {
    each(|stand| {
        stand.puppet("a");
        let b = stand.puppet("b");
        assert_eq!(stand.failure("a", script().add(1)), Failure::NoAnswer);
        assert_eq!(stand.counter("a"), 1);
        let said = stand.reply("a", script().call(out(b, script().add(1))));
        assert_eq!(said[0], 5);
        assert_eq!(stand.counter("b"), 1);
    });
}

fn a_queue_has_an_end() {
    each(|stand| {
        stand.puppet("a");
        let b = stand.puppet("b");
        let call = || out(b, script().reply()).on_reply(script().add(1));
        let many = (0..502).fold(script(), |all, _| all.call(call()));
        // Each that has no room appends the code of the refusal.
        assert_eq!(stand.reply("a", many.reply()), [2, 2]);
        stand.canisters().settle(Duration::from_secs(60));
        assert_eq!(stand.counter("a"), 500);
    });
}

fn what_is_on_its_way_survives() {
    each(|stand| {
        stand.puppet("a");
        let b = stand.puppet("b");
        let call = || {
            let there = script().add(5).say("x").reply();
            script()
                .add(1)
                .call(out(b, there).on_reply(script().add(10).argument().reply()))
        };
        // The request is on its way.
        stand.begin("a", call());
        assert_eq!((stand.counter("a"), stand.counter("b")), (1, 0));
        stand.again();
        stand.canisters().tick(Duration::from_secs(10)).unwrap();
        assert_eq!((stand.counter("a"), stand.counter("b")), (11, 5));
        // All of it is done, and none of it again.
        stand.again();
        stand.canisters().tick(Duration::from_secs(10)).unwrap();
        assert_eq!((stand.counter("a"), stand.counter("b")), (11, 5));
        assert_eq!(stand.canisters().report("a").unwrap().calls, 0);
        // The same, with checkpoints in between.
        stand.begin("a", call());
        for name in ["a", "b"] {
            stand.canisters().set(name, None, None).unwrap();
        }
        stand.again();
        stand.canisters().tick(Duration::from_secs(10)).unwrap();
        assert_eq!((stand.counter("a"), stand.counter("b")), (22, 10));
    });
}

/// Wherever a crash comes, all of it comes about in the end, and once.
fn no_moment_of_a_crash_matters() {
    each(|stand| {
        let a = stand.puppet("a");
        let b = stand.puppet("b");
        let job = || {
            let home = script().add(100).reply();
            let there = script()
                .add(1)
                .call(out(a, home).on_reply(script().add(10).say("b").reply()));
            let twice = |add| out(b, there.clone()).on_reply(script().add(add));
            script()
                .add(1)
                .call(twice(2))
                .call(twice(3).on_reply(script().add(3).argument().reply()))
        };
        let (mut of_a, mut of_b) = (0, 0);
        for is_checkpointed in [false, true] {
            let mut steps = 0;
            let mut is_over = false;
            while !is_over {
                stand.begin("a", job());
                for _ in 0..steps {
                    is_over = !stand.canisters().step();
                }
                if is_checkpointed {
                    for name in ["a", "b"] {
                        stand.canisters().set(name, None, None).unwrap();
                    }
                }
                stand.again();
                stand.canisters().tick(Duration::from_secs(10)).unwrap();
                of_a += 1 + 2 + 3 + 2 * 100;
                of_b += 2 * (1 + 10);
                let found = (stand.counter("a"), stand.counter("b"));
                assert_eq!(found, (of_a, of_b), "after {steps} steps");
                let report = stand.canisters().report("a").unwrap();
                assert_eq!((report.calls, report.contexts), (0, 0));
                steps += 1;
            }
            assert!(steps > 6, "{steps}");
        }
    });
}

fn a_key_is_used_once() {
    each(|stand| {
        stand.puppet("a");
        let mut ask = Ask::new("do", script().add(1).counter().reply().build());
        ask.key = Some("pay-17".to_owned());
        let first = stand.canisters().call("a", ask.clone()).unwrap();
        assert_eq!(
            first.result,
            Ok(Some(Answer::Reply(1_u32.to_le_bytes().to_vec())))
        );
        assert_eq!(
            stand.canisters().call("a", ask.clone()).unwrap().result,
            first.result
        );
        stand.again();
        assert_eq!(
            stand.canisters().call("a", ask.clone()).unwrap().result,
            first.result
        );
        stand.canisters().set("a", None, None).unwrap();
        stand.again();
        assert_eq!(
            stand.canisters().call("a", ask.clone()).unwrap().result,
            first.result
        );
        assert_eq!(stand.counter("a"), 1);
        ask.key = Some("pay-18".to_owned());
        stand.canisters().call("a", ask).unwrap();
        assert_eq!(stand.counter("a"), 2);
    });
}

fn timers_go_off() {
    each(|stand| {
        stand.puppet("a");
        stand.reply("a", script().timer(1).reply());
        assert!(stand.canisters().report("a").unwrap().is_overdue);
        stand.again();
        stand.canisters().tick(Duration::from_secs(10)).unwrap();
        assert_eq!(stand.counter("a"), 1000);
        stand.again();
        stand.canisters().tick(Duration::from_secs(10)).unwrap();
        assert_eq!(stand.counter("a"), 1000);
    });
}

fn who_is_stopped_takes_no_calls() {
    each(|stand| {
        stand.puppet("a");
        let b = stand.puppet("b");
        stand.canisters().stop("b").unwrap();
        let refused = stand.tell("b", script().reply());
        assert!(
            matches!(refused, Err(CanisterError::Stopped(_))),
            "{refused:?}"
        );
        let said = stand.reply("a", script().call(out(b, script().reply())));
        assert_eq!(said[0], 5);
        stand.again();
        assert_eq!(
            stand.canisters().report("b").unwrap().status,
            Status::Stopped
        );
        stand.canisters().start("b").unwrap();
        assert_eq!(stand.reply("b", script().status().reply()), [1]);
    });
}

fn stable_memory_outlives_the_code() {
    each(|stand| {
        stand.puppet("a");
        let count = |stand: &Stand, expected| {
            assert_eq!(stand.counter("a"), expected);
        };
        stand.reply("a", script().add(42).reply());
        let canisters = stand.canisters();
        let nobody = Principal::ANONYMOUS;
        let upgraded = canisters.upgrade("a", PUPPET, Vec::new(), nobody).unwrap();
        assert_eq!(upgraded.result, Ok(None));
        count(stand, 42);
        stand.reply("a", script().add(1).reply());
        // One whose first step fails leaves everything as it was.
        let broken = br#"(module (memory 1) (func (export "canister_post_upgrade") unreachable))"#;
        let failed = canisters.upgrade("a", broken, Vec::new(), nobody).unwrap();
        assert!(failed.result.is_err());
        count(stand, 43);
        stand.again();
        count(stand, 43);
        let canisters = stand.canisters();
        let version = canisters.report("a").unwrap().version;
        let fresh = canisters
            .reinstall("a", PUPPET, Vec::new(), nobody)
            .unwrap();
        assert_eq!(fresh.result, Ok(None));
        count(stand, 0);
        assert_eq!(canisters.report("a").unwrap().version, version + 1);
        stand.again();
        count(stand, 0);
        assert_eq!(stand.canisters().report("a").unwrap().stable, 0);
    });
}

fn the_management_canister_answers() {
    each(|stand| {
        let a = stand.puppet("a");
        let manage = |method, argument: Vec<u8>| {
            let call = out(Principal::MANAGEMENT, raw(argument)).method(method);
            stand.reply("a", script().call(call))
        };
        let random = || Decode!(&manage("raw_rand", Encode!().unwrap()), Vec<u8>).unwrap();
        let (one, other) = (random(), random());
        assert_eq!((one.len(), other.len()), (32, 32));
        assert_ne!(one, other);
        #[derive(candid::CandidType, serde::Deserialize)]
        struct Which {
            canister_id: candid::Principal,
        }
        #[derive(candid::CandidType)]
        struct Nothing {}
        let made = manage("create_canister", Encode!(&Nothing {}).unwrap());
        let made = Decode!(&made, Which).unwrap();
        #[derive(candid::CandidType)]
        enum Mode {
            #[expect(non_camel_case_types, reason = "as the interface has it")]
            install,
        }
        #[derive(candid::CandidType)]
        struct Install {
            mode: Mode,
            canister_id: candid::Principal,
            wasm_module: Vec<u8>,
            arg: Vec<u8>,
        }
        let install = Install {
            mode: Mode::install,
            canister_id: made.canister_id,
            wasm_module: PUPPET.to_vec(),
            arg: script().add(3).build(),
        };
        let installed = manage("install_code", Encode!(&install).unwrap());
        Decode!(&installed).unwrap();
        let child = Principal::new(made.canister_id.as_slice()).unwrap();
        let asked = script().call(out(child, script().counter().reply()));
        assert_eq!(stand.reply("a", asked), 3_u32.to_le_bytes());
        // Only who controls a canister may.
        stand.puppet("b");
        let call = out(
            Principal::MANAGEMENT,
            raw(Encode!(&Which {
                canister_id: made.canister_id
            })
            .unwrap()),
        );
        let refused = stand.reply("b", script().call(call.method("stop_canister")));
        assert_eq!(refused[0], 5);
        let own = Which {
            canister_id: candid::Principal::from_slice(a.as_slice()),
        };
        assert!(!manage("canister_status", Encode!(&own).unwrap()).is_empty());
        assert_eq!(manage("mint", Vec::new())[0], 3);
    });
}

fn memory_is_shared_and_given_back() {
    const PAGE: u64 = 64 << 10;
    let options = Options {
        memory: 1 << 30,
        ..Options::default()
    };
    each_with(options, |stand| {
        let before = stand.canisters().memory_left();
        stand.puppet("a");
        let held = before - stand.canisters().memory_left();
        assert_eq!(held, 64 * PAGE);
        stand.failure("a", script().trap("no"));
        stand.reply("a", script().reply());
        assert_eq!(stand.canisters().memory_left(), before - held);
        stand.canisters().remove("a").unwrap();
        assert_eq!(stand.canisters().memory_left(), before);
    });
    let options = Options {
        memory: 10 * PAGE,
        ..Options::default()
    };
    each_with(options, |stand| {
        // More than a quarter of what there is: nobody may have as much at once.
        let large = br#"(module (import "ic0" "msg_reply" (func $reply)) (memory 1)
            (func (export "canister_update do")
                (if (i32.ne (memory.grow (i32.const 8)) (i32.const -1)) (then (call $reply)))))"#;
        let nobody = Principal::ANONYMOUS;
        stand
            .canisters()
            .install("a", large, Vec::new(), nobody)
            .unwrap();
        let before = stand.canisters().memory_left();
        let told = stand.canisters().call("a", Ask::new("do", Vec::new()));
        assert!(told.unwrap().result.is_err());
        assert_eq!(stand.canisters().memory_left(), before);
    });
}

fn lines_survive() {
    each(|stand| {
        stand.puppet("a");
        stand.failure("a", script().print("before").trap("no"));
        stand.reply("a", script().print("after").reply());
        stand.again();
        let lines = stand.canisters().logs("a").unwrap();
        let lines: Vec<Vec<u8>> = lines.into_iter().map(|log| log.text).collect();
        assert_eq!(lines, [b"before".to_vec(), b"after".to_vec()]);
    });
}

/// An upgrade fails and is to be undone, but what is stored is damaged. The half-changed canister in
/// memory must not answer.
fn who_cant_be_made_again_is_nobodys() {
    each(|stand| {
        stand.puppet("a");
        stand.reply("a", script().add(1).reply());
        let home = stand.folder().join("canisters/a");
        let files = std::fs::read_dir(home)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let stored: Vec<_> = files
            .filter(|path| path.extension().is_some_and(|end| end == "pages"))
            .collect();
        let broken = br#"(module (memory 1) (func (export "canister_post_upgrade") unreachable))"#;
        for path in &stored {
            std::fs::remove_file(path).unwrap();
        }
        let canisters = stand.canisters();
        canisters
            .upgrade("a", broken, Vec::new(), Principal::ANONYMOUS)
            .unwrap_err();
        for _ in 0..2 {
            let told = stand.tell("a", script().add(1).reply());
            assert!(matches!(told, Err(CanisterError::Store(_))), "{told:?}");
        }
    });
}

fn who_moved_has_its_own_name() {
    each(|stand| {
        stand.puppet("a");
        let mut archive = Vec::new();
        let canisters = stand.canisters();
        canisters.export("a", &mut archive).unwrap();
        canisters.import("b", archive.as_slice(), &[]).unwrap();
        assert_eq!(canisters.report("b").unwrap().name, "b");
        canisters.stop("b").unwrap();
        let told = stand.tell("b", script().reply());
        assert!(
            matches!(&told, Err(CanisterError::Stopped(name)) if name == "b"),
            "{told:?}"
        );
    });
}

fn who_is_evicted_comes_back() {
    each(|stand| {
        stand.puppet("a");
        let b = stand.puppet("b");
        stand.reply("a", script().add(4).reply());
        assert!(stand.canisters().evict("a").unwrap());
        assert!(!stand.canisters().idle().iter().any(|idle| idle.name == "a"));
        assert_eq!(stand.counter("a"), 4);
        // With something under way it stays.
        stand.begin("a", script().call(out(b, script().reply())));
        assert!(!stand.canisters().evict("a").unwrap());
        stand.canisters().settle(Duration::from_secs(10));
        assert!(stand.canisters().evict("a").unwrap());
    });
}

fn callers_at_once_are_all_answered() {
    each(|stand| {
        stand.puppet("a");
        let b = stand.puppet("b");
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..25 {
                        let there = script().add(1).say("y").reply();
                        let answer = stand.reply("a", script().add(1).call(out(b, there)));
                        assert_eq!(answer, b"y");
                    }
                });
            }
        });
        assert_eq!((stand.counter("a"), stand.counter("b")), (100, 100));
    });
}

/// And only while it may be: a checkpoint has it, or the journal.
fn what_may_be_lost_is_said() {
    for (durability, kept) in [
        (Durability::Process, Kept::Written),
        (Durability::Power, Kept::OnDisk),
        (Durability::Checkpoint, Kept::Unwritten),
    ] {
        let options = Options {
            durability,
            ..Options::default()
        };
        each_with(options, |stand| {
            stand.puppet("a");
            assert_eq!(stand.tell("a", script().add(5).reply()).unwrap().kept, kept);
            // Another that is asked for again by its key is no safer.
            let mut ask = Ask::new("do", script().add(1).reply().build());
            ask.key = Some("once".to_owned());
            for _ in 0..2 {
                let again = stand.canisters().call("a", ask.clone()).unwrap();
                assert_eq!(again.kept, kept);
            }
            stand.again();
            let lost = kept == Kept::Unwritten;
            assert_eq!(stand.counter("a"), if lost { 0 } else { 6 });
            stand.tell("a", script().add(7).reply()).unwrap();
            stand.canisters().save().unwrap();
            stand.again();
            assert_eq!(stand.counter("a"), if lost { 7 } else { 13 });
        });
        // One that was followed by a checkpoint at once.
        let options = Options {
            most_replayed: 1,
            ..options
        };
        each_with(options, |stand| {
            stand.puppet("a");
            let kept = stand.tell("a", script().add(5).reply()).unwrap().kept;
            assert_ne!(kept, Kept::Unwritten);
            stand.again();
            assert_eq!(stand.counter("a"), 5);
        });
    }
}

fn each_part_is_measured() {
    let options = Options {
        durability: Durability::Power,
        ..Options::default()
    };
    each_with(options, |stand| {
        let counts = |stand: &Stand| Phase::ALL.map(|phase| stand.canisters().took(phase).count());
        let grew = |before: [u64; 10], after: [u64; 10]| {
            let pairs = Phase::ALL.into_iter().zip(before.into_iter().zip(after));
            let grown = pairs.filter(|(_, (before, after))| after > before);
            grown.map(|(phase, _)| phase.name()).collect::<Vec<_>>()
        };
        let before = counts(stand);
        assert_eq!(before, [0; 10]);
        stand.puppet("a");
        let made = counts(stand);
        assert_eq!(
            grew(before, made),
            ["turn", "disk", "compile", "instantiate"]
        );
        let b = stand.puppet("b");
        // What is there already isn't made again.
        assert_eq!(counts(stand)[7], made[7]);
        let before = counts(stand);
        stand.tell("a", script().add(1).reply()).unwrap();
        let warm = counts(stand);
        assert_eq!(
            grew(before, warm),
            ["turn", "run", "commit", "journal", "disk"]
        );
        let parts = |phase: Phase| warm[phase as usize] - before[phase as usize];
        assert_eq!(
            [Phase::Run, Phase::Commit, Phase::Journal].map(parts),
            [1; 3]
        );
        let run = stand.canisters().took(Phase::Run);
        assert!(run.sum > 0 && run.count() == 1, "{run:?}");
        let taken = stand.canisters().took_instructions();
        let told = stand.tell("a", script().add(1).reply()).unwrap();
        let now = stand.canisters().took_instructions();
        assert_eq!(now.sum - taken.sum, told.instructions);
        let before = counts(stand);
        stand.counter("a");
        assert_eq!(grew(before, counts(stand)), ["query", "disk"]);
        let before = counts(stand);
        stand.reply("a", script().call(out(b, script().reply())));
        assert!(grew(before, counts(stand)).contains(&"delivery"));
        // One that fails is run, and nothing else.
        let before = counts(stand);
        stand.failure("a", script().trap("no"));
        assert_eq!(grew(before, counts(stand)), ["turn", "run", "disk"]);
        stand.again();
        let before = counts(stand);
        stand.tell("a", script().add(1).reply()).unwrap();
        let cold = grew(before, counts(stand));
        assert!(
            cold.contains(&"recover") && cold.contains(&"instantiate"),
            "{cold:?}"
        );
        assert!(!cold.contains(&"compile"), "{cold:?}");
    });
}

/// Counts, and then has more to do than there is time for.
const SPINNER: &str = r#"(module
    (import "ic0" "msg_reply" (func $reply))
    (import "ic0" "msg_reply_data_append" (func $append (param i32 i32)))
    (import "ic0" "debug_print" (func $print (param i32 i32)))
    (memory 1)
    (func $count
        (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))
        (call $print (i32.const 0) (i32.const 4)))
    (func $tell
        (call $append (i32.const 0) (i32.const 4))
        (call $reply))
    (func (export "canister_update spin") (call $count) (loop (br 0)))
    (func (export "canister_update count") (call $count) (call $tell))
    (func (export "canister_query ask") (loop (br 0)))
    (func (export "canister_query get") (call $tell)))"#;

fn a_call_that_is_not_over_in_time_leaves_nothing() {
    each(|stand| {
        let canisters = stand.canisters();
        let made = canisters.install("s", SPINNER.as_bytes(), Vec::new(), Principal::ANONYMOUS);
        made.unwrap().result.unwrap();
        let ask = |method: &str, time: Option<u64>| {
            let mut ask = Ask::new(method, Vec::new());
            ask.deadline = time.map(|time| Instant::now() + Duration::from_millis(time));
            ask.key = Some("the same".to_owned());
            ask
        };
        let count = |bytes: u32| Ok(Some(Answer::Reply(bytes.to_le_bytes().to_vec())));
        let journal = canisters.report("s").unwrap().journal;
        for _ in 0..2 {
            let spun = canisters.call("s", ask("spin", Some(100))).unwrap();
            assert_eq!(spun.result, Err(Failure::Aborted));
            assert!(spun.logs.is_empty() && spun.instructions < 30_000_000_000);
            let asked = canisters.query("s", ask("ask", Some(100))).unwrap();
            assert_eq!(asked.result, Err(Failure::Aborted));
            assert!(asked.instructions < 4_900_000_000);
        }
        assert_eq!(canisters.report("s").unwrap().journal, journal);
        let got = canisters.query("s", ask("get", None)).unwrap();
        assert_eq!(got.result, count(0));
        // The key was not used up, and the canister is free.
        let counted = canisters.call("s", ask("count", Some(60_000))).unwrap();
        assert_eq!(counted.result, count(1));
        // One whose turn comes too late isn't begun.
        std::thread::scope(|scope| {
            let spins = scope.spawn(|| {
                let mut ask = ask("spin", Some(1500));
                ask.key = None;
                canisters.call("s", ask).unwrap().result
            });
            // It has its turn as soon as the canister isn't idle.
            while canisters.idle().iter().any(|idle| idle.name == "s") {
                std::thread::yield_now();
            }
            let mut late = ask("count", Some(10));
            late.key = None;
            let late = canisters.call("s", late).unwrap_err();
            assert!(matches!(late, CanisterError::Deadline(_)), "{late}");
            assert_eq!(spins.join().unwrap(), Err(Failure::Aborted));
        });
        // What was kept is kept, in the end as well.
        stand.again();
        let got = stand.canisters().query("s", ask("get", None)).unwrap();
        assert_eq!(got.result, count(1));
    });
}

fn a_process_that_ends_costs_one_call() {
    each(|stand| {
        let add = || script().add(1).counter().reply();
        stand.puppet("a");
        assert_eq!(stand.reply("a", add()), 1u32.to_le_bytes());
        let Some(worker) = process(stand, "a") else {
            return;
        };
        let crash = while_it_works(worker, || {
            stand.tell("a", script().add(1).work(1_000_000_000).reply())
        });
        let Err(CanisterError::Crash(crash)) = crash else {
            panic!("{crash:?}");
        };
        assert!(crash.to_string().contains("signal 9 ended it"), "{crash}");
        assert_eq!(stand.reply("a", add()), 2u32.to_le_bytes());
        let text =
            |line: &casemate_wasm::call::Log| String::from_utf8_lossy(&line.text).into_owned();
        // One that nothing runs in costs none: whoever comes when that is known gets another.
        let ends = || {
            let lines = stand.canisters().logs("a").unwrap();
            let lines = lines.iter().filter(|line| text(line).contains("signal 9"));
            lines.count()
        };
        assert_eq!(ends(), 1);
        kill(process(stand, "a").unwrap());
        while process(stand, "a").is_some() {
            std::thread::yield_now();
        }
        assert_eq!(stand.counter("a"), 2);
        assert_eq!(ends(), 2);
        kill(process(stand, "a").unwrap());
        while process(stand, "a").is_some() {
            std::thread::yield_now();
        }
        assert_eq!(stand.reply("a", add()), 3u32.to_le_bytes());
        assert_eq!(ends(), 3);
    });
}

fn a_query_waits_for_no_update() {
    each(|stand| {
        let canisters = stand.canisters();
        let made = canisters.install("s", SPINNER.as_bytes(), Vec::new(), Principal::ANONYMOUS);
        made.unwrap().result.unwrap();
        canisters.call("s", Ask::new("count", Vec::new())).unwrap();
        // Opened by the update, and opened before.
        for is_new in [true, false] {
            if is_new {
                stand.again();
            }
            let canisters = stand.canisters();
            std::thread::scope(|scope| {
                let mut spin = Ask::new("spin", Vec::new());
                spin.deadline = Some(Instant::now() + Duration::from_secs(3));
                let spins = scope.spawn(|| canisters.call("s", spin).unwrap().result);
                std::thread::sleep(Duration::from_millis(500));
                for _ in 0..20 {
                    let got = canisters.query("s", Ask::new("get", Vec::new())).unwrap();
                    assert_eq!(got.result, Ok(Some(Answer::Reply(vec![1, 0, 0, 0]))));
                }
                let none = canisters.query("s", Ask::new("give", Vec::new()));
                assert!(
                    matches!(none, Err(CanisterError::NoMethod { .. })),
                    "{none:?}"
                );
                assert!(!spins.is_finished());
                assert_eq!(spins.join().unwrap(), Err(Failure::Aborted));
            });
        }
        // What was told is what the next one sees.
        for count in 2_u32..200 {
            stand
                .canisters()
                .call("s", Ask::new("count", Vec::new()))
                .unwrap();
            let got = stand.canisters().query("s", Ask::new("get", Vec::new()));
            let expected = Answer::Reply(count.to_le_bytes().to_vec());
            assert_eq!(got.unwrap().result, Ok(Some(expected)));
        }
    });
}

/// Its call goes on, and is known by its key.
fn who_waits_for_another_is_late() {
    each(|stand| {
        stand.puppet("a");
        let canisters = stand.canisters();
        let made = canisters.install("s", SPINNER.as_bytes(), Vec::new(), Principal::ANONYMOUS);
        made.unwrap().result.unwrap();
        let s = canisters.report("s").unwrap().canister.parse().unwrap();
        let calls = script().add(1).call(
            out(s, script())
                .method("count")
                .on_reply(script().argument().reply()),
        );
        let mut ask = Ask::new("do", calls.build());
        ask.key = Some("once".to_owned());
        ask.deadline = Some(Instant::now());
        let late = canisters.call("a", ask.clone()).unwrap_err();
        assert!(matches!(late, CanisterError::Late(_)), "{late}");
        assert!(late.to_string().contains("isn't known yet"), "{late}");
        ask.deadline = None;
        let answered = canisters.call("a", ask).unwrap().result;
        assert_eq!(answered, Ok(Some(Answer::Reply(vec![1, 0, 0, 0]))));
        assert_eq!(stand.counter("a"), 1);
    });
}
