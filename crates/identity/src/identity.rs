//! Who a process is, and whether several processes are the same.

use crate::argv::Argv;
use crate::executable::Executable;
use crate::refusal::Refusal;
use std::collections::HashSet;
use std::sync::Arc;

/// Who a process is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Process id, as the host counts.
    pub pid: i32,
    /// What it runs.
    pub executable: Executable,
    /// What its ancestors ran, nearest first, up to the sandbox's init, which is left out.
    pub ancestors: Box<[Executable]>,
    /// The script that it interprets, if it is an interpreter: advice, see [`crate::script`].
    pub script: Option<Box<[u8]>>,
    /// Its arguments: its own word, see [`crate::argv`].
    pub argv: Argv,
}

impl Identity {
    /// The one identity of all owners of a socket.
    ///
    /// A forked child is the same program as its parent, though it has one ancestor more; so
    /// what counts is the script, the executable, and the set of all executables above.
    ///
    /// # Errors
    /// There is none, or they are not the same.
    pub fn of_owners(
        owners: impl IntoIterator<Item = Arc<Identity>>,
    ) -> Result<Arc<Identity>, Refusal> {
        let mut owners = owners.into_iter();
        let first = owners.next().ok_or(Refusal::Gone)?;
        let same = owners.all(|other| {
            other.executable == first.executable
                && other.script == first.script
                && other.lineage() == first.lineage()
        });
        same.then_some(first).ok_or(Refusal::Ambiguous)
    }

    fn lineage(&self) -> HashSet<&Executable> {
        self.ancestors.iter().chain([&self.executable]).collect()
    }
}
