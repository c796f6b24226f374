//! Heap and stable memory: what is found to be written, how far they grow, what is in what is new.

use super::numbers;
use super::stand::{self, Stand};
use casemate_sys::pages::PAGE;
use casemate_wasm::call::{Entry, Failure, Limits};
use std::collections::BTreeSet;

/// Takes a list of 32-bit words: an address, of which bit 0 says that it is written and bit 1 that it
/// is written with what it holds.
const TOUCHES: &str = r#"(module
  (import "ic0" "msg_arg_data_size" (func $size (result i32)))
  (import "ic0" "msg_arg_data_copy" (func $copy (param i32 i32 i32)))
  (memory 400)
  (func (export "canister_update touch") (local $at i32) (local $to i32)
    (call $copy (i32.const 0) (i32.const 0) (call $size))
    (block $done (loop $next
      (br_if $done (i32.ge_u (local.get $at) (call $size)))
      (local.set $to (i32.load (local.get $at)))
      (if (i32.and (local.get $to) (i32.const 1))
        (then (i32.store8 (local.get $to)
          (i32.add (i32.load8_u (local.get $to)) (i32.const 1))))
        (else (drop (i32.load8_u (local.get $to)))))
      (local.set $at (i32.add (local.get $at) (i32.const 4)))
      (br $next))))
  (func (export "canister_init")))"#;

/// Reads next to a page, or before a write, change nothing about what is found.
pub(crate) fn exactly_the_pages_that_were_written_are_committed() {
    stand::each(TOUCHES, |stand: &mut Stand| {
        let mut random = 7_u32;
        let mut next = |end: u32| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 8) % end
        };
        for round in 0..30 {
            let mut words = Vec::new();
            let mut expected = BTreeSet::from([0]);
            for _ in 0..next(200) {
                let page = 1 + next(6399);
                let address = page * PAGE as u32 + 2 * next(PAGE as u32 / 2);
                // Neighbours are read, and so is what is written.
                words.extend([address, (page - 1) * PAGE as u32]);
                if next(2) == 0 {
                    words.push(address | 1);
                    expected.insert(page as usize);
                }
            }
            words.push(0);
            let mut call = Stand::call_of(Entry::Update("touch".to_owned()));
            call.argument = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            let (ran, committed) = stand.take(call);
            ran.result.unwrap();
            let found = committed.unwrap().heap;
            let found: BTreeSet<usize> = found
                .as_slice()
                .iter()
                .flat_map(|run| run.pages())
                .collect();
            assert_eq!(found, expected, "round {round}");
        }
    });
}

const GROWS: &str = r#"(module
  (import "ic0" "msg_reply" (func $reply))
  (import "ic0" "msg_reply_data_append" (func $append (param i32 i32)))
  (memory 1 100)
  (func $write
    (drop (memory.grow (i32.const 2)))
    (memory.fill (i32.const 65536) (i32.const 255)
      (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 65536))))
  (func (export "canister_update grow_and_write") (call $write))
  (func (export "canister_update grow_write_and_trap") (call $write) unreachable)
  (func (export "canister_update grow") (drop (memory.grow (i32.const 2))))
  ;; The size, and where the last byte is that isn't zero.
  (func (export "canister_query look") (local $at i32)
    (local.set $at (i32.mul (memory.size) (i32.const 65536)))
    (i64.store (i32.const 0) (i64.extend_i32_u (memory.size)))
    (block $done (loop $next
      (local.set $at (i32.sub (local.get $at) (i32.const 8)))
      (br_if $done (i64.ne (i64.load (local.get $at)) (i64.const 0)))
      (br_if $next (local.get $at))))
    (i64.store (i32.const 8) (i64.extend_i32_u (local.get $at)))
    (call $append (i32.const 0) (i32.const 16))
    (call $reply))
  (func (export "canister_init")))"#;

/// Whatever was there before in a call that failed.
pub(crate) fn memory_that_grows_is_zero() {
    stand::each(GROWS, |stand| {
        let look = |stand: &mut Stand| numbers(stand.query("look").unwrap());
        for _ in 0..2 {
            stand.update("grow_write_and_trap").unwrap_err();
        }
        assert_eq!(stand.update_without_answer("grow"), None);
        // What it finds is the size that it wrote itself.
        assert_eq!(look(stand), [3, 0]);
        assert_eq!(stand.update_without_answer("grow_and_write"), None);
        assert_eq!(look(stand), [5, 5 * 65536 - 8]);
        stand.update("grow_write_and_trap").unwrap_err();
        assert_eq!(stand.update_without_answer("grow"), None);
        assert_eq!(look(stand), [7, 5 * 65536 - 8]);
    });
}

/// `grow` and `look`, in either width of addresses.
fn edge(is64: bool) -> String {
    let (i, memory) = match is64 {
        true => ("i64", "i64 1"),
        false => ("i32", "1"),
    };
    let wide = |word: &str| match is64 {
        true => word.to_owned(),
        false => format!("(i64.extend_i32_u {word})"),
    };
    let (size, grown) = (
        wide("(memory.size)"),
        wide(&format!("(memory.grow ({i}.load ({i}.const 0)))")),
    );
    format!(
        r#"(module
        (import "ic0" "msg_arg_data_copy" (func $copy (param {i} {i} {i})))
        (import "ic0" "msg_reply_data_append" (func $append (param {i} {i})))
        (import "ic0" "msg_reply" (func $reply))
        (memory {memory})
        (func $tell
          (i64.store ({i}.const 16) {size})
          (call $append ({i}.const 8) ({i}.const 16))
          (call $reply))
        ;; What memory.grow of the argument says, and the size.
        (func (export "canister_update grow")
          (call $copy ({i}.const 0) ({i}.const 0) ({i}.const 8))
          (i64.store ({i}.const 8) {grown})
          (call $tell))
        (func $last (result {i})
          ({i}.sub ({i}.mul (memory.size) ({i}.const 65536)) ({i}.const 1)))
        (func (export "canister_update write_last")
          ({i}.store8 (call $last) ({i}.const 77))
          (call $tell))
        (func (export "canister_query read_last")
          (i64.store ({i}.const 8) (i64.load8_u (call $last)))
          (call $tell))
        (func (export "canister_init")))"#
    )
}

/// A heap of 32-bit addresses reaches 4 GiB, one of 64-bit addresses 6 GiB; beyond, `memory.grow`
/// says no, and goes on.
pub(crate) fn heaps_have_their_ends() {
    for (is64, most) in [(false, 65_536_u64), (true, 98_304)] {
        let no = if is64 { u64::MAX } else { u32::MAX.into() };
        stand::each(&edge(is64), |stand| {
            let mut grow = |pages: u64| {
                let argument = pages.to_le_bytes().to_vec();
                numbers(stand.update_with("grow", argument).unwrap())
            };
            assert_eq!(grow(most), [no, 1]);
            assert_eq!(grow(most - 2), [1, most - 1]);
            assert_eq!(grow(2), [no, most - 1]);
            assert_eq!(grow(1), [most - 1, most]);
            assert_eq!(grow(1), [no, most]);
            numbers(stand.update("write_last").unwrap());
            assert_eq!(numbers(stand.query("read_last").unwrap()), [77, most]);
        });
    }
}

const STABLE: &str = r#"(module
  (import "ic0" "msg_arg_data_copy" (func $copy (param i32 i32 i32)))
  (import "ic0" "msg_reply_data_append" (func $append (param i32 i32)))
  (import "ic0" "msg_reply" (func $reply))
  (import "ic0" "stable64_size" (func $size64 (result i64)))
  (import "ic0" "stable64_grow" (func $grow64 (param i64) (result i64)))
  (import "ic0" "stable64_read" (func $read64 (param i64 i64 i64)))
  (import "ic0" "stable64_write" (func $write64 (param i64 i64 i64)))
  (import "ic0" "stable_size" (func $size (result i32)))
  (import "ic0" "stable_grow" (func $grow (param i32) (result i32)))
  (import "ic0" "stable_read" (func $read (param i32 i32 i32)))
  (import "ic0" "stable_write" (func $write (param i32 i32 i32)))
  (memory 1)
  (func $argument (result i64)
    (call $copy (i32.const 0) (i32.const 0) (i32.const 8))
    (i64.load (i32.const 0)))
  (func $tell (param i64)
    (i64.store (i32.const 8) (local.get 0))
    (i64.store (i32.const 16) (call $size64))
    (call $append (i32.const 8) (i32.const 16))
    (call $reply))
  (func (export "canister_update grow64") (call $tell (call $grow64 (call $argument))))
  (func (export "canister_update grow")
    (call $tell (i64.extend_i32_u (call $grow (i32.wrap_i64 (call $argument))))))
  (func (export "canister_update size") (call $tell (i64.extend_i32_u (call $size))))
  (func (export "canister_update write_far")
    (drop (call $argument))
    (drop (memory.grow (i32.const 1)))
    (call $write64 (i64.const 429496729000) (i64.const 0) (i64.const 8)))
  (func (export "canister_query read_far")
    (call $read64 (i64.const 0) (i64.const 429496729000) (i64.const 8))
    (call $tell (i64.load (i32.const 0))))
  (func (export "canister_update read") (call $read (i32.const 0) (i32.const 0) (i32.const 1)))
  (func (export "canister_update write") (call $write (i32.const 0) (i32.const 0) (i32.const 1)))
  ;; A byte of each of as many pages as the argument says.
  (func (export "canister_update read_pages") (local $page i64) (local $pages i64)
    (local.set $pages (call $argument))
    (loop $next
      (call $read64 (i64.const 64) (i64.mul (local.get $page) (i64.const 4096)) (i64.const 1))
      (local.set $page (i64.add (local.get $page) (i64.const 1)))
      (br_if $next (i64.lt_u (local.get $page) (local.get $pages)))))
  (func (export "canister_update write_pages") (local $page i64) (local $pages i64)
    (local.set $pages (call $argument))
    (loop $next
      (call $write64 (i64.mul (local.get $page) (i64.const 4096)) (i64.const 0) (i64.const 1))
      (local.set $page (i64.add (local.get $page) (i64.const 1)))
      (br_if $next (i64.lt_u (local.get $page) (local.get $pages)))))
  (func (export "canister_init")))"#;

fn with(entry: &str, argument: u64, limits: Limits) -> casemate_wasm::call::Call {
    let mut call = Stand::call_of(Entry::Update(entry.to_owned()));
    call.argument = argument.to_le_bytes().to_vec();
    call.limits = Limits {
        instructions: call.limits.instructions,
        ..limits
    };
    call
}

/// So many pages of stable memory may be touched in a call, and no more.
pub(crate) fn stable_memory_that_a_call_touches_is_limited() {
    // 2 GiB, unless it is said otherwise.
    let usual = Limits::default();
    assert_eq!([usual.stable_reads, usual.stable_writes], [524_288; 2]);
    stand::each(STABLE, |stand| {
        let limits = Limits {
            stable_reads: 5,
            stable_writes: 3,
            ..usual
        };
        stand.take(with("grow64", 2, usual)).0.result.unwrap();
        for (name, most, said) in [
            (
                "read_pages",
                5,
                "more than 5 pages of stable memory read in one call",
            ),
            (
                "write_pages",
                3,
                "more than 3 pages of stable memory written in one call",
            ),
        ] {
            for _ in 0..2 {
                let (ran, committed) = stand.take(with(name, most, limits));
                assert_eq!(ran.result, Ok(None));
                let pages = committed.unwrap().stable.pages() as u64;
                assert_eq!(pages, if most == 3 { 3 } else { 0 });
                let (ran, _) = stand.take(with(name, most + 1, limits));
                assert_eq!(ran.result, Err(Failure::Memory(said.to_owned())));
            }
        }
    });
}

/// More than any memory of the machine: what isn't written takes none.
pub(crate) fn stable_memory_is_larger_than_the_machine() {
    stand::each(STABLE, |stand| {
        let pages = 400 << 14;
        let (ran, _) = stand.take(with("grow64", pages, Limits::default()));
        assert_eq!(numbers(ran.result.unwrap().unwrap()), [0, pages]);
        for round in 1..4 {
            // Each may grow, and be asked, however much there is.
            assert_eq!(
                stand
                    .take(with("write_far", round, Limits::default()))
                    .0
                    .result,
                Ok(None)
            );
            assert_eq!(numbers(stand.query("read_far").unwrap()), [round, pages]);
        }
    });
}

/// The functions of 32 bits end the call when stable memory is above 4 GiB.
pub(crate) fn stable_memory_above_4_gib_is_not_for_32_bits() {
    stand::each(STABLE, |stand| {
        let usual = Limits::default();
        let mut grow = |pages: u64| {
            let (ran, _) = stand.take(with("grow64", pages, usual));
            numbers(ran.result.unwrap().unwrap())
        };
        assert_eq!(grow(65_536), [0, 65_536]);
        assert_eq!(numbers(stand.update("size").unwrap()), [65_536, 65_536]);
        let (ran, _) = stand.take(with("grow", 1, usual));
        let no = u64::from(u32::MAX);
        assert_eq!(numbers(ran.result.unwrap().unwrap()), [no, 65_536]);
        let (ran, _) = stand.take(with("grow64", 1, usual));
        assert_eq!(numbers(ran.result.unwrap().unwrap()), [65_536, 65_537]);
        for name in ["size", "grow", "read", "write"] {
            let (ran, _) = stand.take(with(name, 0, usual));
            match ran.result.unwrap_err() {
                Failure::Contract { why, .. } => assert!(why.contains("above 4 GiB"), "{why}"),
                other => panic!("{name}: {other}"),
            }
        }
    });
}

/// Growth that isn't granted is −1 for the guest, which goes on.
pub(crate) fn stable_memory_that_cannot_grow_says_so() {
    stand::each(STABLE, |stand| {
        let usual = Limits {
            memory: u64::MAX,
            ..Limits::default()
        };
        let small = Limits {
            // A page of heap is there already.
            memory: 3 << 16,
            ..usual
        };
        let left = Limits {
            grows_by: 1 << 16,
            ..usual
        };
        let short = u64::from(u32::MAX);
        for (name, pages, limits, expected) in [
            ("grow64", 3, small, [u64::MAX, 0]),
            ("grow", 3, small, [short, 0]),
            ("grow64", 2, left, [u64::MAX, 0]),
            ("grow", 2, left, [short, 0]),
            ("grow64", 8_192_001, usual, [u64::MAX, 0]),
            ("grow64", u64::MAX, usual, [u64::MAX, 0]),
            ("grow64", 1, small, [0, 1]),
            ("grow", 1, left, [1, 2]),
        ] {
            let (ran, _) = stand.take(with(name, pages, limits));
            assert_eq!(
                numbers(ran.result.unwrap().unwrap()),
                expected,
                "{name} {pages}"
            );
        }
    });
}
