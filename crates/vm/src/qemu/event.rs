//! What QEMU's events say of a machine's end.

use crate::driver::How;
use crate::monitor::fate::Fate;
use crate::qmp::Event;

pub(super) fn tell(fate: &Fate, event: &Event) {
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
    fate.note(how);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_reason_is_the_guests_and_not_what_was_asked_for() {
        for (reason, how) in [
            ("guest-shutdown", How::Off),
            ("guest-reset", How::Restarted),
            ("guest-panic", How::Panicked),
            ("host-signal", How::Exited(0)),
        ] {
            let fate = Fate::default();
            let data = json!({ "guest": true, "reason": reason });
            let name = "SHUTDOWN".to_owned();
            tell(&fate, &Event { name, data });
            assert_eq!(fate.ended(Some(Ok(0)), &[]), how, "{reason}");
        }
    }
}
