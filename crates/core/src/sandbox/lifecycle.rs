//! What a sandbox may do next.
//!
//! ```text
//!            ┌──────────┐ made   ┌─────────┐ pause   ┌─────────┐
//!   create ─▶│ Creating ├───────▶│ Running ├────────▶│ Pausing │
//!            └────┬─────┘        └─┬──▲──▲─┘         └─┬────┬──┘
//!                 │                │  │  └── failed ────┘    │ done
//!                 │                │  │ done               ┌─▼──────┐
//!                 │                │ ┌┴─────────┐  resume  │ Paused │
//!                 │                │ │ Resuming │◀─────────┤        │
//!                 │                │ └────┬─────┘          └─┬──────┘
//!                 │ kill      kill │      │ kill        kill │
//!                 │              ┌─▼──────▼─┐                │
//!                 └─────────────▶│ Stopping │◀───────────────┘
//!                                └────┬─────┘
//!                                     ▼
//!                                  Stopped          any of them ──▶ Failed
//! ```
//!
//! Each transition is a method that gives the next state, or says why it isn't possible.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Where in its life a sandbox is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is being made.
    Creating,
    /// Programs run in it.
    Running,
    /// Its programs are being stopped.
    Pausing,
    /// Nothing in it runs.
    Paused,
    /// Its programs are being continued.
    Resuming,
    /// It is being taken down.
    Stopping,
    /// It is gone.
    Stopped,
    /// It broke, and is gone.
    Failed,
}

/// A transition that a state doesn't have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denied {
    /// What was asked.
    pub wanted: &'static str,
    /// The state that doesn't have it.
    pub state: State,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "can't {} a sandbox that is {}", self.wanted, self.state)
    }
}

impl std::error::Error for Denied {}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Creating => "creating",
            Self::Running => "running",
            Self::Pausing => "pausing",
            Self::Paused => "paused",
            Self::Resuming => "resuming",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        })
    }
}

impl State {
    /// A sandbox that is being made, continued or (if that failed) paused runs.
    pub fn run(self) -> Result<Self, Denied> {
        match self {
            Self::Creating | Self::Resuming | Self::Pausing => Ok(Self::Running),
            _ => self.denied("start"),
        }
    }

    /// A running one is to be paused.
    pub fn pause(self) -> Result<Self, Denied> {
        match self {
            Self::Running => Ok(Self::Pausing),
            _ => self.denied("pause"),
        }
    }

    /// One that was to be paused, or could not be continued, is.
    pub fn paused(self) -> Result<Self, Denied> {
        match self {
            Self::Pausing | Self::Resuming => Ok(Self::Paused),
            _ => self.denied("call paused"),
        }
    }

    /// A paused one is to be continued.
    pub fn resume(self) -> Result<Self, Denied> {
        match self {
            Self::Paused => Ok(Self::Resuming),
            _ => self.denied("resume"),
        }
    }

    /// One that isn't gone is to be taken down.
    pub fn stop(self) -> Result<Self, Denied> {
        match self {
            Self::Stopping | Self::Stopped | Self::Failed => self.denied("stop"),
            _ => Ok(Self::Stopping),
        }
    }

    /// One that was to be taken down is gone.
    pub fn stopped(self) -> Result<Self, Denied> {
        match self {
            Self::Stopping => Ok(Self::Stopped),
            _ => self.denied("call stopped"),
        }
    }

    /// One that isn't gone broke.
    pub fn fail(self) -> Result<Self, Denied> {
        match self.is_over() {
            true => self.denied("fail"),
            false => Ok(Self::Failed),
        }
    }

    /// True if it is gone for good.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Stopped | Self::Failed)
    }

    fn denied(self, wanted: &'static str) -> Result<Self, Denied> {
        Err(Denied {
            wanted,
            state: self,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::State;

    #[test]
    fn a_life_with_a_pause() {
        let end = State::Creating
            .run()
            .and_then(State::pause)
            .and_then(State::paused)
            .and_then(State::resume)
            .and_then(State::run)
            .and_then(State::stop)
            .and_then(State::stopped);
        assert_eq!(end, Ok(State::Stopped));
    }

    #[test]
    fn what_is_gone_stays_gone() {
        for state in [State::Stopped, State::Failed] {
            assert!(state.run().is_err());
            assert!(state.pause().is_err());
            assert!(state.resume().is_err());
            assert!(state.stop().is_err());
            assert!(state.fail().is_err());
        }
    }

    #[test]
    fn the_denial_says_what_was_asked_of_what() {
        let denied = State::Paused.pause().map_err(|denied| denied.to_string());
        assert_eq!(denied, Err("can't pause a sandbox that is paused".into()));
    }
}
