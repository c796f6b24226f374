//! Composite queries, and what they ask others.

use crate::script::{Script, all, out, raw, script};
use crate::stand::{Stand, each, process, while_it_works};
use casemate_wasm::call::{Failure, Principal};
use casemate_wasm::canisters::CanisterError;

const OF_A_QUERY: u64 = 5_000_000_000;

fn number(number: u32) -> [u8; 4] {
    number.to_le_bytes()
}

/// Calls that are so deep within each other, by turns of these.
fn nest(depth: usize, who: [Principal; 2]) -> Script {
    match depth {
        0 => script().say("deep").reply(),
        depth => script().call(all(who[0], nest(depth - 1, [who[1], who[0]]))),
    }
}

pub(crate) fn a_query_asks_others() {
    each(|stand| {
        stand.puppet("a");
        let b = stand.puppet("b");
        stand.reply("b", script().add(5).reply());
        let before = stand.canisters().report("a").unwrap().journal;
        let there = || script().add(1).counter().reply();
        for method in ["ask", "all"] {
            let call = all(b, there()).method(method);
            assert_eq!(stand.answer("a", script().add(9).call(call)), number(6));
        }
        assert_eq!((stand.counter("a"), stand.counter("b")), (0, 5));
        assert_eq!(stand.canisters().report("a").unwrap().journal, before);
        // Of all that was run, the query says how much it took.
        let alone = stand.asked("b", there()).unwrap().instructions;
        let both = stand.asked("a", script().call(all(b, there()))).unwrap();
        assert!(both.instructions > 2 * alone, "{both:?} {alone}");
        assert_eq!(
            stand.asked("a", script().add(1)).unwrap().result,
            Err(Failure::NoAnswer)
        );
    });
}

pub(crate) fn callbacks_go_on_with_what_was_there() {
    each(|stand| {
        let a = stand.puppet("a");
        let b = stand.puppet("b");
        stand.reply("a", script().add(100).reply());
        let there = || script().add(1).reply();
        let first = all(b, there()).on_reply(script().add(10).grow(1));
        let last = all(b, there()).on_reply(
            script()
                .grow(2)
                .global(4)
                .counter()
                .load()
                .counter()
                .reply(),
        );
        let query = script()
            .add(1)
            .save()
            .global(3)
            .grow(3)
            .call(first)
            .call(last);
        // The global, the counter as the first callback left it, and as it was saved before that.
        let expected = [number(7), number(111), number(101)].concat();
        for _ in 0..2 {
            assert_eq!(stand.answer("a", query.clone()), expected);
        }
        // Called by itself, it is as it was committed.
        let own = all(a, script().counter().reply());
        assert_eq!(stand.answer("a", script().add(1).call(own)), number(100));
        assert_eq!(stand.counter("a"), 100);
    });
}

pub(crate) fn a_callback_that_fails_leaves_what_was_there() {
    each(|stand| {
        stand.puppet("a");
        let b = stand.puppet("b");
        let there = || script().reply();
        let fails = || {
            all(b, there())
                .on_reply(script().add(100).trap("in the callback"))
                .cleanup(script().add(7))
        };
        let counts = all(b, there()).on_reply(script().counter().reply());
        let query = script().add(1).call(fails()).call(counts);
        assert_eq!(stand.answer("a", query), number(8));
        let failed = stand.asked("a", script().call(fails())).unwrap().result;
        assert!(
            failed
                .clone()
                .unwrap_err()
                .to_string()
                .contains("in the callback"),
            "{failed:?}"
        );
        // What was performed before a trap is never made.
        let there = script().print("asked").reply();
        let failed = stand.asked("a", script().call(all(b, there)).trap("no"));
        assert!(failed.unwrap().result.is_err());
        assert!(stand.canisters().logs("b").unwrap().is_empty());
    });
}

pub(crate) fn the_first_answer_ends_it() {
    each(|stand| {
        stand.puppet("a");
        let b = stand.puppet("b");
        let there = |text| all(b, script().print(text).reply());
        let query = script().call(there("never")).say("now").reply();
        assert_eq!(stand.answer("a", query), b"now");
        let first = there("first").on_reply(script().say("one").reply());
        let query = script().print("begun").call(first).call(there("second"));
        assert_eq!(stand.answer("a", query), b"one");
        let lines = |name| {
            let logs = stand.canisters().logs(name).unwrap();
            logs.into_iter().map(|log| log.text).collect::<Vec<_>>()
        };
        assert_eq!(lines("b"), [b"first"]);
        assert_eq!(lines("a"), [b"begun"]);
    });
}

pub(crate) fn a_query_is_told_why_a_call_was_rejected() {
    each(|stand| {
        stand.puppet("a");
        let b = stand.puppet("b");
        stand.puppet("c");
        let c = stand
            .canisters()
            .report("c")
            .unwrap()
            .canister
            .parse()
            .unwrap();
        stand.canisters().stop("c").unwrap();
        let told = |call| stand.answer("a", script().call(call));
        for (call, code, why) in [
            (out(b, script().reply()), 3, "has no query \"do\""),
            (all(b, script()).method("nothing"), 3, "nothing"),
            (all(Principal::MANAGEMENT, script()), 3, "management"),
            (all(Principal::of_canister(1), script()), 3, "there is no"),
            (all(c, script().reply()), 5, "is stopped"),
            (all(b, script().reject("no")), 4, "no"),
            (all(b, script().trap("ouch")), 5, "ouch"),
            (all(b, script().add(1)), 5, "didn't answer"),
        ] {
            let told = told(call);
            let text = String::from_utf8_lossy(&told[1..]);
            assert!(told[0] == code && text.contains(why), "{told:?}: {text}");
        }
        let paid = stand.asked("a", script().call(all(b, script()).cycles(1)));
        let Err(Failure::Contract { function, .. }) = paid.unwrap().result else {
            panic!("cycles went with a query");
        };
        assert_eq!(function, "ic0.call_cycles_add128");
        // The other way round: a call can't call a composite query, from wherever it comes.
        let told = stand.reply("a", script().call(all(b, script().reply())));
        assert!(told[0] == 5 && String::from_utf8_lossy(&told).contains("composite"));
        let ask = casemate_wasm::canisters::Ask::new("all", script().reply().build());
        let refused = stand.canisters().call("b", ask);
        assert!(
            matches!(refused, Err(CanisterError::OnlyAsked(..))),
            "{refused:?}"
        );
    });
}

pub(crate) fn calls_within_each_other_have_an_end() {
    each(|stand| {
        let a = stand.puppet("a");
        let b = stand.puppet("b");
        for who in [[a, a], [b, a]] {
            assert_eq!(stand.answer("a", nest(6, who)), b"deep");
            for depth in [7, 12] {
                let told = stand.answer("a", nest(depth, who));
                let text = String::from_utf8_lossy(&told);
                assert!(told[0] == 5 && text.contains("at most 6 deep"), "{text}");
            }
        }
    });
}

pub(crate) fn calls_of_a_query_have_an_end() {
    each(|stand| {
        let a = stand.puppet("a");
        let b = stand.puppet("b");
        let call = || {
            let there = script().call(all(a, script().reply()).method("ask"));
            all(b, there)
                .on_reply(script().add(1))
                .on_reject(script().counter().rejection().reply())
        };
        let many = (0..251).fold(script(), |all, _| all.call(call()));
        let told = stand.answer("a", many);
        let text = String::from_utf8_lossy(&told[4..]);
        assert!(
            told[..4] == number(250) && text.contains("at most 500 calls"),
            "{text}"
        );
    });
}

pub(crate) fn instructions_are_of_all_together() {
    each(|stand| {
        stand.puppet("a");
        let b = stand.puppet("b");
        let work = || all(b, script().work(300_000_000).reply()).on_reply(script().add(1));
        let alone = stand
            .asked("b", script().work(300_000_000).reply())
            .unwrap();
        assert!(alone.result.is_ok());
        let calls = OF_A_QUERY / alone.instructions;
        let some = (1..calls).fold(script(), |all, _| all.call(work()));
        let last = work().on_reply(script().counter().reply());
        let told = stand.asked("a", some.call(last)).unwrap();
        assert!(told.result.is_ok(), "{told:?}");
        let many = (0..=calls).fold(script(), |all, _| all.call(work()));
        let told = stand.asked("a", many).unwrap();
        let limit = OF_A_QUERY;
        assert_eq!(told.result, Err(Failure::Instructions { limit }));
        assert!(told.instructions <= limit + alone.instructions, "{told:?}");
    });
}

pub(crate) fn replies_have_their_size() {
    each(|stand| {
        stand.puppet("a");
        let b = stand.puppet("b");
        let long = "x".repeat(1 << 20);
        // With room for it.
        let call = |there| {
            let call = all(b, there).on_reply(script().grow(100).argument().reply());
            script().grow(100).call(call)
        };
        let there = |more: Script| script().grow(200).argument().argument().then(more);
        // What follows the end of a script is there to be long.
        let fits = there(script().reply()).then(raw([b".", long.as_bytes()].concat()));
        let length = fits.clone().build().len();
        assert_eq!(stand.answer("a", call(fits)).len(), 2 * length);
        let told = stand.answer("a", call(there(script().say(&long).reply())));
        let text = String::from_utf8_lossy(&told);
        assert!(told[0] == 5 && text.contains("more than the"), "{text}");
    });
}

pub(crate) fn what_a_query_writes_has_its_size() {
    each(|stand| {
        stand.puppet("a");
        let b = stand.puppet("b");
        let there = || script().reply();
        let call = all(b, there()).on_reply(script().grow(10).say("done").reply());
        // 64 KiB each; and with the few pages that it writes anyway.
        let much = script().grow(1000).call(call);
        for _ in 0..3 {
            assert_eq!(stand.answer("a", much.clone()), b"done");
        }
        let more = script().grow(1024).call(all(b, there()));
        let failure = stand.asked("a", more).unwrap().result.unwrap_err();
        assert!(matches!(failure, Failure::Memory(_)), "{failure}");
        assert!(failure.to_string().contains("may have 64"), "{failure}");
        // It may write more, if nobody has to wait for it.
        stand.answer("a", script().grow(1100).reply());
    });
}

/// Crosswise, round in a circle, by itself, while both have updates: nobody waits for ever.
pub(crate) fn queries_that_cross_end() {
    each(|stand| {
        let a = stand.puppet("a");
        let b = stand.puppet("b");
        let stand: &Stand = stand;
        std::thread::scope(|scope| {
            for (name, who) in [("a", [b, a]), ("b", [a, b]), ("a", [a, a]), ("b", [b, b])] {
                scope.spawn(move || {
                    for _ in 0..40 {
                        assert_eq!(stand.answer(name, nest(5, who)), b"deep");
                    }
                });
            }
            for name in ["a", "b"] {
                scope.spawn(move || {
                    for _ in 0..200 {
                        stand.reply(name, script().add(1).reply());
                    }
                });
            }
        });
        assert_eq!((stand.counter("a"), stand.counter("b")), (200, 200));
    });
}

/// A worker's end is a rejection for who called it, and an error for who asked.
pub(crate) fn a_process_that_ends_costs_one_query() {
    each(|stand| {
        stand.puppet("a");
        let b = stand.puppet("b");
        let well = || script().say("well").reply();
        let query = || script().call(all(b, well()));
        let long = || script().work(500_000_000);
        assert_eq!(stand.answer("a", query()), b"well");
        let Some(worker) = process(stand, "b") else {
            return;
        };
        let rejected = while_it_works(worker, || {
            stand.answer("a", script().call(all(b, long().then(well()))))
        });
        assert_eq!(rejected[0], 2);
        assert_eq!(stand.answer("a", query()), b"well");
        let crash = while_it_works(process(stand, "a").unwrap(), || {
            stand.asked("a", long().then(query()))
        });
        assert!(matches!(crash, Err(CanisterError::Crash(_))), "{crash:?}");
        assert_eq!(stand.answer("a", query()), b"well");
    });
}
