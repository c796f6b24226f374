//! From a process up to the sandbox's init.

use crate::process::{Process, Procfs, Status};
use crate::refusal::Refusal;

/// More generations than programs have.
const MOST: usize = 64;

/// The parent of a process, pinned; `None` if that is the sandbox's init.
///
/// The number that the child gave may have passed to another process before it was opened. Then
/// the child's parent has died, and the child has another one now: so it is asked again.
pub(crate) fn parent(
    procfs: &Procfs,
    init: i32,
    child: &Process,
    status: &Status,
) -> Result<Option<Process>, Refusal> {
    if status.parent == init {
        return Ok(None);
    }
    // Its parent lives outside of every pid namespace that /proc shows, or it is the host's init.
    if status.parent <= 1 {
        return Err(Refusal::Outside);
    }
    let parent = Process::open(procfs, status.parent)?;
    match child.status()?.parent == status.parent {
        true => Ok(Some(parent)),
        false => Err(Refusal::Raced(Box::default())),
    }
}

/// All ancestors, nearest first. They are pinned before anything is asked of them: whether they
/// are of the sandbox at all shows at the last one.
pub(crate) fn ancestors(
    procfs: &Procfs,
    init: i32,
    process: &Process,
    status: &Status,
) -> Result<Vec<Process>, Refusal> {
    let mut ancestors = Vec::new();
    let mut next = parent(procfs, init, process, status)?;
    while let Some(process) = next {
        if ancestors.len() == MOST {
            return Err(Refusal::Deep);
        }
        let status = process.status()?;
        next = parent(procfs, init, &process, &status)?;
        ancestors.push(process);
    }
    Ok(ancestors)
}
