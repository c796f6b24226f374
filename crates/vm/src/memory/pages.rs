//! Bytes of pages.

use super::PAGE;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// So many pages are read at once: what fits into a processor's cache, twice.
const AT_ONCE: u64 = 64;
const SIZE: usize = PAGE as usize;

static ZERO: [u8; SIZE] = [0; SIZE];

/// Room for a piece.
pub(super) fn block() -> Vec<u8> {
    vec![0; SIZE * AT_ONCE as usize]
}

/// A range in pieces that fit into a block.
pub(super) fn pieces(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let Range { start, end } = range;
    let starts = (0..).map_while(move |n| {
        let start = start + n * AT_ONCE;
        (start < end).then_some(start)
    });
    starts.map(move |start| start..end.min(start + AT_ONCE))
}

/// The bytes of a piece. What is beyond the file's end is zero.
pub(super) fn read<'a>(
    file: &File,
    piece: Range<u64>,
    block: &'a mut [u8],
) -> io::Result<&'a [u8]> {
    let length = (piece.end - piece.start) as usize * SIZE;
    let bytes = &mut block[..length];
    let mut filled = 0;
    while filled < length {
        match file.read_at(&mut bytes[filled..], piece.start * PAGE + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes[filled..].fill(0);
    Ok(bytes)
}

/// Writes whole pages from this one on; zeros become holes. The file keeps its end.
pub(super) fn write(file: &File, mut page: u64, bytes: &[u8], end: u64) -> io::Result<()> {
    let is_zero = |page: &[u8]| page == ZERO;
    let (pages, _) = bytes.as_chunks::<SIZE>();
    for run in pages.chunk_by(|one, other| is_zero(one) == is_zero(other)) {
        let (at, bytes) = (page * PAGE, run.as_flattened());
        let within = end.saturating_sub(at).min(bytes.len() as u64);
        let bytes = &bytes[..within as usize];
        page += run.len() as u64;
        if bytes.is_empty() {
            continue;
        }
        if !is_zero(&run[0]) || !punch(file, at..at + within)? {
            file.write_all_at(bytes, at)?;
        }
    }
    Ok(())
}

/// Whether the file system can.
fn punch(file: &File, bytes: Range<u64>) -> io::Result<bool> {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match fallocate(file, flags, bytes.start, bytes.end - bytes.start) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Which pages of a piece differ, as ranges.
pub(super) fn differing(
    start: u64,
    old: Option<&[u8]>,
    new: &[u8],
) -> impl Iterator<Item = Range<u64>> {
    let (new, _) = new.as_chunks::<SIZE>();
    let (old, _) = old.unwrap_or_default().as_chunks::<SIZE>();
    let before = old.iter().chain(std::iter::repeat(&ZERO));
    let numbered = (start..).zip(new.iter().zip(before));
    let differing = numbered.filter(|(_, (new, before))| new != before);
    differing.map(|(page, _)| page..page + 1)
}
