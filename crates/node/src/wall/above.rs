//! The folders above those of the host's system, which a user other than root needs for root inside
//! to write there. Without them, those folders are only read.
//!
//! To make them takes seconds, once in a while, and to look whether they are whole a part of one. So
//! that is done beside everything else, and only who wants a sandbox waits for it.

use casemate_core::error::Result;
use casemate_jail::layers::skeleton::{Shelf, Skeleton};
use std::path::{Path, PathBuf};
use tokio::sync::watch;

/// See the module.
pub(super) struct Above(watch::Receiver<State>);

enum State {
    Making,
    There(Skeleton),
    Nothing,
}

impl Above {
    /// None are wanted.
    pub(super) fn nothing() -> Self {
        Self(watch::channel(State::Nothing).1)
    }

    /// Takes them from a shelf, or makes them.
    pub(super) fn prepare(place: &Path) -> Self {
        let (sender, receiver) = watch::channel(State::Making);
        let place = place.to_owned();
        let make = move || {
            let made = take(&place);
            let shelf = made.map(|(shelf, skeleton)| {
                sender.send_replace(State::There(skeleton));
                shelf
            });
            match shelf {
                Ok(shelf) => shelf.tidy(),
                Err(error) => {
                    tracing::warn!(%error, "root in sandboxes can't write to /usr");
                    sender.send_replace(State::Nothing);
                }
            }
        };
        let thread = std::thread::Builder::new().name("skeleton".to_owned());
        // Without a thread, nobody sends anything, and that is nothing.
        let _ = thread.spawn(make);
        Self(receiver)
    }

    /// Waits until it is known whether there are any.
    pub(super) async fn ready(&self) {
        let mut state = self.0.clone();
        let _ = state
            .wait_for(|state| !matches!(state, State::Making))
            .await;
    }

    /// Where they are.
    pub(super) fn path(&self) -> Option<PathBuf> {
        match &*self.0.borrow() {
            State::There(skeleton) => Some(skeleton.path().to_owned()),
            State::Making | State::Nothing => None,
        }
    }
}

fn take(place: &Path) -> Result<(Shelf, Skeleton)> {
    let shelf = Shelf::open(place)?;
    let skeleton = shelf.take()?;
    Ok((shelf, skeleton))
}
