//! Files of a canister, as something may have left them.

use crate::call::{Call, Cause, Entry, Origin, Principal, Ran, Statics, Value};
use crate::guest::State;
use crate::store::{Document, Durability, Journal, Overlay, Record, write_overlay};
use casemate_sys::pages::{PAGE, Run};
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
            added.expect("a record");
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
        let mut pages = 0;
        let read = overlay.read(|memory, _, page| {
            assert!(memory < 2 && page.len() == PAGE);
            pages += 1;
            Ok(())
        });
        assert!(pages * PAGE <= bytes.len());
        if read.is_ok() {
            assert!((pages + 1) * PAGE > bytes.len() / 2 || pages == 0);
        }
    });
}

pub(super) fn some_overlays() -> Vec<Vec<u8>> {
    let bytes = written(|path| {
        let heap = [Run { start: 0, end: 2 }, Run { start: 9, end: 10 }];
        let stable = [Run { start: 5, end: 6 }];
        let page = |memory: usize, number: usize, bytes: &mut [u8; PAGE]| {
            bytes.fill((memory * 100 + number) as u8);
            Ok(())
        };
        write_overlay(path, [&heap, &stable], page, false).expect("an overlay");
    });
    vec![bytes]
}
