//! A canister that comes out of an archive.

use super::super::disk::{self, File};
use super::super::overlay::AT_ONCE;
use super::super::overlay::write::Draft;
use super::super::{Base, Document, Journal, StoreError};
use super::part::Source;
use super::{LONGEST_DOCUMENT, LONGEST_MODULE, kind};
use crate::guest::PER_WASM_PAGE;
use casemate_core::hex;
use casemate_sys::pages::PAGE;
use flate2::{Decompress, FlushDecompress, Status};
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::{Path, PathBuf};

/// What comes before the bytes of pages.
const PAGES_HEADER: usize = 16;

/// Puts the canister of an archive together in a workshop, with its module in the file
/// `module.wasm` there. Nobody has looked into that one yet: its name is its hash, and it has to be
/// compiled before the canister is settled. The document says what it is; who it is, and who
/// controls it, is for the caller to accept. No more than `most` bytes of pages are taken.
pub fn import(
    reader: impl Read,
    name: &Path,
    workshop: &Path,
    most: u64,
    is_synced: bool,
) -> Result<(Document, PathBuf), StoreError> {
    let mut source = Source::begin(reader, name)?;
    let mut next = source.part()?;
    let mut document = document(&mut source, &mut next, workshop)?;
    let module = workshop.join("module.wasm");
    let hash = store_module(&mut source, &mut next, &module, is_synced)?;
    if hash != document.module {
        return Err(source.damaged("its module is another than its document says"));
    }
    let number = 1;
    let state = document.state(workshop)?;
    let sizes = [state.heap_pages, state.stable_pages];
    let mut pages = Pages {
        draft: Draft::begin(&Document::overlay(workshop, number), Base::Lowest)?,
        ends: sizes.map(|size| size.saturating_mul(PER_WASM_PAGE as u64)),
        behind: (0, 0),
        left: most / PAGE as u64,
    };
    while let Some((kind, body)) = next {
        match kind {
            kind::PAGES => pages.take(&body).map_err(|what| source.damaged(what))??,
            other => return Err(source.damaged(format!("a part of kind {other} here"))),
        }
        next = source.part()?;
    }
    pages.draft.finish(is_synced)?;
    Journal::begin(&Document::calls(workshop, number), is_synced)?;
    document.overlays = vec![number];
    document.journal = number;
    document.write(workshop, is_synced)?;
    if is_synced {
        disk::sync_folder(workshop)?;
    }
    Ok((document, module))
}

/// The bodies of all parts of a kind, up to one of another.
fn each<R: Read>(
    source: &mut Source<'_, R>,
    next: &mut Option<(u32, Vec<u8>)>,
    expected: u32,
    mut take: impl FnMut(&Source<'_, R>, Vec<u8>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    while let Some((_, body)) = next.take_if(|(kind, _)| *kind == expected) {
        take(source, body)?;
        *next = source.part()?;
    }
    Ok(())
}

/// What the archive says that the canister is, read as the document of a folder is.
fn document<R: Read>(
    source: &mut Source<'_, R>,
    next: &mut Option<(u32, Vec<u8>)>,
    workshop: &Path,
) -> Result<Document, StoreError> {
    let mut bytes = Vec::new();
    each(source, next, kind::DOCUMENT, |source, body| {
        bytes.extend(body);
        match bytes.len() > LONGEST_DOCUMENT {
            true => Err(source.damaged("a document that is too long")),
            false => Ok(()),
        }
    })?;
    disk::write_whole(&Document::path(workshop), &bytes, false)?;
    let of_archive = |why: StoreError| match why {
        StoreError::Damaged { what, .. } => source.damaged(format!("its document: {what}")),
        other => other,
    };
    let document = Document::read(workshop).map_err(of_archive)?;
    document.statics(workshop).map_err(of_archive)?;
    document.state(workshop).map_err(of_archive)?;
    Ok(document)
}

/// Writes the module, and says its hash.
fn store_module<R: Read>(
    source: &mut Source<'_, R>,
    next: &mut Option<(u32, Vec<u8>)>,
    path: &Path,
    is_synced: bool,
) -> Result<String, StoreError> {
    let file = File::make(path)?;
    let mut hash = Sha256::new();
    let mut at = 0;
    each(source, next, kind::MODULE, |source, body| {
        hash.update(&body);
        file.write(&body, at)?;
        at += body.len() as u64;
        match at > LONGEST_MODULE {
            true => Err(source.damaged("a module that is too long")),
            false => Ok(()),
        }
    })?;
    if is_synced {
        file.sync()?;
    }
    Ok(hex::encode(&hash.finalize()))
}

/// Pages that come one after the other.
struct Pages {
    draft: Draft,
    /// The size of each memory.
    ends: [u64; 2],
    /// Where the next ones may begin: a memory, and a page of it.
    behind: (usize, u64),
    /// How many more are taken.
    left: u64,
}

impl Pages {
    /// One part of them. What is wrong with it is said; what is wrong with the file is the inner
    /// error.
    fn take(&mut self, body: &[u8]) -> Result<Result<(), StoreError>, String> {
        let Some((header, packed)) = body.split_at_checked(PAGES_HEADER) else {
            return Err("pages without a header".to_owned());
        };
        let word = |from: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| header[from + i]));
        let memory = word(0) as usize;
        let first = u64::from(word(4)) | u64::from(word(8)) << 32;
        let count = word(12) as usize;
        let Some(end) = self.ends.get(memory) else {
            return Err(format!("there is no memory {memory}"));
        };
        if count == 0 || count > AT_ONCE {
            return Err(format!("{count} pages at once"));
        }
        if (memory, first) < self.behind {
            return Err("pages that aren't in order".to_owned());
        }
        let last = first.saturating_add(count as u64);
        if last > *end {
            return Err(format!("page {} of a memory of {end}", last - 1));
        }
        self.left = match self.left.checked_sub(count as u64) {
            Some(left) => left,
            None => return Err("more pages than are taken".to_owned()),
        };
        self.behind = (memory, last);
        let bytes = unpacked(packed, count * PAGE)?;
        let first = usize::try_from(first).map_err(|why| why.to_string())?;
        Ok(self.draft.put(memory, first, &bytes))
    }
}

/// Inflates to exactly so many bytes.
fn unpacked(packed: &[u8], length: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(length);
    let mut inflate = Decompress::new(true);
    let status = inflate
        .decompress_vec(packed, &mut bytes, FlushDecompress::Finish)
        .map_err(|why| format!("pages that can't be inflated: {why}"))?;
    match status == Status::StreamEnd && bytes.len() == length {
        true => Ok(bytes),
        false => Err("pages that inflate to more or less than they should".to_owned()),
    }
}
