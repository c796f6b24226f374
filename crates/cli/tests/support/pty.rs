//! Somebody at a terminal: types, waits for what must appear, and says all that was seen if it
//! doesn't.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use crate::sandbox::Stage;
use crate::support::{end_of, start};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetwinsize};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::chown;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

/// How long something may take to appear.
const SOON: Duration = Duration::from_secs(15);

/// Keys that a terminal makes signals or the end of input of.
pub(crate) const CTRL_C: &str = "\x03";
pub(crate) const CTRL_D: &str = "\x04";
pub(crate) const CTRL_Z: &str = "\x1a";
pub(crate) const CTRL_BACKSLASH: &str = "\x1c";

/// A terminal with a program at it, which leads a session of its own.
pub(crate) struct Seat {
    master: Option<File>,
    /// Keeps the terminal alive, so that its settings can be read at any time.
    slave: OwnedFd,
    child: Child,
    seen: Vec<u8>,
    /// How much of it was waited for already.
    read: usize,
}

impl Seat {
    /// Starts a program of the stage's caller at a new terminal.
    pub(crate) fn start<S: AsRef<OsStr>>(
        stage: &Stage,
        program: impl AsRef<OsStr>,
        args: impl IntoIterator<Item = S>,
    ) -> Self {
        let (master, slave) = open_terminal(stage);
        // A group leader's setsid(1) would fork; a child of std::process isn't one.
        let mut command = stage.command("setsid");
        command
            .arg("--ctty")
            .arg(program)
            .args(args)
            .env("TERM", "dumb")
            .env("PS1", "ready> ");
        command
            .stdin(slave.try_clone().unwrap())
            .stdout(slave.try_clone().unwrap())
            .stderr(slave.try_clone().unwrap());
        let child = start(&mut command);
        Self {
            master: Some(master),
            slave,
            child,
            seen: Vec::new(),
            read: 0,
        }
    }

    /// Starts `casemate run ARGS`.
    pub(crate) fn run<'a>(stage: &Stage, args: impl IntoIterator<Item = &'a str>) -> Self {
        let args = std::iter::once("run").chain(args).map(OsStr::new);
        Self::start(stage, stage.path("casemate"), args)
    }

    /// Starts an interactive shell, outside of any sandbox.
    pub(crate) fn shell(stage: &Stage) -> Self {
        let mut seat = Self::start(stage, "/usr/bin/bash", ["--norc", "--noprofile", "-i"]);
        seat.expect("ready> ");
        seat
    }

    fn master(&self) -> &File {
        self.master.as_ref().expect("the terminal is still open")
    }

    pub(crate) fn type_in(&mut self, keys: &str) {
        self.master().write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until this appears after what was waited for before; returns what was between.
    #[track_caller]
    pub(crate) fn expect(&mut self, text: &str) -> String {
        let started = Instant::now();
        loop {
            let new = &self.seen[self.read..];
            if let Some(at) = find(new, text.as_bytes()) {
                let before = String::from_utf8_lossy(&new[..at]).into_owned();
                self.read += at + text.len();
                return before;
            }
            let more =
                started.elapsed() < SOON && self.read_some(SOON.saturating_sub(started.elapsed()));
            assert!(
                more,
                "{text:?} did not appear within {SOON:?}; what did:\n{}",
                self.transcript()
            );
        }
    }

    /// Types a line at a shell's prompt; returns what it says until the next prompt.
    #[track_caller]
    pub(crate) fn line(&mut self, line: &str) -> String {
        self.type_in(&format!("{line}\n"));
        self.expect("\r\n");
        self.expect("ready> ").replace('\r', "")
    }

    /// Reads to the end of the terminal and waits for the program.
    #[track_caller]
    pub(crate) fn end(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                while self.read_some(Duration::from_millis(50)) {}
                return status;
            }
            assert!(
                started.elapsed() < SOON,
                "it did not end within {SOON:?}; what appeared:\n{}",
                self.transcript()
            );
            self.read_some(Duration::from_millis(20));
        }
    }

    /// The same without reading anything: the person has left.
    #[track_caller]
    pub(crate) fn end_unread(&mut self) -> ExitStatus {
        end_of(&mut self.child, SOON)
    }

    /// Closes the terminal's window.
    pub(crate) fn hang_up(&mut self) {
        self.master = None;
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The state of a process by proc(5), such as `T` for stopped.
    pub(crate) fn state(&self) -> char {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        stat.rsplit(") ")
            .next()
            .and_then(|rest| rest.chars().next())
            .unwrap()
    }

    pub(crate) fn settings(&self) -> Termios {
        tcgetattr(&self.slave).unwrap()
    }

    pub(crate) fn is_foreground(&self, pid: Pid) -> bool {
        tcgetpgrp(self.master()).is_ok_and(|group| group == pid)
    }

    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        let old = tcgetwinsize(self.master()).unwrap();
        tcsetwinsize(
            self.master(),
            Winsize {
                ws_row: rows,
                ws_col: columns,
                ..old
            },
        )
        .unwrap();
    }

    pub(crate) fn transcript(&self) -> String {
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    /// Reads what is there; false if nothing came in time or nothing will ever come.
    fn read_some(&mut self, within: Duration) -> bool {
        let master = self.master.as_ref().expect("the terminal is still open");
        let wait = Timespec {
            tv_sec: within.as_secs() as i64,
            tv_nsec: within.subsec_nanos().into(),
        };
        let mut fds = [PollFd::new(master, PollFlags::IN)];
        if !poll(&mut fds, Some(&wait)).is_ok_and(|ready| ready > 0) {
            return false;
        }
        let mut buffer = [0; 4096];
        let count = { master }.read(&mut buffer).unwrap_or(0);
        self.seen.extend(&buffer[..count]);
        count > 0
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // Jobs of a shell that is killed would outlive the test, above all stopped ones.
        for pid in session(self.pid()) {
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The processes of a session, by the fields of proc(5).
fn session(leader: Pid) -> Vec<Pid> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let of_session = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit(") ").next().unwrap_or_default();
        fields.split(' ').nth(3) == Some(&leader.to_string())
    };
    pids.filter(of_session).filter_map(Pid::from_raw).collect()
}

fn open_terminal(stage: &Stage) -> (File, OwnedFd) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let path = OsStr::from_bytes(name.as_bytes());
    let _ = chown(path, Some(stage.uid()), None);
    let slave = open(
        path,
        OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .unwrap();
    tcsetwinsize(
        &slave,
        Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        },
    )
    .unwrap();
    (File::from(master), slave)
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}
