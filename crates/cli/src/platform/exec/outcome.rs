//! How a command ended, as an exit code.

use casemate_proto::process::process_event::EndEvent;
use casemate_proto::signal;

/// Its own status, or 128 + N for signal N; `None` if nobody knows.
pub(super) fn code(end: &EndEvent) -> Option<u8> {
    if end.exited {
        return u8::try_from(end.exit_code).ok();
    }
    let words = end.status.strip_prefix("signal: ")?;
    let words = words.strip_suffix(" (core dumped)").unwrap_or(words);
    128u8.checked_add(signal::number(words)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_codes() {
        for (code, exited, status, expected) in [
            (0, true, "exit status 0", Some(0)),
            (3, true, "exit status 3", Some(3)),
            (-1, false, "signal: killed", Some(137)),
            (
                -1,
                false,
                "signal: segmentation fault (core dumped)",
                Some(139),
            ),
            (-1, false, "signal: signal 31", Some(159)),
            (-1, false, "signal: signal 200", None),
            (-1, false, "unknown status", None),
        ] {
            let end = EndEvent {
                exit_code: code,
                exited,
                status: status.into(),
                ..EndEvent::default()
            };
            assert_eq!(super::code(&end), expected, "{status}");
        }
    }
}
