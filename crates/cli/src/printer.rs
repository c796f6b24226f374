//! What is said: results on standard output, and all else on standard error.

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, open};
use std::io::Write;

/// An error; its hint, if any, is a line of its own already.
pub(crate) fn error(text: &str) {
    line(&format!("error: {text}"));
}

/// Something that the caller should know, of a run that goes on.
pub(crate) fn note(text: &str) {
    line(&format!("note: {text}"));
}

/// What was asked for, on standard output.
///
/// # Errors
/// It can't be written.
pub(crate) fn say(text: &str) -> anyhow::Result<()> {
    let said = std::io::stdout().write_all(printable(text).as_bytes());
    said.context("writing to standard output")
}

/// A line of Casemate's own, told from the program's by its name.
pub(crate) fn line(text: &str) {
    let text = format!("casemate: {}\n", printable(text));
    match terminal() {
        Some(terminal) => tell(&terminal, text.as_bytes()),
        // Nobody is left to tell if standard error is closed.
        None => drop(std::io::stderr().write_all(text.as_bytes())),
    }
}

/// Standard error, if it is a terminal, opened anew so that it doesn't block: at one that nobody
/// reads, a limit would otherwise end the program but never this process.
fn terminal() -> Option<OwnedFd> {
    let stderr = rustix::stdio::stderr();
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let is_terminal = rustix::termios::isatty(stderr);
    is_terminal
        .then(|| open("/proc/self/fd/2", flags, Mode::empty()).ok())
        .flatten()
}

fn tell(terminal: &OwnedFd, mut text: &[u8]) {
    let patience = Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    while !text.is_empty() {
        let mut fds = [PollFd::new(terminal, PollFlags::OUT)];
        if !poll(&mut fds, Some(&patience)).is_ok_and(|ready| ready > 0) {
            return;
        }
        match rustix::io::write(terminal, text) {
            Ok(count) => text = &text[count..],
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// File names and archives may hold escape sequences, which must not reach a terminal.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' => shown.push(letter),
            letter if letter.is_control() => shown.extend(letter.escape_default()),
            letter => shown.push(letter),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    #[test]
    fn escape_sequences_are_shown_not_sent() {
        assert_eq!(
            super::printable("a\u{1b}]0;x\u{7}\nb"),
            "a\\u{1b}]0;x\\u{7}\nb"
        );
    }
}
