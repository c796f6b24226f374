//! A canister that goes into an archive.

use super::super::overlay::AT_ONCE;
use super::super::overlay::write::is_zero;
use super::super::{Document, StoreError};
use super::part::Target;
use super::{LONGEST, kind};
use casemate_sys::pages::{Committed, PAGE};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

/// Writes an archive of a canister: of what its document says, its module (a file), and what its
/// memories, heap and stable, hold now. The document has to be of this very moment. `name` is what
/// the archive is called in errors.
pub fn export(
    document: &Document,
    module: &Path,
    memories: [&Committed; 2],
    writer: impl Write,
    name: &Path,
) -> Result<(), StoreError> {
    let mut target = Target::begin(writer, name)?;
    for chunk in document.carried().chunks(LONGEST) {
        target.part(kind::DOCUMENT, chunk)?;
    }
    let mut file = File::open(module).map_err(StoreError::io("open", module))?;
    let mut chunk = vec![0; LONGEST];
    loop {
        let read = file.read(&mut chunk);
        match read.map_err(StoreError::io("read", module))? {
            0 => break,
            length => target.part(kind::MODULE, &chunk[..length])?,
        }
    }
    for (memory, committed) in memories.into_iter().enumerate() {
        pages(&mut target, memory, committed, name)?;
    }
    target.finish()
}

/// The pages of a memory that aren't zero.
fn pages(
    target: &mut Target<'_, impl Write>,
    memory: usize,
    committed: &Committed,
    name: &Path,
) -> Result<(), StoreError> {
    let unread = |why: casemate_sys::pages::Error| {
        StoreError::io("read the memory for", name)(std::io::Error::other(why.to_string()))
    };
    let mut bytes = vec![0; AT_ONCE * PAGE];
    let held = committed.all_held().map_err(unread)?;
    for run in held.as_slice() {
        for first in run.pages().step_by(AT_ONCE) {
            let bytes = &mut bytes[..AT_ONCE.min(run.end - first) * PAGE];
            committed.read(first, bytes).map_err(unread)?;
            let mut start = 0;
            let pages: Vec<&[u8]> = bytes.chunks_exact(PAGE).collect();
            for part in pages.chunk_by(|one, other| is_zero(one) == is_zero(other)) {
                if !part.iter().all(|page| is_zero(page)) {
                    let bytes = part.concat();
                    target.part(kind::PAGES, &packed(memory, first + start, &bytes))?;
                }
                start += part.len();
            }
        }
    }
    Ok(())
}

/// The body of a part of pages.
fn packed(memory: usize, first: usize, bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend((memory as u32).to_le_bytes());
    body.extend((first as u64).to_le_bytes());
    body.extend(((bytes.len() / PAGE) as u32).to_le_bytes());
    let mut encoder = ZlibEncoder::new(body, Compression::fast());
    // Writing to memory doesn't fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}
