//! Pseudo-terminals (pty(7)).

use casemate_proto::process::PTY;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

/// Both sides of a terminal.
pub(super) struct Terminal {
    /// Ours; doesn't block.
    pub(super) master: OwnedFd,
    /// The program's.
    pub(super) slave: OwnedFd,
}

impl Terminal {
    /// A new one of this size, which belongs to `owner`. The program's side is taken from ours
    /// and not by its name, which the sandbox could have put elsewhere.
    pub(super) fn open(size: &PTY, owner: Option<u32>) -> Result<Self, Errno> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = rustix::pty::openpt(flags)?;
        rustix::pty::unlockpt(&master)?;
        let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
        if let Some(owner) = owner {
            let owner = rustix::process::Uid::from_raw(owner);
            rustix::fs::fchown(&slave, Some(owner), None)?;
        }
        resize(&master, size)?;
        rustix::io::ioctl_fionbio(&master, true)?;
        Ok(Self { master, slave })
    }
}

/// Tells the terminal's programs its size, of which 0 means unknown.
pub(super) fn resize(master: impl AsFd, size: &PTY) -> Result<(), Errno> {
    let within = |cells: u32| u16::try_from(cells).unwrap_or(u16::MAX);
    let size = Winsize {
        ws_row: within(size.size.rows),
        ws_col: within(size.size.cols),
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(master, size)
}
