//! The server of pages: a restored machine begins with no memory at all, and gets each page when it
//! first needs it (userfaultfd(2)).
//!
//! ```text
//!   monitor (hostile)                               this process
//!   ─────────────────                               ────────────
//!   maps memory, registers it
//!   connects, one message: regions, userfaultfd ──▶ handshake: all of it is checked
//!   a processor needs a page, and waits ──────────▶ server ─▶ source: a mapped file, a pack
//!                  the page is there ◀────────────   │
//!   gives pages back, and waits ──────────────────▶ zero from now on
//!   ends; its end of the socket is closed ────────▶ Report
//! ```
//!
//! There is one such process for each machine, so that a monitor that is taken over has one to
//! itself. It ends when the monitor does. If it can't go on, it says so by its exit and lets whoever
//! waits for a page have SIGBUS, so that no machine waits in silence; if it is killed, whoever started
//! it has to end the machine.
//!
//! - [`source`]: what the pages were
//! - `handshake`, `regions`: what the monitor says, checked
//! - `server`: faults, pages given back, pages filled ahead; `marks`: which
//! - `working_set`: what the next restore will need first
//! - [`report`]: what was done
//!
//! See docs/decisions/0029-page-server.md for why it is made so.

mod handshake;
mod marks;
mod regions;
pub mod report;
mod server;
pub mod source;
mod working_set;

pub use report::Report;
pub use source::{Layer, Source};

use casemate_core::error::{Error, Result};
use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use server::Server;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The name of the working set's file, in a snapshot's folder.
pub const WORKING_SET: &str = "working-set";

/// How a machine is served.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long the monitor may take to connect and to say what it has.
    pub patience: Duration,
    /// Where the working set is kept, if it is: what is there is filled ahead.
    pub working_set: Option<PathBuf>,
    /// What is needed up to then is the working set.
    pub settling: Duration,
    /// Whether all other pages with data are filled ahead, too.
    pub everything: bool,
    /// How long to look for the next fault before waiting for it: the processor is busy meanwhile,
    /// and the fault is served sooner.
    pub spin: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(30),
            working_set: None,
            settling: Duration::from_secs(5),
            everything: false,
            spin: Duration::from_micros(50),
        }
    }
}

/// Serves the first machine whose monitor connects, until that is gone.
///
/// # Errors
/// No monitor came, it said or did what none does, or the source can't be read: the machine can't go
/// on.
pub fn serve(listener: UnixListener, source: Source, options: &Options) -> Result<Report> {
    let handed = handshake::take(listener, source.pages(), options.patience)?;
    Server::new(handed, source, options).serve()
}

/// Listens at a path where nothing is yet. Only this user may connect; whoever wants another to
/// changes the file's owner.
///
/// # Errors
/// The path is taken, or too long.
pub fn listen(path: &Path) -> Result<UnixListener> {
    let fail = |errno: rustix::io::Errno| {
        Error::errno("listen at", errno.raw_os_error()).on(path.display())
    };
    let (family, flags) = (AddressFamily::UNIX, SocketFlags::CLOEXEC);
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None).map_err(fail)?;
    // The file gets the permissions that the socket has.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(fail)?;
    let address = SocketAddrUnix::new(path).map_err(fail)?;
    rustix::net::bind(&socket, &address).map_err(fail)?;
    rustix::net::listen(&socket, 1).map_err(fail)?;
    Ok(socket.into())
}
