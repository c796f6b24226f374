//! The folders above those of the host's system, which a user other than root needs for root inside
//! to write there. Without them, those folders are only read.
//!
//! To make them takes seconds, once in a while, and to look whether they are whole a part of one. So
//! that is done beside everything else, and only who wants a sandbox waits for it.

use casemate_core::error::{Error, Result};
use casemate_jail::layers::skeleton::{Shelf, Skeleton};
use std::path::PathBuf;
use tokio::sync::watch;

/// See the module.
pub(super) struct Above {
    state: watch::Sender<State>,
    /// Where they may be kept: in the first one where they can be.
    places: Vec<PathBuf>,
}

enum State {
    Making,
    There(Skeleton),
    Nothing,
}

impl Above {
    /// None are wanted.
    pub(super) fn nothing() -> Self {
        let (state, places) = (watch::Sender::new(State::Nothing), Vec::new());
        Self { state, places }
    }

    /// Takes them from a shelf, or makes them.
    pub(super) fn prepare(places: Vec<PathBuf>) -> Self {
        let state = watch::Sender::new(State::Making);
        let above = Self { state, places };
        above.make();
        above
    }

    fn make(&self) {
        let (state, places) = (self.state.clone(), self.places.clone());
        let make = move || match take(&places) {
            Ok((shelf, skeleton)) => {
                state.send_replace(State::There(skeleton));
                shelf.tidy();
            }
            Err(error) => {
                tracing::warn!(%error, "root in sandboxes can't write to /usr");
                state.send_replace(State::Nothing);
            }
        };
        let thread = std::thread::Builder::new().name("skeleton".to_owned());
        if thread.spawn(make).is_err() {
            self.state.send_replace(State::Nothing);
        }
    }

    /// Waits until it is known whether there are any.
    pub(super) async fn ready(&self) {
        let is_gone = self.state.send_if_modified(|state| {
            let is_gone = matches!(state, State::There(skeleton) if !skeleton.stands());
            if is_gone {
                *state = State::Making;
            }
            is_gone
        });
        if is_gone {
            self.make();
        }
        let mut state = self.state.subscribe();
        let _ = state
            .wait_for(|state| !matches!(state, State::Making))
            .await;
    }

    /// Where they are.
    pub(super) fn path(&self) -> Option<PathBuf> {
        match &*self.state.borrow() {
            State::There(skeleton) => Some(skeleton.path().to_owned()),
            State::Making | State::Nothing => None,
        }
    }
}

/// From the first place where there can be any; what is wrong with the last one if there is none.
fn take(places: &[PathBuf]) -> Result<(Shelf, Skeleton)> {
    let from = |place: &PathBuf| {
        let shelf = Shelf::open(place)?;
        let skeleton = shelf.take()?;
        Ok((shelf, skeleton))
    };
    let mut last = Error::rule(
        "make folders above those of the system",
        "there is no place",
    );
    for place in places {
        match from(place) {
            Ok(taken) => return Ok(taken),
            Err(error) => last = error,
        }
    }
    Err(last)
}
