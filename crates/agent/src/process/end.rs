//! How a process ended, in the words that clients know.

use casemate_proto::process::process_event::EndEvent;
use casemate_proto::signal;
use rustix::process::WaitIdStatus;

/// The end of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct End {
    /// -1 if a signal ended it.
    code: i32,
    exited: bool,
    status: String,
}

impl End {
    /// From what waitid(2) said.
    pub(super) fn new(status: &WaitIdStatus) -> Self {
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Self::exit(code),
            (None, Some(signal)) => Self::signal(signal, status.dumped()),
            (None, None) => Self::failed("unknown status"),
        }
    }

    fn exit(code: i32) -> Self {
        Self {
            code,
            exited: true,
            status: format!("exit status {code}"),
        }
    }

    fn signal(number: i32, dumped: bool) -> Self {
        let core = if dumped { " (core dumped)" } else { "" };
        let status = format!("signal: {}{core}", signal::words(number));
        Self {
            code: -1,
            exited: false,
            status,
        }
    }

    /// One that couldn't be found out.
    pub(super) fn failed(why: &str) -> Self {
        Self {
            code: -1,
            exited: false,
            status: why.to_owned(),
        }
    }

    /// As clients are told. The error repeats the status of an end that isn't a success.
    pub(super) fn event(self) -> EndEvent {
        let success = self.exited && self.code == 0;
        EndEvent {
            exit_code: self.code,
            exited: self.exited,
            error: (!success).then(|| self.status.clone()),
            status: self.status,
            ..EndEvent::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_have_the_words_that_clients_know() {
        for (end, code, status) in [
            (End::exit(0), 0, "exit status 0"),
            (End::exit(3), 3, "exit status 3"),
            (End::signal(9, false), -1, "signal: killed"),
            (End::signal(15, false), -1, "signal: terminated"),
            (
                End::signal(11, true),
                -1,
                "signal: segmentation fault (core dumped)",
            ),
            (End::signal(31, false), -1, "signal: signal 31"),
        ] {
            let event = end.event();
            assert_eq!((event.exit_code, event.status.as_str()), (code, status));
            assert_eq!(event.exited, code >= 0);
            assert_eq!(event.error.as_deref(), (code != 0).then_some(status));
        }
    }
}
