//! Power cuts, of everything that canisters do: installed, called, calling each other, given other code
//! and removed, with `--durability power`. Each step of writing was recorded; the power goes after each
//! of them, and what may be left of the disk then is opened.
//!
//! Where guests run has no part in it, so they run in this process.

use super::{Ask, Canisters, Options};
use crate::call::{Answer, Principal};
use crate::executor::{Code, Executor, InProcess};
use crate::module::Limits;
use crate::store::Durability;
use crate::store::disk::power::Disk;
use crate::store::disk::trace::{Step, Trace};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Of what may be left after a step, so many: the first, the last, and some between.
const REMAINS: usize = 3;
const NAMES: [&str; 3] = ["a", "b", "c"];

/// How often it was added to, how many calls it began, and how many answers it got.
type Counts = [u32; 3];

/// Canisters, with their counts and which module they are of.
type World = BTreeMap<&'static str, (Counts, usize)>;

#[derive(Debug, Clone, Copy)]
enum Act {
    Install(&'static str),
    Add(&'static str),
    /// One has the other add.
    Send(&'static str, &'static str),
    Checkpoint(&'static str),
    Upgrade(&'static str),
    Remove(&'static str),
}

const ACTS: [Act; 16] = [
    Act::Install("a"),
    Act::Install("b"),
    Act::Add("a"),
    Act::Send("a", "b"),
    Act::Add("b"),
    Act::Checkpoint("a"),
    Act::Send("a", "b"),
    Act::Upgrade("a"),
    Act::Send("b", "a"),
    Act::Install("c"),
    Act::Checkpoint("b"),
    Act::Send("c", "a"),
    Act::Remove("c"),
    Act::Add("a"),
    Act::Send("a", "b"),
    Act::Install("c"),
];

/// What there is after so many acts.
fn expected(acts: usize) -> World {
    let mut world = World::new();
    let add = |world: &mut World, name, which: usize| {
        world.get_mut(name).unwrap().0[which] += 1;
    };
    for act in &ACTS[..acts] {
        match *act {
            Act::Install(name) => drop(world.insert(name, ([0; 3], 0))),
            Act::Add(name) => add(&mut world, name, 0),
            Act::Send(from, to) => {
                add(&mut world, from, 1);
                add(&mut world, to, 0);
                add(&mut world, from, 2);
            }
            Act::Checkpoint(_) => {}
            Act::Upgrade(name) => world.get_mut(name).unwrap().1 = 1,
            Act::Remove(name) => drop(world.remove(name)),
        }
    }
    world
}

/// It has its counts in the heap and in stable memory; the second one is the same with another method.
fn modules() -> [Vec<u8>; 2] {
    ["", r#"(func (export "canister_query other"))"#].map(|more| {
        let text = format!(
            r#"(module
                (import "ic0" "msg_arg_data_size" (func $size (result i32)))
                (import "ic0" "msg_arg_data_copy" (func $copy (param i32 i32 i32)))
                (import "ic0" "msg_reply_data_append" (func $append (param i32 i32)))
                (import "ic0" "msg_reply" (func $reply))
                (import "ic0" "stable64_grow" (func $grow (param i64) (result i64)))
                (import "ic0" "stable64_read" (func $read (param i64 i64 i64)))
                (import "ic0" "stable64_write" (func $write (param i64 i64 i64)))
                (import "ic0" "call_new"
                    (func $call (param i32 i32 i32 i32 i32 i32 i32 i32)))
                (import "ic0" "call_perform" (func $perform (result i32)))
                (memory (export "memory") 1)
                (data (i32.const 64) "add")
                (table 2 funcref)
                (elem (i32.const 0) $answered $rejected)
                (func $count (param $at i32)
                    (i32.store (local.get $at) (i32.add (i32.load (local.get $at)) (i32.const 1)))
                    (call $write (i64.const 0) (i64.const 0) (i64.const 12)))
                (func $answered (param i32) (call $count (i32.const 8)) (call $reply))
                (func $rejected (param i32) unreachable)
                (func (export "canister_init") (drop (call $grow (i64.const 1))))
                (func (export "canister_post_upgrade")
                    (call $read (i64.const 0) (i64.const 0) (i64.const 12)))
                (func (export "canister_update add") (call $count (i32.const 0)) (call $reply))
                (func (export "canister_update send")
                    (call $count (i32.const 4))
                    (call $copy (i32.const 128) (i32.const 0) (call $size))
                    (call $call (i32.const 128) (call $size) (i32.const 64) (i32.const 3)
                        (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 0))
                    (if (call $perform) (then unreachable)))
                (func (export "canister_query get")
                    (call $read (i64.const 256) (i64.const 0) (i64.const 12))
                    (call $append (i32.const 0) (i32.const 12))
                    (call $append (i32.const 256) (i32.const 12))
                    (call $reply))
                {more})"#
        );
        wat::parse_str(text).unwrap()
    })
}

struct Stand {
    executor: Arc<dyn Executor>,
    modules: [Vec<u8>; 2],
    // As long as they are held, nothing is compiled twice.
    code: [Arc<Code>; 2],
}

impl Stand {
    fn new() -> Self {
        let executor: Arc<dyn Executor> = Arc::new(InProcess::new(Limits::default()).unwrap());
        let modules = modules();
        let code = modules
            .each_ref()
            .map(|module| executor.compile(module).unwrap());
        Self {
            executor,
            modules,
            code,
        }
    }

    fn open(&self, home: &Path) -> Canisters {
        let options = Options {
            durability: Durability::Power,
            is_alone: true,
            ..Options::default()
        };
        Canisters::open(home, self.executor.clone(), options).unwrap()
    }

    fn act(&self, canisters: &Canisters, act: Act) {
        let caller = Principal::ANONYMOUS;
        let outcome = match act {
            Act::Install(name) => canisters.install(name, &self.modules[0], Vec::new(), caller),
            Act::Add(name) => canisters.call(name, Ask::new("add", Vec::new())),
            Act::Send(from, to) => {
                let to = super::slot::principal(to).as_slice().to_vec();
                canisters.call(from, Ask::new("send", to))
            }
            Act::Upgrade(name) => canisters.upgrade(name, &self.modules[1], Vec::new(), caller),
            Act::Checkpoint(name) => {
                let slot = canisters.slot(name).unwrap();
                return canisters
                    .with(&slot, super::canister::Canister::checkpoint)
                    .unwrap();
            }
            Act::Remove(name) => return canisters.remove(name).unwrap(),
        };
        let answer = outcome.unwrap().result.unwrap();
        assert!(!matches!(answer, Some(Answer::Reject(_))), "{act:?}");
    }

    /// What is there, once all that was under way has come to its end.
    fn world(&self, canisters: &Canisters) -> World {
        canisters.wake_all().unwrap();
        canisters.settle(Duration::from_secs(60));
        let names = canisters.names().unwrap();
        let found = NAMES
            .into_iter()
            .filter(|name| names.iter().any(|found| found == name));
        let world: World = found
            .map(|name| {
                let asked = canisters.query(name, Ask::new("get", Vec::new())).unwrap();
                let Some(Answer::Reply(bytes)) = asked.result.unwrap() else {
                    panic!("{name} says nothing");
                };
                let (heap, stable) = bytes.split_at(12);
                assert_eq!(heap, stable, "{name} is of two states");
                let counts = [0, 4, 8]
                    .map(|at| u32::from_le_bytes([0, 1, 2, 3].map(|byte| heap[at + byte])));
                let hash = canisters.code(name).unwrap().hash;
                let which = self.code.iter().position(|code| code.hash == hash);
                (name, (counts, which.unwrap()))
            })
            .collect();
        assert_eq!(world.len(), names.len(), "{names:?}");
        world
    }

    /// Opens what a power cut left: all that was told of is there, and what was under way is there as a
    /// whole or isn't. A call that was delivered twice, or to nobody, would be another world.
    fn check(&self, home: &Path, told: usize) {
        let canisters = self.open(home);
        let world = self.world(&canisters);
        let next = (told + 1).min(ACTS.len());
        assert!(
            world == expected(told) || world == expected(next),
            "{told} told: {world:?}"
        );
        // It goes on, and stays.
        let Some((name, ((counts, which), act))) = world.into_iter().next().map(|(name, found)| {
            let act = Act::Add(name);
            (name, (found, act))
        }) else {
            return;
        };
        self.act(&canisters, act);
        drop(canisters);
        let world = self.world(&self.open(home));
        assert_eq!(world[name], ([counts[0] + 1, counts[1], counts[2]], which));
    }
}

#[test]
fn a_power_cut_at_any_step_loses_nothing_that_was_told() {
    let stand = Stand::new();
    let folder = tempfile::tempdir().unwrap();
    drop(stand.open(folder.path()));
    let mut disk = Disk::of(folder.path());
    let trace = Trace::of(folder.path());
    let canisters = stand.open(folder.path());
    for (number, act) in (1..).zip(ACTS) {
        stand.act(&canisters, act);
        trace.told(number);
    }
    assert_eq!(stand.world(&canisters), expected(ACTS.len()));
    drop(canisters);
    let steps = trace.steps();
    drop(trace);
    let mut told = 0;
    for end in 0..=steps.len() {
        let remains = disk.remains();
        let last = remains.len() - 1;
        // Others after each step, so that all kinds are among them.
        let between = (1..REMAINS - 1).map(|number| (end * 7 + number * 11) % remains.len());
        let mut chosen: Vec<usize> = [0, last].into_iter().chain(between).collect();
        chosen.sort_unstable();
        chosen.dedup();
        for one in chosen {
            let left = tempfile::tempdir().unwrap();
            remains[one].leave(left.path());
            let checked = catch_unwind(AssertUnwindSafe(|| stand.check(left.path(), told)));
            let remains = &remains[one];
            assert!(
                checked.is_ok(),
                "after {end} of {} steps: {}",
                steps.len(),
                remains.told()
            );
        }
        if let Some(step) = steps.get(end) {
            if let Step::Told(number) = step {
                told = told.max(*number as usize);
            }
            disk.step(step);
        }
    }
}
