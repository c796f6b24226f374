//! What is known of how a machine ends, from QEMU's events and its process.
//!
//! The process's end is what counts; the events before it say why. A guest that owns QEMU can lie
//! about the reason, and about nothing else.

use crate::driver::How;
use crate::qmp::Event;
use std::sync::{Mutex, PoisonError};

#[derive(Debug, Default)]
pub(super) struct Fate(Mutex<Option<How>>);

impl Fate {
    /// The first reason stays, but a panic explains the restart that follows it, and comes first.
    pub(super) fn note(&self, how: How) {
        let mut fate = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        fate.get_or_insert(how);
    }

    pub(super) fn event(&self, event: &Event) {
        let how = match event.name.as_str() {
            "GUEST_PANICKED" => How::Panicked,
            "SHUTDOWN" => match event.data["reason"].as_str() {
                Some("guest-shutdown") => How::Off,
                Some("guest-reset") => How::Restarted,
                Some("guest-panic") => How::Panicked,
                // A signal, or what we asked for.
                _ => return,
            },
            _ => return,
        };
        self.note(how);
    }

    /// The whole truth, when the process has ended so (`Err` is a signal) and said this.
    pub(super) fn ended(&self, status: Option<Result<i32, i32>>, console: &[String]) -> How {
        let noted = self
            .0
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
            (None, Some(Ok(code))) => How::Exited(code),
            (None, None) => How::Lost("somebody else has waited for its process".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shutdown(reason: &str) -> Event {
        let data = json!({ "guest": true, "reason": reason });
        let name = "SHUTDOWN".to_owned();
        Event { name, data }
    }

    #[test]
    fn the_reason_is_what_was_said_before_the_end() {
        let fate = Fate::default();
        assert_eq!(fate.ended(Some(Ok(1)), &[]), How::Exited(1));
        assert_eq!(fate.ended(Some(Err(9)), &[]), How::Killed(9));
        fate.event(&shutdown("guest-shutdown"));
        assert_eq!(fate.ended(Some(Ok(0)), &[]), How::Off);
    }

    #[test]
    fn a_restart_after_a_panic_is_a_panic() {
        let console = ["[ 1.0] Kernel panic - not syncing: sysrq".to_owned()];
        let fate = Fate::default();
        fate.event(&shutdown("guest-reset"));
        assert_eq!(fate.ended(Some(Ok(0)), &[]), How::Restarted);
        assert_eq!(fate.ended(Some(Ok(0)), &console), How::Panicked);
        let killed = Fate::default();
        assert_eq!(killed.ended(Some(Err(9)), &console), How::Killed(9));
    }

    #[test]
    fn what_the_host_asked_for_stays() {
        let fate = Fate::default();
        fate.note(How::Asked);
        fate.event(&shutdown("guest-reset"));
        assert_eq!(fate.ended(Some(Err(9)), &[]), How::Asked);
    }
}
