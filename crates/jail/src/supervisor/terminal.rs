//! Streams, the pseudo-terminal, and raw mode.
//!
//! The program never gets the caller's terminal: it could type into it, or read what is typed
//! at others. A stream that is a terminal outside becomes a pseudo-terminal of the sandbox's
//! own, or a pipe, and a socket becomes a pipe; a file or a pipe is passed as it is.

use casemate_core::error::{Error, Result};
use casemate_core::spec;
use casemate_sys::signal::Signals;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Signal;
use rustix::stdio::{stderr, stdin, stdout};
use rustix::termios::{
    OptionalActions, Termios, Winsize, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};

/// Bytes on their way from one descriptor to another.
struct Relay {
    from: OwnedFd,
    to: Option<OwnedFd>,
    waiting: Vec<u8>,
    /// Nothing more will come.
    ended: bool,
    /// It reads what is typed at the caller's terminal.
    reads_terminal: bool,
    /// It carries what the program writes.
    is_output: bool,
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
    /// True while this process may read the caller's terminal (tcgetpgrp(3)).
    foreground: bool,
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
            foreground: true,
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
            } else if isatty(fd) || is_socket(fd) {
                let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(fail)?;
                let (inside, relay) = match index {
                    0 => (read, Relay::input(own, write)),
                    _ => (write, Relay::output(read, own)),
                };
                terminal.relays.push(relay);
                streams[index] = Some(inside);
            } else {
                streams[index] = Some(own);
            }
        }
        Ok((terminal, streams))
    }

    /// True if the program reads from a pseudo-terminal.
    pub(super) fn takes_input(&self) -> bool {
        self.input
    }

    /// Looks whether the caller's shell has put this process into the foreground or the
    /// background, and takes or leaves the terminal.
    fn look_at_foreground(&mut self) {
        let input = stdin();
        if !isatty(input) {
            return;
        }
        let group = rustix::process::getpgrp();
        let foreground = rustix::termios::tcgetpgrp(input).is_ok_and(|owner| owner == group);
        if foreground != self.foreground {
            self.foreground = foreground;
            match foreground {
                true => self.make_raw(),
                // The settings are the shell's own again.
                false => self.saved = None,
            }
        }
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
            self.relays.push(Relay::input(input, to));
        }
        let output = self
            .output
            .take()
            .or_else(|| rustix::io::fcntl_dupfd_cloexec(stderr(), 3).ok());
        if let (Some(from), Some(output)) = (dup(&master), output) {
            self.relays.push(Relay::output(from, output));
        }
        self.master = Some(master);
        self.look_at_foreground();
        self.make_raw();
    }

    /// Hands every key to the pseudo-terminal, whose own line discipline makes signals of them.
    pub(super) fn make_raw(&mut self) {
        if self.master.is_none() || !self.input || !self.foreground || !isatty(stdin()) {
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

    /// Gives the caller's terminal its settings back; true if it had others.
    pub(super) fn restore(&mut self) -> bool {
        let Some(settings) = self.saved.take() else {
            return false;
        };
        let _ = tcsetattr(stdin(), OptionalActions::Now, &settings);
        true
    }

    /// Gives the pseudo-terminal the size of the caller's; false if there is none.
    pub(super) fn resize(&self) -> bool {
        let Some(master) = &self.master else {
            return false;
        };
        if let Some(size) = Self::size() {
            let _ = tcsetwinsize(master, size);
        }
        true
    }

    /// The size of the caller's terminal.
    pub(super) fn size() -> Option<Winsize> {
        let mut streams = [stdin(), stdout(), stderr()].into_iter();
        streams.find_map(|fd| tcgetwinsize(fd).ok())
    }

    pub(super) fn poll_fds(&self) -> Vec<PollFd<'_>> {
        let active = self
            .relays
            .iter()
            .filter(|relay| relay.may_move(self.foreground));
        active.filter_map(Relay::waits_for).collect()
    }

    /// Moves what can be moved without waiting.
    pub(super) fn relay(&mut self) {
        if self.relays.is_empty() {
            return;
        }
        self.look_at_foreground();
        let foreground = self.foreground;
        for relay in &mut self.relays {
            if relay.may_move(foreground) {
                relay.step();
            }
        }
        self.relays.retain(|relay| relay.to.is_some());
    }

    /// After the program's end: what it wrote still arrives, however slow the reader is, unless
    /// a signal says not to wait, or it was stopped for a limit.
    pub(super) fn drain(&mut self, signals: &Signals, patient: bool) {
        let impatience = Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        let patience = if patient { None } else { Some(&impatience) };
        for mut relay in self.relays.drain(..).filter(|relay| relay.is_output) {
            while let Some(wait) = relay.waits_for() {
                let mut fds = [wait, PollFd::new(signals, PollFlags::IN)];
                if !rustix::event::poll(&mut fds, patience).is_ok_and(|ready| ready > 0) {
                    break;
                }
                let told = !fds[1].revents().is_empty();
                if told && signals.next().is_some_and(|arrival| ends(arrival.number)) {
                    break;
                }
                relay.step();
            }
        }
    }
}

/// A socket that the caller has is one of the host's network: it could be connected anew, or sent
/// from to any address, so its bytes come by a pipe.
fn is_socket(fd: BorrowedFd<'_>) -> bool {
    let kind = rustix::fs::fstat(fd).map(|stat| FileType::from_raw_mode(stat.st_mode));
    kind.is_ok_and(FileType::is_socket)
}

/// Signals by which a caller ends a program.
pub(super) fn ends(number: i32) -> bool {
    [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM]
        .iter()
        .any(|signal| signal.as_raw() == number)
}

/// The caller's terminal, opened anew: non-blocking, which the caller's own descriptor must not
/// become, since it is shared with the caller's shell.
fn reopen(fd: BorrowedFd<'_>) -> Option<OwnedFd> {
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
        .ok()
        .filter(|fd| isatty(fd))
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.restore();
    }
}

impl Relay {
    fn input(from: OwnedFd, to: OwnedFd) -> Self {
        let reads_terminal = isatty(&from);
        Self {
            from,
            to: Some(to),
            waiting: Vec::new(),
            ended: false,
            reads_terminal,
            is_output: false,
        }
    }

    fn output(from: OwnedFd, to: OwnedFd) -> Self {
        let to = reopen(to.as_fd()).unwrap_or(to);
        Self {
            from,
            to: Some(to),
            waiting: Vec::new(),
            ended: false,
            reads_terminal: false,
            is_output: true,
        }
    }

    /// From the background, the terminal isn't read: that would stop this process.
    fn may_move(&self, foreground: bool) -> bool {
        foreground || !self.reads_terminal
    }

    /// What it needs before it can go on; `None` if it is over.
    fn waits_for(&self) -> Option<PollFd<'_>> {
        match &self.to {
            Some(to) if !self.waiting.is_empty() => Some(PollFd::new(to, PollFlags::OUT)),
            Some(_) if !self.ended => Some(PollFd::new(&self.from, PollFlags::IN)),
            _ => None,
        }
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
            match rustix::io::write(to, &self.waiting) {
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
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let mut fds = [PollFd::new(&fd, flags)];
    rustix::event::poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
}
