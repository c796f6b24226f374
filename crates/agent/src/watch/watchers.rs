//! Watches that are asked, by clients that can't hold a stream open.

use super::event::Event;
use super::{Wanted, Watch};
use crate::fault::{Cause, Fault, Result};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Watches at a time; each takes one of the kernel's inotify instances, which the sandbox's
/// programs want too.
const MOST: usize = 64;

/// The watches that are asked, each under the id that its client was given.
#[derive(Default)]
pub(crate) struct Watchers(Mutex<HashMap<String, Watch>>);

impl Watchers {
    /// Begins to watch, and returns the id to ask with.
    pub(crate) async fn create(&self, wanted: Wanted) -> Result<String> {
        self.room()?;
        let watch = Watch::new(wanted).await?;
        let id = id()?;
        // Others may have begun meanwhile.
        self.room()?;
        self.all().insert(id.clone(), watch);
        Ok(id)
    }

    /// What has happened since this id was last asked.
    pub(crate) fn events(&self, id: &str) -> Result<Vec<Event>> {
        match self.all().get(id) {
            Some(watch) => watch.take(),
            None => Err(unknown(id)),
        }
    }

    /// Ends a watch.
    pub(crate) fn remove(&self, id: &str) -> Result<()> {
        self.all().remove(id).map(drop).ok_or_else(|| unknown(id))
    }

    fn room(&self) -> Result<()> {
        match self.all().len() < MOST {
            true => Ok(()),
            false => Err(Fault::new(
                Cause::Bound,
                format!("cannot watch: there are {MOST} watchers already; remove some"),
            )),
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Watch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A number that another client doesn't guess.
fn id() -> Result<String> {
    let mut random = [0; 16];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| Fault::new(Cause::Refused, format!("cannot name a watcher: {errno}")))?;
    Ok(format!("w{:032x}", u128::from_ne_bytes(random)))
}

fn unknown(id: &str) -> Fault {
    let shown: String = id.chars().take(64).collect();
    Fault::new(Cause::Missing, format!("watcher with id {shown} not found"))
}
