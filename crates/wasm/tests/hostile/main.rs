//! What becomes of committed memory, and of the controller, when a worker was taken over.
//!
//! This program is the controller and all that it starts, so it asks for its role first.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
#![allow(unsafe_code, reason = "a hostile worker makes plain system calls")]

#[allow(dead_code, reason = "nothing here needs the path of this program")]
#[path = "../processes/harness.rs"]
mod harness;
mod stand;
mod taken;

use casemate_wasm::call::Answer;
use casemate_wasm::executor::Crash;
use stand::Stand;
use std::time::Duration;

fn main() {
    casemate_wasm::process::role(&taken::Taken);
    harness::main(&[
        ("frames", frames),
        ("deaths", deaths),
        ("deaths_within_a_commit", deaths_within_a_commit),
        ("silence", silence),
        ("stillbirth", stillbirth),
        ("missing_pages", missing_pages),
        ("pages", pages),
        ("outcomes", outcomes),
        ("slices", slices),
        ("crossing", crossing),
        ("other_requests", other_requests),
        ("composite_queries", composite_queries),
        ("scribbling", scribbling),
        ("descriptors", descriptors),
    ]);
}

/// Longer than any of this takes.
const LONG: Duration = Duration::from_secs(60);

fn each(names: &[(&str, &str)]) {
    let stand = Stand::new(taken::HOSTILE, LONG);
    for (name, why) in names {
        let mut attack = stand.attack();
        let crash = attack.update(name).expect_err(name);
        attack.ends(name, &crash, why);
    }
}

fn frames() {
    each(&[
        ("another_number", "it answered another request"),
        ("malformed", ""),
        ("empty", ""),
        ("long_frame", "announced a frame that is too long"),
        ("sent_more_than_fits", "more than there is room for"),
    ]);
    let stand = Stand::new(taken::HOSTILE, LONG);
    let mut attack = stand.attack();
    // What the caller does wrong is not the worker's fault.
    let refused = attack.update_with_too_much();
    assert!(matches!(refused, Crash::Refused(_)), "{refused}");
    attack.update("twice").unwrap();
    let crash = attack.update("twice").unwrap_err();
    attack.ends("twice", &crash, "it answered another request");
}

fn deaths() {
    each(&[
        ("dies_before", "the other side has ended"),
        ("dies_while", "the other side has ended"),
    ]);
}

/// A commit of many pages, while the worker ends ever later: all of them are taken, or it is said that
/// they are not.
fn deaths_within_a_commit() {
    let stand = Stand::new(taken::HOSTILE, LONG);
    for steps in 0..40 {
        let name = format!("dies_within_{steps}");
        let mut attack = stand.attack();
        match attack.update(&name) {
            Err(crash) => attack.ends(&name, &crash, ""),
            Ok(_) => assert!(attack.has_taken(6000), "{name}"),
        }
    }
}

fn silence() {
    let stand = Stand::new(taken::HOSTILE, Duration::from_secs(3));
    let mut attack = stand.attack();
    let crash = attack.update("never").unwrap_err();
    attack.ends("never", &crash, "the time is up");
}

fn stillbirth() {
    let stand = Stand::new(taken::STILLBORN, LONG);
    let mut attack = stand.attack();
    let crash = attack.update("any").unwrap_err();
    attack.ends("any", &crash, "the other side has ended");
}

fn missing_pages() {
    let stand = Stand::new(taken::HOSTILE, LONG);
    for name in [
        "few_are_missing",
        "many_are_missing",
        "the_last_of_many_is_missing",
    ] {
        let mut attack = stand.attack();
        let crash = attack.update(name).unwrap_err();
        let is_said = matches!(crash, Crash::Pages(_) | Crash::Torn(_));
        assert!(is_said, "{name}: {crash}");
        attack.ends(name, &crash, "reading page");
    }
}

fn pages() {
    each(&[
        ("pages_beyond", "pages beyond the heap"),
        ("stable_pages_beyond", "pages beyond stable memory"),
        ("overlapping", "a run of pages"),
        ("huge", "pages beyond the heap"),
        ("wrapping", "a run of pages"),
        ("shrinks", "sizes that can't be"),
        ("stable_shrinks", "sizes that can't be"),
        ("exceeds", "sizes that can't be"),
        ("stable_exceeds", "sizes that can't be"),
        ("grows_by_more", "more memory than there was"),
        ("more_than_it_may_have", "more memory than it may have"),
        (
            "stable_writes",
            "more pages of stable memory than it may write",
        ),
    ]);
}

fn outcomes() {
    each(&[
        ("fewer_globals", "globals of other types"),
        ("other_globals", "globals of other types"),
        ("instructions", "more instructions than there were"),
        ("long_reply", "an answer that is too long"),
        ("accepted", "cycles that there aren't"),
        ("burned", "cycles that there aren't"),
        ("attached", "cycles that there aren't"),
        ("certified", "certified data that is too long"),
        ("accepts_message", "what such a call can't do"),
    ]);
}

fn slices() {
    each(&[
        ("leaves_slices_out", "slices that can't be"),
        ("has_a_slice_twice", "slices that can't be"),
        ("waits_too_early", "a pause that can't be"),
        ("waits_without_instructions", "a pause that can't be"),
        ("takes_instructions_back", "a pause that can't be"),
        ("has_taken_less", "fewer instructions than it had taken"),
        ("never_ends", "a pause that can't be"),
        ("copies_few", "a pause that can't be"),
        ("copies_all_there_is", "a pause that can't be"),
        ("copies_others", "other pages than it waited for"),
        ("copies_twice", "a pause after the end"),
        ("runs_on_after_a_copy", "a pause after the end"),
        ("copies_and_did_not_wait", "other pages than it waited for"),
        ("aborts_itself", "an end that it was not told to come to"),
        ("runs_out_of_slices", "more slices than it had"),
        (
            "takes_more_than_a_slice",
            "more instructions than its slices have",
        ),
    ]);
    let stand = Stand::new(taken::HOSTILE, LONG);
    for (name, why) in [
        (
            "ends_well_after_an_abort",
            "an end that it was not told to come to",
        ),
        (
            "says_more_after_an_abort",
            "lines of a call that was aborted",
        ),
        ("waits_after_an_abort", "a pause after the end"),
    ] {
        let mut attack = stand.attack();
        let crash = attack.abort(name);
        attack.ends(name, &crash, why);
    }
    let mut attack = stand.attack();
    let crash = attack.query("copies_in_a_query").unwrap_err();
    attack.ends("copies_in_a_query", &crash, "a pause that can't be");
}

/// What a worker says by one of its rings ends it for all of them.
fn crossing() {
    let stand = Stand::new(taken::HOSTILE, LONG);
    let why = "pages of a call that keeps none";
    let mut attack = stand.attack();
    let [update, query] = attack.cross("waits_once", "pages_of_a_query");
    assert_eq!(update.to_string(), query.to_string());
    attack.ends("pages_of_a_query", &query, why);
    let mut attack = stand.attack();
    let [update, query] = attack.cross("waits_once", "dies_before");
    assert_eq!(update.to_string(), query.to_string());
    attack.ends("dies_before", &query, "the other side has ended");
}

fn other_requests() {
    let stand = Stand::new(taken::HOSTILE, LONG);
    let mut attack = stand.attack();
    let crash = attack.initialise();
    attack.ends("initialise", &crash, "more than its module begins with");
    for (name, why) in [
        ("pages_of_a_query", "pages of a call that keeps none"),
        ("globals_of_a_query", "globals of a call that keeps none"),
        ("sizes_of_a_query", "sizes that can't be"),
        ("timer_of_a_query", "what such a call can't do"),
        ("certified_of_a_query", "what such a call can't do"),
    ] {
        let mut attack = stand.attack();
        let crash = attack.query(name).expect_err(name);
        attack.ends(name, &crash, why);
    }
}

/// What a worker leaves of a composite query, it says again and again, and each time it may be anything.
fn composite_queries() {
    let stand = Stand::new(taken::HOSTILE, LONG);
    for (name, why) in [
        ("calls_and_leaves_nothing", "none of one that does"),
        ("leaves_and_does_not_call", "that doesn't go on"),
        ("leaves_and_answers", "that doesn't go on"),
        ("leaves_and_fails", "that doesn't go on"),
        (
            "leaves_more_than_it_may",
            "more pages than a query may keep",
        ),
        ("leaves_pages_beyond", "pages beyond the heap"),
        ("leaves_stable_beyond", "pages beyond stable memory"),
        ("leaves_fewer_globals", "globals of other types"),
        ("leaves_less", "sizes that can't be"),
        ("leaves_too_large", "sizes that can't be"),
        ("leaves_nowhere", "reading page"),
        ("leaves_and_dies", ""),
        ("calls_with_cycles", "what such a call can't do"),
        ("calls_too_often", "more calls than it may make"),
        ("then_another_number", "it answered another request"),
        ("then_malformed", ""),
        ("then_dies", "the other side has ended"),
        ("then_leaves_without_calls", "that doesn't go on"),
        ("then_shrinks", "sizes that can't be"),
        ("then_says_more", "it answered another request"),
    ] {
        let mut attack = stand.attack();
        let crash = match attack.compose(name) {
            Err(crash) => crash,
            // It is known when it is heard of next.
            Ok(()) => attack.compose(name).expect_err(name),
        };
        attack.ends(name, &crash, why);
    }
    // An ordinary query, or an update, leaves nothing.
    let mut attack = stand.attack();
    let crash = attack.query("calls").unwrap_err();
    attack.ends("calls", &crash, "that doesn't go on");
    let mut attack = stand.attack();
    let crash = attack.update("calls").unwrap_err();
    attack.ends("calls", &crash, "that doesn't go on");
    // What it says of its own memory, wherever that is, is its own affair.
    let mut attack = stand.attack();
    attack.compose("calls").unwrap();
    let crash = attack.update("malformed").unwrap_err();
    attack.ends("calls", &crash, "");
}

fn scribbling() {
    // It may look as if the worker said nothing, so it isn't waited for long.
    let stand = Stand::new(taken::HOSTILE, Duration::from_secs(3));
    for _ in 0..5 {
        let mut attack = stand.attack();
        let crash = (0..100_000).find_map(|_| attack.update("scribbles").err());
        attack.ends("scribbles", &crash.unwrap(), "");
    }
}

fn descriptors() {
    let stand = Stand::new(taken::HOSTILE, LONG);
    let mut attack = stand.attack();
    let Some(Answer::Reply(report)) = attack.update("tries").unwrap() else {
        panic!("no report");
    };
    let report = String::from_utf8(report).unwrap();
    // Of the module and of both memories.
    assert_eq!(report.lines().count(), 3 * 13, "{report}");
    assert!(!report.contains("WORKED"), "{report}");
    let crash = attack.update("malformed").unwrap_err();
    attack.ends("tries", &crash, "");
}
