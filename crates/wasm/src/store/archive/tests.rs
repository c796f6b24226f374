use super::super::overlay::layers::load;
use super::super::{Document, StoreError};
use super::*;
use crate::call::{Principal, Statics, Value};
use crate::guest::State;
use casemate_core::hex;
use casemate_sys::pages::{Committed, PAGE};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

const MODULE: &[u8] = b"not even a module";
const PAGES: usize = 3 * 16;

fn memories() -> [Committed; 2] {
    ["heap", "stable"].map(|name| Committed::new(name, 100 * PAGES).unwrap())
}

fn document() -> Document {
    let statics = Statics::of(Principal::of_canister(5));
    let state = State {
        globals: vec![Value::I64(5)],
        heap_pages: 3,
        stable_pages: 3,
    };
    let hash: [u8; 32] = Sha256::digest(MODULE).into();
    Document::of(&statics, &hash, &state)
}

/// A canister with a few pages, and its archive.
fn example(folder: &Path) -> ([Committed; 2], Vec<u8>) {
    let mut memory = memories();
    for (which, page, byte) in [(0, 0, 1), (0, 1, 0), (0, 2, 2), (0, 40, 3), (1, 7, 4)] {
        let mut window = memory[which].map(page + 1).unwrap();
        window.write(page, &[byte; PAGE]).unwrap();
    }
    let module = folder.join("module");
    fs::write(&module, MODULE).unwrap();
    let mut archive = Vec::new();
    let [heap, stable] = &memory;
    let name = Path::new("archive");
    export(&document(), &module, [heap, stable], &mut archive, name).unwrap();
    (memory, archive)
}

fn taken(archive: &[u8], most: u64) -> Result<(tempfile::TempDir, Document, PathBuf), StoreError> {
    let workshop = tempfile::tempdir().unwrap();
    let name = Path::new("archive");
    let (document, module) = import(archive, name, workshop.path(), most, true)?;
    Ok((workshop, document, module))
}

#[test]
fn what_goes_in_comes_out() {
    let folder = tempfile::tempdir().unwrap();
    let (memory, archive) = example(folder.path());
    assert!(
        archive.len() < 2 * PAGE,
        "zeros are left out, and the rest is packed"
    );
    let (home, taken, module) = taken(&archive, 1 << 20).unwrap();
    assert_eq!(fs::read(module).unwrap(), MODULE);
    assert_eq!(Document::read(home.path()).unwrap(), taken);
    assert_eq!((&taken.overlays, taken.journal), (&vec![1], 1));
    let mut expected = document();
    expected.overlays = vec![1];
    expected.journal = 1;
    assert_eq!(taken, expected);
    let mut found = memories();
    let [heap, stable] = &mut found;
    load(home.path(), &taken, [heap, stable]).unwrap();
    for (found, memory) in found.iter().zip(&memory) {
        let mut bytes = [vec![0; PAGES * PAGE], vec![0; PAGES * PAGE]];
        found.read(0, &mut bytes[0]).unwrap();
        memory.read(0, &mut bytes[1]).unwrap();
        assert!(bytes[0] == bytes[1]);
    }
    // Twice the same.
    let mut again = Vec::new();
    let module = folder.path().join("module");
    let [heap, stable] = &found;
    export(&taken, &module, [heap, stable], &mut again, Path::new("x")).unwrap();
    assert!(again == archive);
}

/// Wherever it ends too early and whatever was changed, there is an error and no canister.
#[test]
fn a_damaged_archive_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (_, archive) = example(folder.path());
    for length in 0..archive.len() {
        let said = taken(&archive[..length], 1 << 20).unwrap_err().to_string();
        assert!(
            said.contains("archive: it ends too early"),
            "{length}: {said}"
        );
    }
    for at in 0..archive.len() {
        let mut bytes = archive.clone();
        bytes[at] ^= 0x08;
        let said = taken(&bytes, 1 << 20).unwrap_err().to_string();
        assert!(said.contains("archive: "), "{at}: {said}");
    }
    let more = [&archive[..], &[0]].concat();
    let said = taken(&more, 1 << 20).unwrap_err().to_string();
    assert!(said.contains("something follows its end"), "{said}");
}

/// Checksums and hashes are right, and what they are of is not.
#[test]
fn a_forged_archive_is_refused() {
    let pages = |memory: u32, first: u64, count: u32, packed: &[u8]| {
        let mut body = Vec::from(memory.to_le_bytes());
        body.extend(first.to_le_bytes());
        body.extend(count.to_le_bytes());
        body.extend(packed);
        (kind::PAGES, body)
    };
    let packed = |length: usize| {
        use std::io::Write;
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), Default::default());
        encoder.write_all(&vec![7; length]).unwrap();
        encoder.finish().unwrap()
    };
    let one = packed(PAGE);
    let head = (kind::DOCUMENT, document().carried());
    let module = (kind::MODULE, MODULE.to_vec());
    let try_it = |parts: Vec<(u32, Vec<u8>)>| {
        let mut archive = Vec::new();
        let mut target = part::Target::begin(&mut archive, Path::new("archive")).unwrap();
        for (kind, body) in parts {
            target.part(kind, &body).unwrap();
        }
        target.finish().unwrap();
        taken(&archive, 4 * PAGE as u64).map_err(|why| why.to_string())
    };
    let with = |parts: &[(u32, Vec<u8>)]| {
        let before = [head.clone(), module.clone()];
        try_it([&before[..], parts].concat())
    };
    with(&[
        pages(0, 0, 1, &one),
        pages(0, 47, 1, &one),
        pages(1, 0, 1, &one),
    ])
    .unwrap();
    let text = String::from_utf8(document().carried()).unwrap();
    for (parts, why) in [
        (vec![pages(2, 0, 1, &one)], "there is no memory 2"),
        (vec![pages(0, 48, 1, &one)], "page 48 of a memory of 48"),
        (vec![pages(0, u64::MAX, 1, &one)], "of a memory of 48"),
        (vec![pages(0, 0, 0, &one)], "0 pages at once"),
        (vec![pages(0, 0, 65, &one)], "65 pages at once"),
        (
            vec![pages(0, 5, 1, &one), pages(0, 5, 1, &one)],
            "aren't in order",
        ),
        (
            vec![pages(1, 5, 1, &one), pages(0, 6, 1, &one)],
            "aren't in order",
        ),
        (vec![pages(0, 0, 2, &one)], "more or less"),
        (vec![pages(0, 0, 1, &packed(2 * PAGE))], "more or less"),
        (vec![pages(0, 0, 1, b"nothing")], "inflate"),
        (
            vec![pages(0, 0, 5, &packed(5 * PAGE))],
            "more pages than are taken",
        ),
        (vec![(kind::PAGES, vec![0; 15])], "without a header"),
        (vec![head.clone()], "a part of kind 1 here"),
        (vec![(9, Vec::new())], "a part of kind 9 here"),
    ] {
        let said = with(&parts).unwrap_err();
        assert!(said.contains(why), "{said}");
    }
    for (parts, why) in [
        (vec![], "its document"),
        (vec![module.clone()], "its document"),
        (vec![head.clone()], "its module is another"),
        (
            vec![head.clone(), (kind::MODULE, b"another".to_vec())],
            "its module is another",
        ),
        (
            vec![(kind::DOCUMENT, b"{}".to_vec()), module.clone()],
            "its document",
        ),
        (
            vec![
                (
                    kind::DOCUMENT,
                    text.replace("\"version\": ", "\"version\": 9").into(),
                ),
                module.clone(),
            ],
            "isn't known",
        ),
        (
            vec![
                (
                    kind::DOCUMENT,
                    text.replace("\"state\": \"", "\"state\": \"ff").into(),
                ),
                module.clone(),
            ],
            "its document",
        ),
    ] {
        let said = try_it(parts).unwrap_err();
        assert!(said.contains(why), "{said}");
    }
    assert_eq!(hex::encode(&Sha256::digest(MODULE)), document().module);
}
