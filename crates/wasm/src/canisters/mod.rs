//! Canisters that stay: installed, called, and there again after every process has ended.
//!
//! ```text
//!  call ─▶ seat: run ─▶ seat: commit ─▶ journal: append ─▶ answer, and calls of others
//!            │ trap: nothing is written        │                    │
//!            └ crash: the seat is made anew    │                    ▼
//!                                              │            post: to whom they are for
//!                                              └ what was written, for the next checkpoint
//! ```
//!
//! [`Canisters`] is the owner of a folder ([`Directory`](crate::store::Directory)). A canister is
//! opened when it is first asked for: its pages are loaded and the calls since are run again, each of
//! which has to come to what it came to before. An update is written down before anybody is told of
//! it; a query and a call that failed leave nothing.
//!
//! A canister has one *turn* at a time, and each is one record of its journal. What a turn sends to
//! other canisters is known from its books ([`books`]): nothing between canisters is lost or done
//! twice when all of it ends in between.
//!
//! - [`canister`]: one canister and its turns
//! - [`books`]: what it has begun and not ended
//! - [`post`]: who has a turn next, and who waits
//! - [`composite`]: queries that call queries
//! - [`install`], [`upgrade`]: how code comes in
//! - [`carry`]: out to an archive, in from one, and its past again
//! - [`management`]: the canister that isn't one
//! - [`codes`]: what they run, one for all canisters of a module
//! - [`budget`]: the memory of all of them
//! - [`view`]: what queries see, whoever has a turn
//! - [`deadline`]: calls that are to be over by a time
//! - [`phases`]: how long all of it takes

mod ask;
mod books;
mod budget;
mod canister;
mod carry;
mod clock;
mod codes;
mod composite;
mod deadline;
mod error;
mod install;
mod logbook;
mod management;
mod message;
mod phases;
mod post;
#[cfg(test)]
mod power;
mod report;
mod shop;
mod slot;
mod upgrade;
mod view;

pub use ask::{Ask, Outcome};
pub use error::CanisterError;
pub use phases::{Histogram, Phase};
pub use report::{Idle, Report};

use crate::executor::{Code, Executor};
use crate::store::{Directory, Durability, History};
use budget::Budget;
use codes::Codes;
use phases::Phases;
use post::Post;
use shop::Shop;
use std::path::Path;
use std::sync::Arc;

/// Memory of all canisters, if nothing else is said, bytes.
const MEMORY: u64 = 1 << 40;

/// What becomes of canisters.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// When a call counts as done.
    pub durability: Durability,
    /// Memory that all canisters may have together, bytes.
    pub memory: u64,
    /// Nobody else calls: a call that waits while nothing can happen is an error.
    pub is_alone: bool,
    /// A journal is replaced by a checkpoint when to run it again takes as many instructions.
    pub most_replayed: u64,
    /// How many checkpoints stay, with the calls after them, to be [replayed](Canisters::replay).
    pub history: History,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: Durability::default(),
            memory: MEMORY,
            is_alone: false,
            most_replayed: 2_000_000_000,
            history: History::default(),
        }
    }
}

/// All canisters of a folder.
pub struct Canisters {
    // In the order in which they go: canisters and their workers, and then what they share.
    post: Post,
    shop: Arc<Shop>,
}

impl Canisters {
    /// Takes a folder, which is made if it isn't there.
    pub fn open(
        path: &Path,
        executor: Arc<dyn Executor>,
        options: Options,
    ) -> Result<Self, CanisterError> {
        let shop = Arc::new(Shop {
            directory: Directory::open(path)?.synced(options.durability == Durability::Power),
            executor,
            options,
            budget: Budget::new(options.memory),
            codes: Codes::default(),
            phases: Phases::default(),
        });
        Ok(Self {
            post: Post::over(&shop.directory.names()?),
            shop,
        })
    }

    /// Their names.
    pub fn names(&self) -> Result<Vec<String>, CanisterError> {
        Ok(self.shop.directory.names()?)
    }

    /// The code of one.
    pub fn code(&self, name: &str) -> Result<Arc<Code>, CanisterError> {
        let slot = self.slot(name)?;
        self.with(&slot, |canister| Ok(canister.code.clone()))
    }

    /// The code of a module, which is kept, before there is a canister of it.
    pub fn inspect(&self, module: &[u8]) -> Result<Arc<Code>, CanisterError> {
        self.shop.take(module)
    }

    /// Memory that is left for all, bytes.
    #[must_use]
    pub fn memory_left(&self) -> u64 {
        self.shop.budget.left()
    }

    /// Removes one, and all that it knew. Whoever waits for it is told.
    pub fn remove(&self, name: &str) -> Result<(), CanisterError> {
        let slot = self.slot(name)?;
        let parcels = self.with(&slot, |canister| {
            let why = "the canister was removed";
            Ok(canister.books.close(slot.principal, why))
        })?;
        self.shop.directory.remove(name)?;
        self.forget(&slot);
        self.deliver(&slot, parcels);
        Ok(())
    }
}
