//! Telling what changes in a folder.
//!
//! ```text
//!  inotify ──▶ tree ──▶ a task per watch ──▶ queue ──▶ a stream (WatchDir)
//!              (which folder is which)       (bounded) └▶ questions (GetWatcherEvents)
//! ```
//!
//! Reading a new folder waits for disks, so the task does it on a thread for that. The kernel's
//! queue and ours are bounded; when either overflows, the reader is told that events were lost,
//! and the folders are found anew.

pub(crate) mod event;
mod mounts;
mod queue;
mod tree;
pub(crate) mod watchers;

use crate::blocking::{self, Elsewhere};
use crate::fault::{Cause, Fault, Result};
use crate::filesystem::entry::{Entry, text};
use crate::filesystem::owner::Names;
use crate::process::watched;
use event::{Change, Event, Kind};
use queue::Queue;
use std::cell::OnceCell;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::Interest;
use tokio::task::JoinHandle;
use tree::Tree;

/// What to watch.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) path: PathBuf,
    /// The folders below as well, those that are still to come included.
    pub(crate) recursive: bool,
    /// Say with each event how the file is.
    pub(crate) entries: bool,
    /// Watch although others may write where this kernel doesn't see it.
    pub(crate) remote: bool,
}

/// A folder that is being watched, until this is dropped.
pub(crate) struct Watch {
    queue: Arc<Queue>,
    reading: JoinHandle<()>,
}

impl Watch {
    /// Watches from now on: what happens after this returns is told.
    pub(crate) async fn new(wanted: Wanted) -> Result<Self> {
        let entries = wanted.entries;
        let tree = blocking::run(move || {
            tree::check(&wanted.path)?;
            if !wanted.remote && mounts::is_remote(&wanted.path)? {
                return Err(Fault::invalid(format!(
                    "cannot watch path on network filesystem: {}",
                    wanted.path.display()
                )));
            }
            Tree::new(&wanted.path, wanted.recursive).map(Elsewhere::new)
        })
        .await?;
        let queue = Arc::new(Queue::default());
        let told = Arc::clone(&queue);
        let reading = tokio::spawn(async move {
            let end = read(tree, entries, Arc::clone(&told)).await;
            told.end(end);
        });
        Ok(Self { queue, reading })
    }

    /// What has happened since it was last asked.
    pub(crate) fn take(&self) -> Result<Vec<Event>> {
        self.queue.take()
    }

    /// Waits until there is something to take. For one reader.
    pub(crate) async fn arrival(&self) {
        self.queue.arrival().await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

/// Moves what happens to the queue; returns why it can't any more.
async fn read(mut tree: Elsewhere<Tree>, entries: bool, queue: Arc<Queue>) -> Fault {
    loop {
        let readable = match watched(tree.descriptor(), Interest::READABLE) {
            Ok(readable) => Elsewhere::new(readable),
            Err(error) => return Fault::io("watch", tree.root(), &error),
        };
        loop {
            match readable.readable().await {
                Ok(mut guard) => guard.clear_ready(),
                Err(error) => return Fault::io("watch", tree.root(), &error),
            }
            let queue = Arc::clone(&queue);
            let read = blocking::run(move || pass(tree, entries, &queue)).await;
            let next;
            (tree, next) = match read {
                Ok(read) => read,
                Err(fault) => return fault,
            };
            if next == Next::Anew {
                break;
            }
        }
    }
}

/// What a pass leaves to be done.
#[derive(PartialEq, Eq)]
enum Next {
    /// The same tree, when there is more to read.
    Wait,
    /// There is another tree.
    Anew,
}

/// Reads what there is.
fn pass(
    mut tree: Elsewhere<Tree>,
    entries: bool,
    queue: &Arc<Queue>,
) -> Result<(Elsewhere<Tree>, Next)> {
    let root = tree.root().to_owned();
    let names = OnceCell::new();
    let mut tell = |change: Change| {
        let path = match change.path.as_os_str() == "." {
            true => root.clone(),
            false => root.join(&change.path),
        };
        let there = matches!(change.kind, Kind::Create | Kind::Write | Kind::Chmod);
        let entry = (entries && there)
            .then(|| Entry::at(&path, names.get_or_init(Names::read)).ok())
            .flatten();
        let event = Event {
            name: text(&change.path),
            kind: change.kind,
            entry,
        };
        queue.push(event, || tree::lost(&root));
    };
    loop {
        // When this is the last one to hold the queue, nobody listens any more.
        match tree.changes(&mut tell) {
            Ok(false) if Arc::strong_count(queue) > 1 => {}
            Ok(_) => return Ok((tree, Next::Wait)),
            Err(fault) if fault.cause == Cause::Lost => {
                // Who is told looks for himself, and counts on hearing of what happens after that.
                let anew = Tree::new(&root, tree.is_recursive())?;
                queue.lose(fault);
                return Ok((Elsewhere::new(anew), Next::Anew));
            }
            Err(fault) => return Err(fault),
        }
    }
}
