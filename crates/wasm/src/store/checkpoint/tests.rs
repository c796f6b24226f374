//! A canister that is nothing but its memory: calls write pages, and recovery is checked against
//! what was told, wherever it was stopped.

use super::super::disk::power::Disk;
use super::super::disk::trace::{Step, Trace};
use super::super::{Durability, Record, load};
use super::*;
use crate::call::{Call, Cause, Entry, Origin, Principal, Statics};
use crate::guest::State;
use crate::replay::Digest;
use casemate_sys::pages::Run;
use proptest::prelude::*;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

/// Pages of each memory.
const PAGES: usize = 24;

/// One call: it writes these pages.
type Writes = Vec<(usize, usize, u8)>;

#[derive(Debug, Clone)]
enum Act {
    Call(Writes),
    Checkpoint,
    Anew,
}

struct Toy {
    home: PathBuf,
    durability: Durability,
    document: Document,
    journal: Journal,
    memory: [Committed; 2],
    written: [Runs; 2],
    history: History,
    /// Calls that it has had, ever: its memory's page 0 says so too.
    calls: u64,
}

fn memories() -> [Committed; 2] {
    ["heap", "stable"].map(|name| Committed::new(name, PAGES).unwrap())
}

fn next(calls: u64) -> Document {
    let mut statics = Statics::of(Principal::of_canister(1));
    statics.version = calls;
    Document::of(&statics, &[0; 32], &State::default())
}

fn record(number: u64, writes: &Writes) -> Record {
    let statics = Statics::of(Principal::of_canister(1));
    let mut call = Call::new(Entry::Heartbeat, statics);
    call.argument = writes
        .iter()
        .flat_map(|(memory, page, seed)| [*memory as u8, *page as u8, *seed])
        .collect();
    let digest = Digest {
        instructions: number,
        ..Digest::default()
    };
    let cause = Cause::Begins(Origin::Nobody);
    Record {
        cause,
        call,
        digest,
    }
}

fn writes(record: &Record) -> Writes {
    let writes = record.call.argument.chunks(3);
    writes
        .map(|write| (write[0] as usize, write[1] as usize, write[2]))
        .collect()
}

impl Toy {
    fn make(home: &Path, durability: Durability) -> Result<Self, StoreError> {
        let journal = Journal::begin(&Document::calls(home, 0), false)?;
        let mut toy = Self {
            home: home.to_path_buf(),
            durability,
            document: next(0),
            journal,
            history: History::Nothing,
            memory: memories(),
            written: Default::default(),
            calls: 0,
        };
        toy.checkpoint(false)?;
        Ok(toy)
    }

    fn recover(home: &Path, durability: Durability) -> Result<Self, StoreError> {
        let document = Document::read(home)?;
        sweep(home, &document)?;
        let mut memory = memories();
        let [heap, stable] = &mut memory;
        load(home, &document, [heap, stable])?;
        let calls = Document::calls(home, document.journal);
        let (journal, records) = Journal::recover(&calls)?;
        let mut toy = Self {
            home: home.to_path_buf(),
            durability,
            calls: document.changes,
            document,
            journal,
            history: History::Nothing,
            memory,
            written: Default::default(),
        };
        for record in records {
            assert_eq!(
                record.digest.instructions,
                toy.calls + 1,
                "a call is missing"
            );
            toy.run(&writes(&record));
        }
        Ok(toy)
    }

    fn run(&mut self, writes: &Writes) {
        self.calls += 1;
        let count = (0, 0, self.calls as u8);
        for (memory, page, seed) in writes.iter().chain([&count]) {
            let mut window = self.memory[*memory].map(page + 1).unwrap();
            window.write(*page, &[*seed; PAGE]).unwrap();
            let run = Run {
                start: *page,
                end: page + 1,
            };
            self.written[*memory].extend([run]);
        }
    }

    fn call(&mut self, writes: &Writes) -> Result<(), StoreError> {
        let record = record(self.calls + 1, writes);
        let written = self.journal.append(&record, self.durability)?;
        self.run(writes);
        written.wait().map(drop)
    }

    fn checkpoint(&mut self, is_anew: bool) -> Result<(), StoreError> {
        let step = Checkpoint {
            home: &self.home,
            before: &self.document,
            journal: &self.journal,
            is_synced: self.durability == Durability::Power,
            history: self.history,
            follows: !is_anew,
        };
        let pages = match is_anew {
            true => Pages::All,
            false => Pages::Since([&self.written[0], &self.written[1]]),
        };
        let memories = [&self.memory[0], &self.memory[1]];
        (self.document, self.journal) = step.write(next(self.calls), pages, memories)?;
        self.written = Default::default();
        Ok(())
    }

    fn act(&mut self, act: &Act) -> Result<(), StoreError> {
        match act {
            Act::Call(writes) => self.call(writes),
            Act::Checkpoint => self.checkpoint(false),
            Act::Anew => self.checkpoint(true),
        }
    }

    fn pages(&self) -> Vec<u8> {
        let mut bytes = vec![0; 2 * PAGES * PAGE];
        let (heap, stable) = bytes.split_at_mut(PAGES * PAGE);
        self.memory[0].read(0, heap).unwrap();
        self.memory[1].read(0, stable).unwrap();
        // One byte says what a page is.
        bytes.chunks(PAGE).map(|page| page[0]).collect()
    }
}

/// What memory is after so many calls.
fn expected(acts: &[Act], calls: u64) -> Vec<u8> {
    let mut pages = vec![0; 2 * PAGES];
    let made = acts.iter().filter_map(|act| match act {
        Act::Call(writes) => Some(writes),
        _ => None,
    });
    for (number, writes) in (1..=calls).zip(made) {
        for (memory, page, seed) in writes {
            pages[memory * PAGES + page] = *seed;
        }
        pages[0] = number as u8;
    }
    pages
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let writes = prop::collection::vec((0..2_usize, 0..PAGES, 0..4_u8), 0..6);
    let act = prop_oneof![
        4 => writes.prop_map(Act::Call),
        4 => Just(Act::Checkpoint),
        1 => Just(Act::Anew),
    ];
    prop::collection::vec(act, 1..20)
}

fn histories() -> impl Strategy<Value = History> {
    prop_oneof![
        Just(History::Nothing),
        Just(History::All),
        (1_u32..4).prop_map(|count| History::Last(count.try_into().unwrap())),
    ]
}

/// Each milestone can be gone back to, none is missing among them, and there is no file that nobody
/// mentions. Says how many there are.
fn whole_history(home: &Path, document: &Document) -> usize {
    let numbers = Milestone::list(home).unwrap();
    let mut files = mentioned(home, document);
    files.insert(Document::path(home));
    for (number, follows) in numbers.iter().zip(numbers.iter().skip(1)) {
        assert_eq!(number + 1, *follows, "{numbers:?}");
    }
    assert!(numbers.last().is_none_or(|last| *last == document.journal));
    for number in &numbers {
        let past = Milestone::read(home, *number).unwrap().document;
        let [heap, stable] = &mut memories();
        load(home, &past, [heap, stable]).unwrap();
        Journal::look(&Document::calls(home, *number)).unwrap();
        files.extend(mentioned(home, &past));
        files.insert(Milestone::path(home, *number));
    }
    let found = fs::read_dir(home).unwrap();
    let found: BTreeSet<PathBuf> = found.map(|entry| entry.unwrap().path()).collect();
    assert_eq!(found, files);
    numbers.len()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]
    /// Killed at each step of writing, it comes back with each call that was told of, whole, and goes
    /// on; and nothing is left behind that nobody mentions.
    #[test]
    fn a_kill_at_any_step_loses_nothing(acts in acts(), history in histories()) {
        for steps in 0.. {
            let folder = tempfile::tempdir().unwrap();
            let mut toy = Toy::make(folder.path(), Durability::Process).unwrap();
            toy.history = history;
            let trace = Trace::of(folder.path());
            trace.dies_after(steps);
            let mut told = 0;
            let is_over = acts.iter().all(|act| {
                let is_done = toy.act(act).is_ok();
                told += u64::from(is_done && matches!(act, Act::Call(_)));
                is_done
            });
            trace.lives();
            drop(toy);
            let mut toy = Toy::recover(folder.path(), Durability::Process).unwrap();
            prop_assert!(toy.calls >= told && toy.calls <= told + 1, "{} of {}", toy.calls, told);
            prop_assert!(toy.document.overlays.len() <= 7);
            prop_assert_eq!(toy.pages(), expected(&acts, toy.calls));
            let milestones = whole_history(folder.path(), &toy.document);
            if let History::Last(count) = history {
                // The one that was to go may be there yet.
                prop_assert!(milestones <= count.get() as usize + 1, "{}", milestones);
            }
            toy.checkpoint(false).unwrap();
            let pages = toy.pages();
            let toy = Toy::recover(folder.path(), Durability::Process).unwrap();
            prop_assert_eq!(toy.pages(), pages);
            if is_over {
                break;
            }
        }
    }
}

/// Cuts the power after each step that was recorded, with everything that may be left then.
fn cut_power(disk: Disk, steps: &[Step], check: impl Fn(&Path, u64)) {
    let mut disk = disk;
    let mut told = 0;
    for end in 0..=steps.len() {
        for remains in disk.remains() {
            let folder = tempfile::tempdir().unwrap();
            remains.leave(folder.path());
            let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                check(folder.path(), told);
            }));
            assert!(
                checked.is_ok(),
                "after {end} steps, {told} told, {}",
                remains.told()
            );
        }
        if let Some(step) = steps.get(end) {
            if let Step::Told(number) = step {
                told = told.max(*number);
            }
            disk.step(step);
        }
    }
}

/// What was told of is there after a power cut, and nothing is half done.
#[test]
fn a_power_cut_loses_nothing_that_was_told() {
    let write = |seed: u8| Act::Call(vec![(0, 3, seed), (1, seed as usize, seed)]);
    let mut acts = vec![write(1), write(2), Act::Checkpoint, write(3), Act::Anew];
    // Enough of them that files are replaced.
    for seed in 4..12 {
        acts.extend([write(seed), Act::Checkpoint]);
    }
    acts.push(write(12));
    let folder = tempfile::tempdir().unwrap();
    let mut toy = Toy::make(folder.path(), Durability::Power).unwrap();
    let disk = Disk::of(folder.path());
    let trace = Trace::of(folder.path());
    let mut told = 0;
    for act in &acts {
        toy.act(act).unwrap();
        if matches!(act, Act::Call(_)) {
            told += 1;
            trace.told(told);
        }
    }
    assert!(toy.document.overlays.len() <= 7);
    cut_power(disk, &trace.steps(), |home, told| {
        let toy = Toy::recover(home, Durability::Power).unwrap();
        assert!(toy.calls >= told, "{} of {told}", toy.calls);
        assert_eq!(toy.pages(), expected(&acts, toy.calls));
    });
}

/// Nor does it leave half of a history: those that are to go go whole, and after the newer ones came.
#[test]
fn a_power_cut_leaves_no_half_of_a_history() {
    let folder = tempfile::tempdir().unwrap();
    let mut toy = Toy::make(folder.path(), Durability::Power).unwrap();
    toy.history = History::All;
    let mut acts = Vec::new();
    for seed in 1..4 {
        acts.extend([Act::Call(vec![(0, seed as usize, seed)]), Act::Checkpoint]);
    }
    for act in &acts {
        toy.act(act).unwrap();
    }
    // Three that are there, of which two are to stay.
    let disk = Disk::of(folder.path());
    let trace = Trace::of(folder.path());
    toy.history = History::Last(2.try_into().unwrap());
    for seed in 4..7 {
        let more = [Act::Call(vec![(1, 2, seed)]), Act::Checkpoint];
        for act in &more {
            toy.act(act).unwrap();
        }
        acts.extend(more);
        trace.told(toy.calls);
        assert_eq!(whole_history(folder.path(), &toy.document), 2);
    }
    cut_power(disk, &trace.steps(), |home, told| {
        let toy = Toy::recover(home, Durability::Power).unwrap();
        assert!(toy.calls >= told, "{} of {told}", toy.calls);
        assert!(whole_history(home, &toy.document) >= 2);
    });
}

/// Calls that share a sync: what was told of is there, and what wasn't is there or isn't, in order.
#[test]
fn a_power_cut_in_a_group_loses_nothing_that_was_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut toy = Toy::make(folder.path(), Durability::Power).unwrap();
    let disk = Disk::of(folder.path());
    let trace = Trace::of(folder.path());
    let mut acts = Vec::new();
    for group in [3_u64, 1, 4] {
        let mut waiting = Vec::new();
        for _ in 0..group {
            let call = vec![(0, 5 + acts.len(), 7)];
            let record = record(toy.calls + 1, &call);
            let written = toy.journal.append(&record, Durability::Power).unwrap();
            toy.run(&call);
            waiting.push((written, toy.calls));
            acts.push(Act::Call(call));
        }
        // The last one asks the disk, for all of them.
        for (written, number) in waiting.into_iter().rev() {
            let _ = written.wait().unwrap();
            trace.told(number);
        }
    }
    assert_eq!(toy.journal.syncs(), 3);
    cut_power(disk, &trace.steps(), |home, told| {
        let toy = Toy::recover(home, Durability::Power).unwrap();
        assert!(toy.calls >= told, "{} of {told}", toy.calls);
        assert_eq!(toy.pages(), expected(&acts, toy.calls));
    });
}

/// The same with threads, each of which goes on as soon as it was told.
#[test]
fn a_power_cut_among_threads_loses_nothing_that_was_told() {
    const EACH: usize = 5;
    let folder = tempfile::tempdir().unwrap();
    let toy = Toy::make(folder.path(), Durability::Power).unwrap();
    let disk = Disk::of(folder.path());
    let trace = Trace::of(folder.path());
    let shared = Mutex::new((toy, Vec::new()));
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (shared, trace) = (&shared, &trace);
            scope.spawn(move || {
                for seed in 0..EACH {
                    let call = vec![(1, thread * EACH + seed, 9)];
                    let (written, number) = {
                        let (toy, acts) = &mut *shared.lock().unwrap();
                        let record = record(toy.calls + 1, &call);
                        let written = toy.journal.append(&record, Durability::Power);
                        toy.run(&call);
                        acts.push(Act::Call(call));
                        (written.unwrap(), toy.calls)
                    };
                    let _ = written.wait().unwrap();
                    trace.told(number);
                }
            });
        }
    });
    let (_, acts) = shared.into_inner().unwrap();
    cut_power(disk, &trace.steps(), |home, told| {
        let toy = Toy::recover(home, Durability::Power).unwrap();
        assert!(toy.calls >= told, "{} of {told}", toy.calls);
        assert_eq!(toy.pages(), expected(&acts, toy.calls));
    });
}

/// With a history, each checkpoint can be gone back to, until it is forgotten; then its files are
/// gone too.
#[test]
fn a_history_stays_until_it_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let mut toy = Toy::make(folder.path(), Durability::Process).unwrap();
    toy.history = History::All;
    let mut states = Vec::new();
    for seed in 1..12 {
        toy.call(&vec![(0, seed, 5), (1, 3, seed as u8)]).unwrap();
        toy.checkpoint(seed == 6).unwrap();
        // Once it was begun, it goes on.
        toy.history = History::Nothing;
        states.push((toy.document.journal, toy.pages()));
    }
    drop(toy);
    let numbers = |from: u64| -> Vec<u64> {
        let numbers = states.iter().map(|(number, _)| *number);
        numbers.filter(|number| *number >= from).collect()
    };
    let last = states.last().unwrap().0;
    for from in [1, last - 3, last] {
        Milestone::forget(folder.path(), from, false).unwrap();
        let toy = Toy::recover(folder.path(), Durability::Process).unwrap();
        assert_eq!(Milestone::list(folder.path()).unwrap(), numbers(from));
        assert_eq!(toy.pages(), states.last().unwrap().1);
        for (number, pages) in states.iter().filter(|(number, _)| *number >= from) {
            let milestone = Milestone::read(folder.path(), *number).unwrap();
            let mut past = Toy::recover(folder.path(), Durability::Process).unwrap();
            past.memory = memories();
            let [heap, stable] = &mut past.memory;
            load(folder.path(), &milestone.document, [heap, stable]).unwrap();
            assert_eq!(&past.pages(), pages);
        }
    }
    // The document, the milestone, the journal, and the files of pages.
    let overlays = Document::read(folder.path()).unwrap().overlays.len();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3 + overlays);
    Milestone::forget(folder.path(), u64::MAX, false).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2 + overlays);
}
