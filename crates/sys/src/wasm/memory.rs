//! What becomes of this process's pages, for good (prctl(2)).

use crate::{Errno, check};

/// Refuses memory that is both written and executed, and memory that becomes executable after it was
/// not, in this process and in what it forks (`PR_SET_MDWE`, Linux 6.3).
pub fn refuse_exec_gain() -> Result<(), Errno> {
    const REFUSE_EXEC_GAIN: libc::c_ulong = 1;
    set(libc::PR_SET_MDWE, REFUSE_EXEC_GAIN)
}

/// No huge pages, here and in what is forked (`PR_SET_THP_DISABLE`): what is written is counted by
/// the page, and a huge one counts as 512.
pub fn no_huge_pages() -> Result<(), Errno> {
    const THP_DISABLE: libc::c_int = 41;
    set(THP_DISABLE, 1)
}

fn set(option: libc::c_int, value: libc::c_ulong) -> Result<(), Errno> {
    const UNUSED: libc::c_ulong = 0;
    // SAFETY: these options take a number.
    check(unsafe { libc::prctl(option, value, UNUSED, UNUSED, UNUSED) }.into())?;
    Ok(())
}
