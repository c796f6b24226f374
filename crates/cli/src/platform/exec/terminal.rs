//! The caller's terminal.

use casemate_proto::process::PTY;
use casemate_proto::process::pty::Size;
use rustix::stdio::{stderr, stdin, stdout};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// The size of the caller's terminal; the usual one if there is none.
pub(super) fn size() -> PTY {
    let found = [stdout(), stdin(), stderr()]
        .into_iter()
        .find_map(|fd| tcgetwinsize(fd).ok())
        .map(|size| (u32::from(size.ws_col), u32::from(size.ws_row)))
        .filter(|(cols, rows)| *cols > 0 && *rows > 0);
    let (cols, rows) = found.unwrap_or((80, 24));
    let size = Size {
        cols,
        rows,
        ..Size::default()
    };
    PTY {
        size: size.into(),
        ..PTY::default()
    }
}

/// Every key goes to the command as it is, Ctrl+C too, until this is dropped.
pub(super) struct Raw(Termios);

impl Raw {
    /// `None` if standard input is no terminal.
    pub(super) fn enter() -> Option<Self> {
        let before = tcgetattr(stdin()).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Drain, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs no settings.
        let _ = tcsetattr(stdin(), OptionalActions::Drain, &self.0);
    }
}
