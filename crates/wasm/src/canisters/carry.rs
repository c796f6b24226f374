//! A canister on its way elsewhere and back, and its past once more.

use super::canister::Canister;
use super::logbook::Logbook;
use super::shop::Shop;
use super::slot::principal;
use super::{CanisterError, Canisters};
use crate::call::Principal;
use crate::executor::CanisterMemory;
use crate::guest::State;
use crate::replay::{self, Again, Digest, ReplayError, Replayed};
use crate::store::{self, Document, Durability, Journal, Record, StoreError};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

/// What an archive is called in errors: it may be anything that can be read.
const ARCHIVE: &str = "the archive";
/// The most pages that are taken from an archive, bytes.
const MOST_IMPORTED: u64 = 1 << 40;

impl Canisters {
    /// Writes an archive of a canister as it is now: its code, its memory and all else that is known
    /// of it. It must not wait for anybody, or be waited for.
    pub fn export(&self, name: &str, writer: impl Write) -> Result<(), CanisterError> {
        let slot = self.slot(name)?;
        self.with(&slot, |canister| {
            let (contexts, calls) = canister.books.counts();
            if contexts + calls > 0 {
                return Err(CanisterError::Busy(name.to_owned(), contexts + calls));
            }
            let document = canister.document_now();
            let module = canister.shop.directory.module(&document.module, "wasm");
            let name = Path::new(ARCHIVE);
            canister.memory.with(|[heap, stable]| {
                Ok(store::export(
                    &document,
                    &module,
                    [heap, stable],
                    writer,
                    name,
                )?)
            })
        })
    }

    /// Makes a canister of an archive, for these controllers. Under another name it is another one.
    pub fn import(
        &self,
        name: &str,
        archive: impl Read,
        controllers: &[Principal],
    ) -> Result<(), CanisterError> {
        if self.shop.directory.home(name)?.exists() {
            return Err(CanisterError::Taken(name.to_owned()));
        }
        let workshop = self.shop.directory.workshop(name)?;
        let made = self.unpack(name, archive, controllers, &workshop);
        let mut canister = match made {
            Ok(canister) => canister,
            Err(why) => {
                let _ = std::fs::remove_dir_all(&workshop);
                return Err(why);
            }
        };
        canister.settle(self.shop.directory.settle(&workshop, name)?);
        let slot = self.post.add(name, canister);
        // Notes its timer.
        self.with(&slot, |_| Ok(()))
    }

    fn unpack(
        &self,
        name: &str,
        archive: impl Read,
        controllers: &[Principal],
        workshop: &Path,
    ) -> Result<Canister, CanisterError> {
        let is_synced = self.shop.options.durability == Durability::Power;
        let from = Path::new(ARCHIVE);
        // What doesn't fit into memory never will; and an archive inflates to much more than it is.
        let most = MOST_IMPORTED.min(self.memory_left());
        let (mut document, module) = store::import(archive, from, workshop, most, is_synced)?;
        let bytes = std::fs::read(&module).map_err(StoreError::io("read", &module))?;
        self.shop.take(&bytes)?;
        std::fs::remove_file(&module).map_err(StoreError::io("remove", &module))?;
        document.canister = principal(name).to_string();
        document.controllers = controllers.iter().map(Principal::to_string).collect();
        document.write(workshop, is_synced)?;
        let canister = Canister::recover(&self.shop, workshop.to_path_buf())?;
        match canister.books.counts() {
            (0, 0) => Ok(canister),
            _ => Err(CanisterError::Books(Document::path(workshop))),
        }
    }

    /// Runs again what a canister was called since one of its milestones (the first, if none is
    /// given), and proves that it comes to the same. The canister has no turn meanwhile.
    pub fn replay(
        &self,
        name: &str,
        from: Option<u64>,
    ) -> Result<Replayed, ReplayError<CanisterError>> {
        let slot = self.slot(name).map_err(ReplayError::Run)?;
        let mut found = None;
        let with = self.with(&slot, |canister| {
            let (shop, home) = (canister.shop.clone(), canister.home.clone());
            found = Some(replay::replay(&home, from, |document| {
                Canister::of_past(&shop, &home, document)
            }));
            Ok(())
        });
        with.map_err(ReplayError::Run)?;
        found.unwrap_or_else(|| {
            let none = CanisterError::NoCanister(name.to_owned(), Vec::new());
            Err(ReplayError::Run(none))
        })
    }
}

impl Canister {
    /// As it was at a milestone. What it prints again is for nobody.
    fn of_past(shop: &Arc<Shop>, home: &Path, document: &Document) -> Result<Self, CanisterError> {
        let (journal, _) = Journal::look(&Document::calls(home, document.journal))?;
        let logbook = Logbook::closed();
        Self::at(
            shop,
            home.to_path_buf(),
            document.clone(),
            journal,
            logbook,
            true,
        )
    }
}

impl Again for Canister {
    type Error = CanisterError;

    fn again(&mut self, record: &Record) -> Result<Digest, CanisterError> {
        self.run_again(record)
    }

    fn memory(&self) -> &CanisterMemory {
        &self.memory
    }

    fn state(&self) -> &State {
        &self.state
    }
}
