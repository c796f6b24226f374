//! Streams, the pseudo-terminal, and raw mode.
//!
//! The program never gets the caller's terminal: it could type into it, or read what is typed
//! at others. A stream that is a terminal outside becomes a pseudo-terminal of the sandbox's
//! own, or a pipe; a stream that is a file or a pipe is passed as it is.

use casemate_core::error::{Error, Result};
use casemate_core::spec;
use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::stdio::{stderr, stdin, stdout};
use rustix::termios::{
    OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};

/// Bytes on their way from one descriptor to another.
struct Relay {
    from: OwnedFd,
    to: Option<OwnedFd>,
    waiting: Vec<u8>,
    /// Nothing more will come.
    ended: bool,
}

/// The supervisor's side of the program's streams.
pub(super) struct Terminal {
    relays: Vec<Relay>,
    master: Option<OwnedFd>,
    /// Which streams are on the pseudo-terminal.
    input: bool,
    output: Option<OwnedFd>,
    /// The caller's terminal settings from before raw mode.
    saved: Option<Termios>,
}

type Streams = [Option<OwnedFd>; 3];

impl Terminal {
    /// Decides for each stream; `None` is where the pseudo-terminal goes.
    pub(super) fn prepare(wanted: spec::Terminal) -> Result<(Self, Streams)> {
        let fail = |errno: Errno| Error::errno("set up the streams", errno.raw_os_error());
        let mut terminal = Self {
            relays: Vec::new(),
            master: None,
            input: false,
            output: None,
            saved: None,
        };
        let mut streams: Streams = [None, None, None];
        for (index, fd) in [stdin(), stdout(), stderr()].into_iter().enumerate() {
            let own = rustix::io::dup(fd);
            let own = own.and_then(|own| {
                rustix::io::fcntl_setfd(&own, rustix::io::FdFlags::CLOEXEC).map(|()| own)
            });
            let own = own.map_err(fail)?;
            let to_terminal = match wanted {
                spec::Terminal::Always => true,
                spec::Terminal::Auto => isatty(fd),
                spec::Terminal::Never => false,
            };
            if to_terminal {
                match index {
                    0 => terminal.input = true,
                    _ if terminal.output.is_none() => terminal.output = Some(own),
                    _ => {}
                }
            } else if isatty(fd) {
                let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(fail)?;
                let (inside, relay) = match index {
                    0 => (read, Relay::new(own, write)),
                    _ => (write, Relay::new(read, own)),
                };
                terminal.relays.push(relay);
                streams[index] = Some(inside);
            } else {
                streams[index] = Some(own);
            }
        }
        Ok((terminal, streams))
    }

    /// Takes the master side and starts to relay.
    pub(super) fn attach(&mut self, master: OwnedFd) {
        let flags = rustix::fs::fcntl_getfl(&master).unwrap_or(OFlags::empty());
        let _ = rustix::fs::fcntl_setfl(&master, flags | OFlags::NONBLOCK);
        let dup = |fd: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, 3).ok();
        if let (true, Ok(input), Some(to)) = (
            self.input,
            rustix::io::fcntl_dupfd_cloexec(stdin(), 3),
            dup(&master),
        ) {
            self.relays.push(Relay::new(input, to));
        }
        let output = self
            .output
            .take()
            .or_else(|| rustix::io::fcntl_dupfd_cloexec(stderr(), 3).ok());
        if let (Some(from), Some(output)) = (dup(&master), output) {
            self.relays.push(Relay::new(from, output));
        }
        self.master = Some(master);
        self.make_raw();
        self.resize();
    }

    /// Hands every key to the pseudo-terminal, whose own line discipline makes signals of them.
    pub(super) fn make_raw(&mut self) {
        if self.master.is_none() || !self.input || !isatty(stdin()) {
            return;
        }
        if let Ok(settings) = tcgetattr(stdin()) {
            let mut raw = settings.clone();
            raw.make_raw();
            if tcsetattr(stdin(), OptionalActions::Now, &raw).is_ok() && self.saved.is_none() {
                self.saved = Some(settings);
            }
        }
    }

    /// Gives the caller's terminal its settings back.
    pub(super) fn restore(&mut self) {
        if let Some(settings) = self.saved.take() {
            let _ = tcsetattr(stdin(), OptionalActions::Now, &settings);
        }
    }

    /// Gives the pseudo-terminal the size of the caller's; false if there is none.
    pub(super) fn resize(&self) -> bool {
        let Some(master) = &self.master else {
            return false;
        };
        let size = [stdin(), stdout(), stderr()]
            .into_iter()
            .find_map(|fd| tcgetwinsize(fd).ok());
        if let Some(size) = size {
            let _ = tcsetwinsize(master, size);
        }
        true
    }

    pub(super) fn poll_fds(&self) -> Vec<PollFd<'_>> {
        let mut fds = Vec::with_capacity(self.relays.len());
        for relay in &self.relays {
            match &relay.to {
                Some(to) if !relay.waiting.is_empty() => fds.push(PollFd::new(to, PollFlags::OUT)),
                Some(_) if !relay.ended => fds.push(PollFd::new(&relay.from, PollFlags::IN)),
                _ => {}
            }
        }
        fds
    }

    /// Moves what can be moved without waiting.
    pub(super) fn relay(&mut self) {
        for relay in &mut self.relays {
            relay.step();
        }
        self.relays
            .retain(|relay| relay.to.is_some() || !relay.ended);
    }

    /// After the program's end: everything that it wrote still arrives.
    pub(super) fn drain(&mut self) {
        let outputs = self.relays.drain(..).filter(|relay| !relay.reads_input());
        for mut relay in outputs {
            let patience = rustix::event::Timespec {
                tv_sec: 1,
                tv_nsec: 0,
            };
            while !(relay.ended && relay.waiting.is_empty()) && relay.to.is_some() {
                let mut fds = match (&relay.to, relay.waiting.is_empty()) {
                    (Some(to), false) => [PollFd::new(to, PollFlags::OUT)],
                    _ => [PollFd::new(&relay.from, PollFlags::IN)],
                };
                // A terminal that takes nothing for a second isn't waited for.
                if !rustix::event::poll(&mut fds, Some(&patience)).is_ok_and(|ready| ready > 0) {
                    break;
                }
                relay.step();
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.restore();
    }
}

impl Relay {
    fn new(from: OwnedFd, to: OwnedFd) -> Self {
        Self {
            from,
            to: Some(to),
            waiting: Vec::new(),
            ended: false,
        }
    }

    fn reads_input(&self) -> bool {
        let same = |a: &OwnedFd| {
            let (a, b) = (rustix::fs::fstat(a), rustix::fs::fstat(stdin()));
            matches!((a, b), (Ok(a), Ok(b)) if a.st_rdev == b.st_rdev && a.st_ino == b.st_ino && a.st_dev == b.st_dev)
        };
        // On a terminal, input and output may be the same file; only the input relay reads it.
        same(&self.from)
    }

    fn step(&mut self) {
        if self.waiting.is_empty() && !self.ended && is_ready(&self.from, PollFlags::IN) {
            let mut buffer = [0; 16 << 10];
            match rustix::io::read(&self.from, &mut buffer) {
                Ok(0) | Err(Errno::IO) => self.end(),
                Ok(count) => self.waiting.extend(&buffer[..count]),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => self.end(),
            }
        }
        if let Some(to) = &self.to
            && !self.waiting.is_empty()
            && is_ready(to, PollFlags::OUT)
        {
            // A terminal that is ready takes a little without blocking, not any amount.
            let count = self.waiting.len().min(2048);
            match rustix::io::write(to, &self.waiting[..count]) {
                Ok(count) => {
                    self.waiting.drain(..count);
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => {
                    self.waiting.clear();
                    self.to = None;
                    self.ended = true;
                }
            }
        }
        if self.ended && self.waiting.is_empty() {
            self.to = None;
        }
    }

    /// The source is dry. A pseudo-terminal's reader learns that by Ctrl-D, a pipe's by its
    /// closing.
    fn end(&mut self) {
        self.ended = true;
        if let Some(to) = &self.to
            && isatty(to)
            && rustix::pty::ptsname(to, Vec::new()).is_ok()
        {
            self.waiting.push(4);
        }
    }
}

fn is_ready(fd: impl AsFd, flags: PollFlags) -> bool {
    let now = rustix::event::Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut fds = [PollFd::new(&fd, flags)];
    rustix::event::poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
}
