//! Where a controller gets its processes: the tree that there is, or a new one.

use super::order::Order;
use super::tree::Tree;
use super::{CompileLimits, Failure, Spec, Uncompiled, Worker, compile};
use casemate_sys::cgroup::Cgroup;
use rustix::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const WORKER: &str = "a worker";

/// How long a tree may take to end.
const PARTING: Duration = Duration::from_secs(5);

/// Workers and compilers, whoever of their tree dies.
///
/// When this is dropped, its launcher and pool end; workers that were handed out live on, each until
/// its [`Worker`] is dropped.
pub struct Processes {
    spec: Spec,
    cgroup: Option<Arc<Cgroup>>,
    tree: Mutex<Option<Arc<Tree>>>,
}

impl Processes {
    /// None are started before one is asked for.
    pub fn new(spec: Spec, cgroup: Option<Arc<Cgroup>>) -> Self {
        Self {
            spec,
            cgroup,
            tree: Mutex::new(None),
        }
    }

    /// A worker that is closed in and waits for its guest.
    ///
    /// # Errors
    /// None can be started, or it isn't what it should be.
    pub fn worker(&self) -> Result<Worker, Failure> {
        self.with_tree(|tree| {
            let handed = tree.order(&Order::Worker, &[])?;
            let handed = handed.greet(WORKER, self.spec.patience)?;
            Worker::of(handed, WORKER)
        })
    }

    /// Compiles what is in a sealed memfd (memfd_create(2)) into another one, in a process of its own.
    ///
    /// # Errors
    /// The guest is refused, a limit was reached, or the compiler died.
    pub fn compile(
        &self,
        input: BorrowedFd<'_>,
        limits: &CompileLimits,
    ) -> Result<OwnedFd, Uncompiled> {
        let mut result = Err(Uncompiled::Unstarted(Failure::Gone));
        self.with_tree(|tree| {
            result = compile::compile(tree, input, limits, self.spec.patience);
            match &result {
                Err(Uncompiled::Unstarted(failure)) => Err(failure.clone()),
                _ => Ok(()),
            }
        })?;
        result
    }

    /// The process id of the present keeper, if there is a tree.
    pub fn keeper(&self) -> Option<i32> {
        let tree = self.tree.lock().unwrap_or_else(PoisonError::into_inner);
        tree.as_ref().map(|tree| tree.keeper())
    }

    /// Starts what isn't there yet, so that the first worker is there sooner.
    ///
    /// # Errors
    /// It can't be started.
    pub fn warm(&self) -> Result<(), Failure> {
        self.tree().map(drop)
    }

    /// Asks the tree, and, if that is gone, a new one. One death is nobody's fault; two in a row are.
    fn with_tree<T>(&self, mut ask: impl FnMut(&Tree) -> Result<T, Failure>) -> Result<T, Failure> {
        let tree = self.tree()?;
        match ask(&tree) {
            Err(Failure::Gone) => {
                self.forget(&tree);
                ask(&*self.tree()?)
            }
            // It died while it waited in the pool.
            Err(Failure::Ended(_)) => ask(&tree),
            answer => answer,
        }
    }

    fn tree(&self) -> Result<Arc<Tree>, Failure> {
        let mut present = self.tree.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tree) = &*present {
            return Ok(Arc::clone(tree));
        }
        let tree = Arc::new(Tree::start(&self.spec, self.cgroup.as_ref())?);
        *present = Some(Arc::clone(&tree));
        Ok(tree)
    }

    /// Lets go of a tree, unless somebody else has already started another.
    fn forget(&self, gone: &Arc<Tree>) {
        let mut present = self.tree.lock().unwrap_or_else(PoisonError::into_inner);
        if present.as_ref().is_some_and(|tree| Arc::ptr_eq(tree, gone)) {
            *present = None;
        }
    }
}

/// A program that ends right after this leaves no process, not even one that is to be reaped.
impl Drop for Processes {
    fn drop(&mut self) {
        let tree = self.tree.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(tree) = tree.take().and_then(Arc::into_inner) {
            tree.end(PARTING);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_never_asks_for_its_role_starts_nothing() {
        let refused = Processes::new(Spec::default(), None).worker().err();
        assert!(
            matches!(refused, Some(Failure::Forgotten(_))),
            "{refused:?}"
        );
    }
}
