//! What is known of how a machine ends, from what its monitor said and from its process.
//!
//! The process's end is what counts; what came before says why. A guest that owns its monitor can lie
//! about the reason, and about nothing else.

use crate::driver::How;
use std::sync::{Mutex, PoisonError};

#[derive(Debug, Default)]
pub(crate) struct Fate {
    noted: Mutex<Option<How>>,
    /// What it means that the monitor has simply ended, if it means something.
    plain: Option<How>,
}

impl Fate {
    /// Of a monitor that ends, with a status of zero, for this reason.
    pub(crate) fn meaning(plain: How) -> Self {
        Self {
            noted: Mutex::default(),
            plain: Some(plain),
        }
    }

    /// The first reason stays, but a panic explains the restart that follows it, and comes first.
    pub(crate) fn note(&self, how: How) {
        let mut fate = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        fate.get_or_insert(how);
    }

    /// The whole truth, when the process has ended so (`Err` is a signal) and said this.
    pub(crate) fn ended(&self, status: Option<Result<i32, i32>>, console: &[String]) -> How {
        let noted = self
            .noted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        // A kernel without a driver for the device that tells of it says so on its console, and
        // restarts.
        let has_panicked = console
            .iter()
            .any(|line| line.contains("Kernel panic - not syncing"));
        match (noted, status) {
            (Some(How::Restarted | How::Off), _) if has_panicked => How::Panicked,
            (Some(how), _) => how,
            (None, Some(Err(signal))) => How::Killed(signal),
            (None, Some(Ok(_))) if has_panicked => How::Panicked,
            (None, Some(Ok(0))) => self.plain.clone().unwrap_or(How::Exited(0)),
            (None, Some(Ok(code))) => How::Exited(code),
            (None, None) => How::Lost("somebody else has waited for its process".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_what_was_said_before_the_end() {
        let fate = Fate::default();
        assert_eq!(fate.ended(Some(Ok(0)), &[]), How::Exited(0));
        assert_eq!(fate.ended(Some(Ok(1)), &[]), How::Exited(1));
        assert_eq!(fate.ended(Some(Err(9)), &[]), How::Killed(9));
        fate.note(How::Off);
        assert_eq!(fate.ended(Some(Ok(0)), &[]), How::Off);
    }

    #[test]
    fn a_plain_end_means_what_the_monitor_says_by_it() {
        let fate = Fate::meaning(How::Off);
        assert_eq!(fate.ended(Some(Ok(0)), &[]), How::Off);
        assert_eq!(fate.ended(Some(Ok(1)), &[]), How::Exited(1));
        let console = ["Kernel panic - not syncing".to_owned()];
        assert_eq!(fate.ended(Some(Ok(0)), &console), How::Panicked);
    }

    #[test]
    fn a_restart_after_a_panic_is_a_panic() {
        let console = ["[ 1.0] Kernel panic - not syncing: sysrq".to_owned()];
        let fate = Fate::default();
        fate.note(How::Restarted);
        assert_eq!(fate.ended(Some(Ok(0)), &[]), How::Restarted);
        assert_eq!(fate.ended(Some(Ok(0)), &console), How::Panicked);
        let killed = Fate::default();
        assert_eq!(killed.ended(Some(Err(9)), &console), How::Killed(9));
    }

    #[test]
    fn what_the_host_asked_for_stays() {
        let fate = Fate::default();
        fate.note(How::Asked);
        fate.note(How::Restarted);
        assert_eq!(fate.ended(Some(Err(9)), &[]), How::Asked);
    }
}
