//! What a canister may rely on, in each executor, as root and as an ordinary user.
//!
//! This program is the controller and all that it starts, so it asks for its role first.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod answers;
mod composite;
mod costs;
#[allow(dead_code, reason = "nothing here needs the path of this program")]
#[path = "../processes/harness.rs"]
mod harness;
mod legality;
mod mappings;
mod memory;
mod slices;
mod stand;
mod versions;
mod workers;

use casemate_wasm::call::{Answer, Failure};
use stand::Stand;

const COUNTER: &str = include_str!("../guests/counter.wat");

fn main() {
    casemate_wasm::process::role(&casemate_wasm::worker::Wasm);
    harness::main(&[
        (
            "what_an_update_writes_is_kept",
            what_an_update_writes_is_kept,
        ),
        ("what_a_query_writes_is_not", what_a_query_writes_is_not),
        (
            "a_trap_takes_everything_back_but_what_was_printed",
            a_trap_takes_everything_back_but_what_was_printed,
        ),
        ("sizes_come_back_as_well", sizes_come_back_as_well),
        ("memory_grows_up_to_its_limit", memory_grows_up_to_its_limit),
        ("traps_are_told_apart", traps_are_told_apart),
        ("an_argument_comes_back", an_argument_comes_back),
        (
            "instructions_are_the_same_each_time",
            instructions_are_the_same_each_time,
        ),
        (
            "a_call_is_the_same_however_it_is_sliced",
            slices::a_call_is_the_same_however_it_is_sliced,
        ),
        (
            "an_aborted_call_leaves_nothing",
            slices::an_aborted_call_leaves_nothing,
        ),
        ("debts_are_carried_over", slices::debts_are_carried_over),
        ("slices_run_out", slices::slices_run_out),
        (
            "a_call_waits_before_many_pages_are_copied",
            slices::a_call_waits_before_many_pages_are_copied,
        ),
        (
            "queries_answer_while_an_update_waits",
            versions::queries_answer_while_an_update_waits,
        ),
        (
            "a_query_reads_one_version",
            versions::a_query_reads_one_version,
        ),
        ("two_queries_run_at_once", versions::two_queries_run_at_once),
        (
            "a_query_that_waits_goes_on_with_its_version",
            composite::a_query_that_waits_goes_on_with_its_version,
        ),
        (
            "nobody_waits_for_a_query_that_waits",
            composite::nobody_waits_for_a_query_that_waits,
        ),
        (
            "a_query_ends_with_its_worker",
            composite::a_query_ends_with_its_worker,
        ),
        (
            "many_threads_see_what_was_committed",
            versions::many_threads_see_what_was_committed,
        ),
        (
            "a_worker_that_dies_fails_all_that_it_runs",
            versions::a_worker_that_dies_fails_all_that_it_runs,
        ),
        (
            "a_worker_has_few_mappings_after_many_updates",
            mappings::a_worker_has_few_mappings_after_many_updates,
        ),
        (
            "each_function_is_legal_exactly_where_its_row_says",
            legality::each_function_is_legal_exactly_where_its_row_says,
        ),
        (
            "exactly_the_pages_that_were_written_are_committed",
            memory::exactly_the_pages_that_were_written_are_committed,
        ),
        (
            "memory_that_grows_is_zero",
            memory::memory_that_grows_is_zero,
        ),
        ("heaps_have_their_ends", memory::heaps_have_their_ends),
        (
            "stable_memory_that_a_call_touches_is_limited",
            memory::stable_memory_that_a_call_touches_is_limited,
        ),
        (
            "stable_memory_is_larger_than_the_machine",
            memory::stable_memory_is_larger_than_the_machine,
        ),
        (
            "stable_memory_above_4_gib_is_not_for_32_bits",
            memory::stable_memory_above_4_gib_is_not_for_32_bits,
        ),
        (
            "stable_memory_that_cannot_grow_says_so",
            memory::stable_memory_that_cannot_grow_says_so,
        ),
        ("a_call_is_answered_once", answers::a_call_is_answered_once),
        (
            "an_answer_is_put_together_of_its_pieces",
            answers::an_answer_is_put_together_of_its_pieces,
        ),
        (
            "certified_data_is_at_most_32_bytes",
            answers::certified_data_is_at_most_32_bytes,
        ),
        (
            "effects_are_those_of_calls_that_succeed",
            answers::effects_are_those_of_calls_that_succeed,
        ),
        (
            "time_stands_still_in_a_call",
            answers::time_stands_still_in_a_call,
        ),
        (
            "counters_count_the_call_and_its_context",
            answers::counters_count_the_call_and_its_context,
        ),
        ("each_trap_has_its_name", answers::each_trap_has_its_name),
        (
            "costs_are_those_of_a_subnet_of_13_nodes",
            costs::costs_are_those_of_a_subnet_of_13_nodes,
        ),
        (
            "a_request_costs_what_it_is_said_to_take",
            costs::a_request_costs_what_it_is_said_to_take,
        ),
        ("nobody_makes_cycles_here", costs::nobody_makes_cycles_here),
        (
            "a_module_is_compiled_once",
            workers::a_module_is_compiled_once,
        ),
        (
            "the_controller_meets_no_guest",
            workers::the_controller_meets_no_guest,
        ),
        (
            "pages_that_are_read_in_order_come_together",
            workers::pages_that_are_read_in_order_come_together,
        ),
        (
            "one_module_is_several_canisters",
            workers::one_module_is_several_canisters,
        ),
        (
            "each_canister_has_a_process_of_its_own",
            workers::each_canister_has_a_process_of_its_own,
        ),
        (
            "nothing_is_handed_over_with_a_call",
            workers::nothing_is_handed_over_with_a_call,
        ),
        ("compiled_code_is_shared", workers::compiled_code_is_shared),
        ("they_are_in_a_cgroup", workers::they_are_in_a_cgroup),
        (
            "a_worker_that_is_killed_costs_one_call",
            workers::a_worker_that_is_killed_costs_one_call,
        ),
    ]);
}

/// Of a reply: numbers of 64 bits.
fn numbers(answer: Answer) -> Vec<u64> {
    let Answer::Reply(bytes) = answer else {
        panic!("{answer:?}");
    };
    bytes
        .chunks(8)
        .map(|chunk| u64::from_le_bytes(chunk.try_into().unwrap()))
        .collect()
}

fn what_an_update_writes_is_kept() {
    stand::each(COUNTER, |stand: &mut Stand| {
        assert_eq!(numbers(stand.query("get").unwrap()), [1, 8, 1]);
        for times in 2..6 {
            let found = numbers(stand.update("increment").unwrap());
            assert_eq!(found, [times, 7 + times, times]);
            assert_eq!(numbers(stand.query("get").unwrap()), found);
        }
    });
}

fn what_a_query_writes_is_not() {
    stand::each(COUNTER, |stand| {
        for _ in 0..3 {
            let found = numbers(stand.query("get_after_adding").unwrap());
            assert_eq!(found, [2, 9, 2]);
            assert_eq!(numbers(stand.query("get").unwrap()), [1, 8, 1]);
        }
        assert_eq!(numbers(stand.update("increment").unwrap()), [2, 9, 2]);
    });
}

fn a_trap_takes_everything_back_but_what_was_printed() {
    stand::each(COUNTER, |stand| {
        for _ in 0..3 {
            match stand.update("add_and_trap").unwrap_err() {
                Failure::Canister { message, frames } => {
                    assert_eq!(message, "no more");
                    assert!(!frames.is_empty());
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(stand.printed(), b"no");
            assert_eq!(numbers(stand.query("get").unwrap()), [1, 8, 1]);
        }
        assert_eq!(numbers(stand.update("increment").unwrap()), [2, 9, 2]);
    });
}

fn sizes_come_back_as_well() {
    stand::each(COUNTER, |stand| {
        assert_eq!(numbers(stand.query("sizes").unwrap()), [2, 1]);
        for _ in 0..2 {
            let failure = stand.update("grow_and_trap").unwrap_err();
            assert!(matches!(failure, Failure::Trap { ref kind, .. } if kind == "unreachable"));
            assert_eq!(numbers(stand.query("sizes").unwrap()), [2, 1]);
            assert_eq!(
                numbers(stand.update("increment").unwrap())[0],
                stand.increments()
            );
        }
        let failure = stand.query("beyond").unwrap_err();
        assert!(matches!(failure, Failure::Trap { ref kind, .. } if kind == "heap out of bounds"));
        assert_eq!(stand.update_without_answer("grow"), None);
        assert_eq!(numbers(stand.query("sizes").unwrap()), [5, 1]);
        assert_eq!(stand.query_without_answer("beyond"), None);
    });
}

/// It has three pages, and wants three more.
fn memory_grows_up_to_its_limit() {
    stand::each(COUNTER, |stand| {
        for pages in [0, 3, 5] {
            let failure = stand.update_within(pages << 16, "grow").unwrap_err();
            let said = format!(
                "memory: the heap would grow from 2 pages by 3, and heap and stable memory may have {} bytes",
                pages << 16
            );
            assert_eq!(failure.to_string(), said);
            assert_eq!(numbers(stand.query("sizes").unwrap()), [2, 1]);
        }
        stand.update_within(6 << 16, "grow").unwrap();
        assert_eq!(numbers(stand.query("sizes").unwrap()), [5, 1]);
        // What grows no more may go on.
        stand.update_within(0, "increment").unwrap();
    });
}

fn traps_are_told_apart() {
    stand::each(COUNTER, |stand| {
        let kind = |failure: Failure| match failure {
            Failure::Trap { kind, .. } => kind,
            other => other.to_string(),
        };
        assert_eq!(
            kind(stand.update("divide").unwrap_err()),
            "integer division by zero"
        );
        assert_eq!(kind(stand.update("deep").unwrap_err()), "stack overflow");
        let failure = stand.update("spin").unwrap_err();
        assert_eq!(
            failure,
            Failure::Instructions {
                limit: stand.limit()
            }
        );
        let failure = stand.update("nothing").unwrap_err();
        assert_eq!(
            failure,
            Failure::NoMethod("canister_update nothing".to_owned())
        );
        assert_eq!(numbers(stand.query("get").unwrap()), [1, 8, 1]);
    });
}

fn an_argument_comes_back() {
    stand::each(COUNTER, |stand| {
        for length in [0, 1, 4096, 60_000] {
            let argument: Vec<u8> = (0..length).map(|at: usize| at as u8).collect();
            let answer = stand.update_with("echo", argument.clone()).unwrap();
            assert_eq!(answer, Answer::Reply(argument));
        }
        let failure = stand.update_with("echo", vec![0; 200_000]).unwrap_err();
        assert!(matches!(failure, Failure::Contract { .. }), "{failure}");
    });
}

/// The same calls take the same instructions, whatever ran before.
fn instructions_are_the_same_each_time() {
    stand::each(COUNTER, |stand| {
        stand.update("increment").unwrap();
        let first = stand.instructions();
        assert!(first > 100);
        let _ = stand.update("spin");
        stand.update("increment").unwrap();
        assert_eq!(stand.instructions(), first);
    });
}
