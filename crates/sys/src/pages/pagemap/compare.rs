//! What was written, told by what is different: for kernels that can't track writes.

use super::{Region, Runs};
use crate::pages::Run;
use crate::pages::{Error, PAGE, Reader};

/// How many pages of the file are read at once: they are compared while the cache has them.
const MOST: usize = 16;

/// Adds those of the pages that differ from the file's.
pub(super) fn differing(
    region: &Region,
    private: &Runs,
    file: &Reader,
    runs: &mut Runs,
) -> Result<(), Error> {
    let mut buffer = vec![0; MOST * PAGE];
    for run in private.as_slice() {
        for start in run.pages().step_by(MOST) {
            let count = (run.end - start).min(MOST);
            let committed = &mut buffer[..count * PAGE];
            file.read(start, committed)?;
            let pages = committed.chunks_exact(PAGE).zip(start..);
            runs.extend(
                pages
                    .filter(|(committed, page)| differs(region, *page, committed))
                    .map(|(_, page)| Run {
                        start: page,
                        end: page + 1,
                    }),
            );
        }
    }
    Ok(())
}

/// `committed` is a page.
fn differs(region: &Region, page: usize, committed: &[u8]) -> bool {
    let ours = region.address(page).cast();
    let length = committed.len().min(PAGE);
    // SAFETY: the page was found to be mapped, and no page of a region is ever unmapped; its file
    // can't get shorter. The comparison is the C library's, so that a guest which writes meanwhile
    // spoils no more than the answer.
    unsafe { libc::memcmp(ours, committed.as_ptr().cast(), length) != 0 }
}
