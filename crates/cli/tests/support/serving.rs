//! A `casemate serve` of the stage's caller, and commands that talk to it.
//!
//! What servers of a user share and take seconds to make, all tests of that user share, unless the
//! stage's home has a cache of its own.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use crate::sandbox::{Ended, Stage};
use crate::support::{PATIENCE, end_of, filtered, start};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

/// Where a server's standard error goes.
const LOG: &str = "outside/serve.log";

/// See the module. All that runs in its sandboxes ends with it.
pub(crate) struct Serving<'a> {
    pub(crate) stage: &'a Stage,
    server: Child,
    /// Where it listens: `127.0.0.1:PORT`.
    pub(crate) address: String,
    /// The first key, if it was shown.
    pub(crate) key: Option<String>,
}

impl<'a> Serving<'a> {
    pub(crate) fn new(stage: &'a Stage) -> Self {
        Self::with(stage, &[])
    }

    pub(crate) fn with(stage: &'a Stage, flags: &[&str]) -> Self {
        let (server, address, key) = serve(stage, "127.0.0.1:0", flags);
        Self {
            stage,
            server,
            address,
            key,
        }
    }

    pub(crate) fn pid(&self) -> i32 {
        rustix::process::Pid::from_child(&self.server)
            .as_raw_nonzero()
            .get()
    }

    /// Tells the server to end, and waits until it has.
    pub(crate) fn stop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.server);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(end_of(&mut self.server, PATIENCE).success());
    }

    /// What it said on standard error so far.
    pub(crate) fn log(&self) -> String {
        self.stage.read(LOG)
    }

    /// Kills the server, as the kernel would when memory runs out.
    pub(crate) fn kill(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }

    /// Ends the server in good order.
    pub(crate) fn terminate(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.server);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(self.server.wait().unwrap().success());
    }

    /// Starts it again where it was.
    pub(crate) fn restart(&mut self) {
        self.restart_with(&[]);
    }

    pub(crate) fn restart_with(&mut self, flags: &[&str]) {
        let (server, address, key) = serve(self.stage, &self.address, flags);
        assert_eq!((&address, key), (&self.address, None));
        self.server = server;
    }

    /// The folder that it keeps everything in.
    pub(crate) fn data(&self) -> PathBuf {
        self.stage.path("home/.local/state/casemate")
    }

    /// A command of the same user: it needs no variable.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.stage.casemate();
        command.args(args);
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        Ended::of(&mut self.command(args))
    }

    /// What a command prints that must succeed and have nothing to say besides.
    #[track_caller]
    pub(crate) fn says(&self, args: &[&str]) -> String {
        let ended = self.run(args);
        assert_eq!((ended.code, &*ended.err), (0, ""), "{args:?}: {ended:?}");
        ended.out
    }

    /// A new sandbox's id.
    #[track_caller]
    pub(crate) fn create(&self, flags: &[&str]) -> String {
        let out = self.says(&[&["create"], flags].concat());
        out.strip_suffix('\n').unwrap().to_owned()
    }

    /// Standard output of a command that is fed these bytes.
    #[track_caller]
    pub(crate) fn filter(&self, args: &[&str], input: Vec<u8>) -> Vec<u8> {
        filtered(&mut self.command(args), input)
    }

    /// A command that goes on, once it has printed its first line.
    pub(crate) fn begin(&self, args: &[&str]) -> Running {
        let mut command = self.command(args);
        let mut child = start(command.stdout(Stdio::piped()));
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        out.read_line(&mut first).unwrap();
        assert!(first.ends_with('\n'), "{args:?} printed {first:?}");
        let out = Some(out);
        Running { child, out, first }
    }
}

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        self.stage.end_processes();
    }
}

/// A command that goes on; dropped, it is killed.
pub(crate) struct Running {
    pub(crate) child: Child,
    /// Taken, it is closed.
    pub(crate) out: Option<BufReader<ChildStdout>>,
    pub(crate) first: String,
}

impl Running {
    pub(crate) fn out(&mut self) -> &mut BufReader<ChildStdout> {
        self.out.as_mut().unwrap()
    }

    /// Its exit code, once it has ended by itself.
    #[track_caller]
    pub(crate) fn end(&mut self) -> i32 {
        end_of(&mut self.child, PATIENCE).code().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn shared_cache(stage: &Stage) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("casemate-test-cache-{}", stage.uid()));
    // Another test may just have made it.
    let _ = std::fs::create_dir(&folder);
    if rustix::process::geteuid().is_root() {
        chown(&folder, Some(stage.uid()), Some(stage.uid())).unwrap();
    }
    folder
}

fn serve(stage: &Stage, listen: &str, flags: &[&str]) -> (Child, String, Option<String>) {
    let mut command = stage.casemate();
    command.args(["serve", "--listen", listen]).args(flags);
    if !stage.is_root() && !stage.path("home/.cache").exists() {
        command.env("XDG_CACHE_HOME", shared_cache(stage));
    }
    let log = File::options()
        .create(true)
        .append(true)
        .open(stage.path(LOG));
    let mut server = start(command.stdout(Stdio::piped()).stderr(log.unwrap()));
    let mut out = BufReader::new(server.stdout.take().unwrap()).lines();
    let mut line = || out.next().expect("it says where it listens").unwrap();
    let first = line();
    let url = first.strip_prefix("casemate: serving on ").unwrap();
    let (_, address) = url.split_once("://").unwrap();
    let words = line();
    let mut words = words.split(' ');
    let key = words.find_map(|word| word.strip_prefix("E2B_API_KEY="));
    (server, address.to_owned(), key.map(str::to_owned))
}
