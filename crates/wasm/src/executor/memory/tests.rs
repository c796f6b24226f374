use super::super::kept;
use super::*;
use casemate_sys::pages::{PAGE, Run};
use std::sync::mpsc::sync_channel;
use std::thread;

/// The first pages of both memories, full of a number.
struct Pages {
    runs: [Runs; 2],
    byte: u8,
    fails: Option<fn() -> Crash>,
}

impl Pages {
    fn new(pages: usize, byte: u8) -> Self {
        let run = |pages| -> Runs {
            (pages > 0)
                .then_some(Run {
                    start: 0,
                    end: pages,
                })
                .into_iter()
                .collect()
        };
        Self {
            runs: [run(pages), run(pages.min(1))],
            byte,
            fails: None,
        }
    }
}

impl Origin for Pages {
    fn runs(&self) -> [&Runs; 2] {
        [&self.runs[0], &self.runs[1]]
    }

    fn take(&self, files: &mut Files) -> Result<(), Crash> {
        if let Some(why) = self.fails {
            return Err(why());
        }
        for (which, runs) in self.runs.iter().enumerate() {
            let mut window = files.of(which).map(runs.pages())?;
            window.write(0, &vec![self.byte; runs.pages() * PAGE])?;
        }
        Ok(())
    }

    fn stage(&self, into: [&mut [u8]; 2]) -> Result<(), Crash> {
        into.into_iter().for_each(|bytes| bytes.fill(self.byte));
        self.fails.map_or(Ok(()), |why| Err(why()))
    }
}

fn memory() -> CanisterMemory {
    CanisterMemory::of(MOST_STAGED + 10, 10).unwrap()
}

fn state(size: u64) -> Arc<State> {
    Arc::new(State {
        heap_pages: size,
        ..State::default()
    })
}

/// What lies in the files, without asking whether it should.
fn lies(memory: &CanisterMemory) -> [u8; 2] {
    let mut files = memory.files();
    [0, 1].map(|which| {
        let mut byte = [0];
        files.of(which).read(0, &mut byte).unwrap();
        byte[0]
    })
}

fn until(memory: &CanisterMemory, holds: impl Fn(&Gate) -> bool) {
    while !holds(&memory.gate()) {
        thread::yield_now();
    }
}

#[test]
fn where_nobody_reads_a_commit_is_in_its_place_at_once() {
    let memory = memory();
    memory.commit(&Pages::new(3, 7), state(1)).unwrap();
    assert_eq!(lies(&memory), [7, 7]);
    let reading = memory.read().unwrap();
    assert_eq!((reading.version, reading.state.heap_pages), (1, 1));
}

#[test]
fn a_commit_waits_for_the_last_of_those_that_read() {
    let memory = memory();
    let (one, other) = (memory.read().unwrap(), memory.read().unwrap());
    memory.commit(&Pages::new(3, 7), state(1)).unwrap();
    assert_eq!(lies(&memory), [0, 0]);
    thread::scope(|scope| {
        let late = scope.spawn(|| memory.read().unwrap().version);
        let looked = scope.spawn(|| {
            let mut bytes = [0; PAGE];
            memory.get(0, 2, &mut bytes).unwrap();
            bytes[0]
        });
        until(&memory, |gate| gate.waiting == 2);
        drop(one);
        assert_eq!(lies(&memory), [0, 0]);
        assert_eq!(memory.gate().waiting, 2);
        drop(other);
        assert_eq!(late.join().unwrap(), 1);
        assert_eq!(looked.join().unwrap(), 7);
    });
    assert_eq!(lies(&memory), [7, 7]);
    assert_eq!(memory.read().unwrap().state.heap_pages, 1);
}

#[test]
fn what_is_too_much_to_keep_waits_itself_and_lets_nobody_in() {
    let memory = memory();
    let reading = memory.read().unwrap();
    let (sender, receiver) = sync_channel(2);
    thread::scope(|scope| {
        let (many, sent) = (Pages::new(MOST_STAGED, 7), sender.clone());
        let memory = &memory;
        scope.spawn(move || {
            memory.commit(&many, state(1)).unwrap();
            sent.send("committed").unwrap();
        });
        until(memory, |gate| gate.is_closed && gate.waiting == 1);
        scope.spawn(move || {
            assert_eq!(memory.read().unwrap().version, 1);
            sender.send("read").unwrap();
        });
        until(memory, |gate| gate.waiting == 2);
        assert_eq!(lies(memory), [0, 0]);
        drop(reading);
    });
    let mut told: Vec<_> = receiver.into_iter().collect();
    told.sort_unstable();
    assert_eq!(told, ["committed", "read"]);
    assert_eq!(lies(&memory), [7, 7]);
}

#[test]
fn a_commit_of_no_pages_waits_for_nobody() {
    let memory = memory();
    let reading = memory.read().unwrap();
    memory.commit(&Pages::new(0, 7), state(5)).unwrap();
    assert_eq!(reading.state.heap_pages, 0);
    let next = memory.read().unwrap();
    assert_eq!((next.version, next.state.heap_pages), (1, 5));
}

#[test]
fn a_commit_that_fails_changes_nothing() {
    let memory = memory();
    let mut pages = Pages::new(3, 7);
    pages.fails = Some(|| Crash::Gone("it died".to_owned()));
    let reading = memory.read().unwrap();
    memory.commit(&pages, state(1)).unwrap_err();
    drop(reading);
    memory.commit(&pages, state(1)).unwrap_err();
    assert_eq!(lies(&memory), [0, 0]);
    assert_eq!(memory.read().unwrap().version, 0);
    memory.commit(&Pages::new(3, 8), state(1)).unwrap();
    assert_eq!(lies(&memory), [8, 8]);
}

#[test]
fn files_of_two_versions_are_not_read() {
    let memory = memory();
    let mut pages = Pages::new(3, 7);
    pages.fails = Some(|| Crash::Torn("half of it".to_owned()));
    memory.commit(&pages, state(1)).unwrap_err();
    assert!(matches!(memory.read().err(), Some(Crash::Torn(_))));
    assert!(matches!(memory.settle(), Err(Crash::Torn(_))));
    let other = memory.commit(&Pages::new(3, 8), state(1));
    assert!(matches!(other, Err(Crash::Torn(_))));
}

/// What a query that waits began with is there for it, up to a limit, and all of it is given back.
#[test]
fn what_is_replaced_is_put_aside_up_to_a_limit() {
    let memory = memory();
    let left = kept::left();
    memory.commit(&Pages::new(3, 1), state(1)).unwrap();
    let reading = memory.read().unwrap();
    let own = kept::take(&Pages::new(1, 7), [2000, 1], State::default());
    let kept = own.unwrap().unwrap();
    reading.put_aside(kept.shelf());
    drop(reading);
    memory.commit(&Pages::new(3, 2), state(2)).unwrap();
    memory.commit(&Pages::new(3, 3), state(3)).unwrap();
    let mut given = Vec::new();
    let give = |which, page, bytes: &[u8]| {
        given.push((which, page, bytes.len(), bytes[0]));
        Ok(())
    };
    kept.give(give).unwrap();
    let expected = [
        (0, 0, PAGE, 7),
        (0, 1, PAGE, 1),
        (0, 2, PAGE, 1),
        (1, 0, PAGE, 7),
    ];
    assert_eq!(given, expected);
    memory
        .commit(&Pages::new(MOST_STAGED + 5, 4), state(4))
        .unwrap();
    let lost = kept.give(|_, _, _| Ok(()));
    assert!(matches!(lost, Err(Crash::Overtaken)), "{lost:?}");
    drop(kept);
    assert_eq!(kept::left(), left);
}
