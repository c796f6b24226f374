//! Files of a canister, as something may have left them.

use crate::call::{Call, Cause, Entry, Origin, Principal, Ran, Statics, Value};
use crate::guest::State;
use crate::store::{Base, Document, Durability, Journal, Overlay, Record, Written, write_overlay};
use casemate_sys::pages::{Committed, PAGE, Run, Runs};
use std::fs;
use std::path::{Path, PathBuf};

/// A folder of this thread, for a file at a time.
fn folder() -> PathBuf {
    let folder = std::env::temp_dir().join(format!(
        "casemate-fuzz-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    fs::create_dir_all(&folder).expect("a folder for files");
    folder
}

/// Reads a file with these bytes.
fn with(name: &str, bytes: &[u8], read: impl FnOnce(&Path)) {
    let folder = folder();
    fs::write(folder.join(name), bytes).expect("a file");
    read(&folder);
    fs::remove_dir_all(folder).expect("a folder to remove");
}

/// What this writes into a new file.
fn written(write: impl FnOnce(&Path)) -> Vec<u8> {
    let folder = folder();
    let path = folder.join("written");
    write(&path);
    let bytes = fs::read(path).expect("what was written");
    fs::remove_dir_all(folder).expect("a folder to remove");
    bytes
}

pub(super) fn documents(bytes: &[u8]) {
    with("canister.json", bytes, |folder| {
        let Ok(document) = Document::read(folder) else {
            return;
        };
        let statics = document.statics(folder);
        let state = document.state(folder);
        if let (Ok(statics), Ok(state)) = (statics, state) {
            let again = Document::of(&statics, &[0; 32], &state);
            assert_eq!(again.statics(folder).ok(), Some(statics));
            assert_eq!(again.state(folder).ok(), Some(state));
        }
    });
}

pub(super) fn some_documents() -> Vec<Vec<u8>> {
    let mut statics = Statics::of(Principal::of_canister(3));
    statics.controllers = vec![Principal::ANONYMOUS];
    statics.cycles = 1 << 70;
    let state = State {
        globals: vec![Value::I32(4), Value::V128(5)],
        heap_pages: 6,
        stable_pages: 7,
    };
    let document = Document::of(&statics, &[9; 32], &state);
    let folder = folder();
    document.write(&folder, false).expect("a document");
    let bytes = fs::read(Document::path(&folder)).expect("a document");
    fs::remove_dir_all(folder).expect("a folder to remove");
    vec![bytes]
}

/// What is read once is there the next time, and more can be added.
pub(super) fn journals(bytes: &[u8]) {
    with("calls", bytes, |folder| {
        let path = folder.join("calls");
        let Ok((mut journal, records)) = Journal::recover(&path) else {
            return;
        };
        let last = record(7);
        journal
            .append(&last, Durability::Process)
            .and_then(Written::wait)
            .expect("a record is added");
        let (_, again) = Journal::recover(&path).expect("what was recovered");
        assert_eq!(again.split_last(), Some((&last, &records[..])));
    });
}

pub(super) fn some_journals() -> Vec<Vec<u8>> {
    let bytes = written(|path| {
        let mut journal = Journal::begin(path, false).expect("a journal");
        for number in 1..4 {
            let added = journal.append(&record(number), Durability::Process);
            added.and_then(Written::wait).expect("a record");
        }
    });
    vec![bytes, Vec::new()]
}

fn record(number: u64) -> Record {
    let statics = Statics::of(Principal::of_canister(number));
    let mut call = Call::new(Entry::Update(format!("m{number}")), statics);
    call.argument = vec![number as u8; 5 * number as usize];
    let ran = Ran {
        result: Ok(None),
        instructions: number,
        effects: Default::default(),
        globals: Vec::new(),
        heap_pages: 0,
        stable_pages: 0,
    };
    let cause = match number {
        1 => Cause::Begins(Origin::Outside(Some("a key".to_owned()))),
        2 => Cause::Begins(Origin::Canister(Principal::ANONYMOUS, 9)),
        number => Cause::Answers(number),
    };
    Record::of(cause, call, [&ran])
}

/// As many pages come out as there are in the file, of one of the two memories.
pub(super) fn overlays(bytes: &[u8]) {
    with("pages", bytes, |folder| {
        let Ok(overlay) = Overlay::open(&folder.join("pages")) else {
            return;
        };
        let mut all = Runs::default();
        all.extend([Run {
            start: 0,
            end: 1 << 30,
        }]);
        let mut pages = 0;
        for memory in [0, 1] {
            let read = overlay.read(memory, &all, |_, found: &[u8]| {
                assert_eq!(found.len() % PAGE, 0);
                pages += found.len() / PAGE;
                Ok(())
            });
            // What is damaged is an error.
            let _ = read;
        }
        assert!(pages * PAGE <= bytes.len());
    });
}

pub(super) fn some_overlays() -> Vec<Vec<u8>> {
    let bytes = written(|path| {
        let run = |start, end| {
            let mut runs = Runs::default();
            runs.extend([Run { start, end }]);
            runs
        };
        let memory = || {
            let mut memory = Committed::new("fuzz", 16).expect("memory");
            let bytes: Vec<u8> = (0..16 * PAGE).map(|at| (at / PAGE) as u8).collect();
            let mut window = memory.map(16).expect("a window");
            window.write(0, &bytes).expect("pages");
            memory
        };
        let (heap, stable) = (memory(), memory());
        let runs = [&run(0, 3), &run(5, 6)];
        write_overlay(path, runs, [&heap, &stable], Base::Lowest, false).expect("an overlay");
    });
    vec![bytes]
}
