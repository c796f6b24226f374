//! A clock that stands still until it is moved.

use casemate_control::{Clock, Sleep};
use jiff::Timestamp;
use std::time::Duration;
use tokio::sync::watch;

pub(crate) struct Hands(watch::Sender<Timestamp>);

impl Default for Hands {
    fn default() -> Self {
        Self(watch::Sender::new("2026-01-01T00:00:00Z".parse().unwrap()))
    }
}

impl Hands {
    pub(crate) fn pass(&self, time: Duration) {
        self.0.send_modify(|now| *now += time);
    }
}

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        *self.0.borrow()
    }

    fn sleep_until(&self, at: Timestamp) -> Sleep<'_> {
        let mut now = self.0.subscribe();
        Box::pin(async move {
            now.wait_for(|now| *now >= at).await.unwrap();
        })
    }
}
