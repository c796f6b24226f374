//! Puppets in a folder, with each executor.

use crate::script::Script;
use casemate_wasm::call::{Answer, Failure, Principal};
use casemate_wasm::canisters::{Ask, CanisterError, Canisters, Options, Outcome};
use casemate_wasm::executor::{Executor, InProcess, Sandboxed};
use casemate_wasm::process::Spec;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) const PUPPET: &[u8] = include_bytes!("puppet.wat");
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder of canisters that can be left and come back to.
pub(crate) struct Stand {
    folder: tempfile::TempDir,
    executor: Arc<dyn Executor>,
    options: Options,
    canisters: Option<Canisters>,
}

/// The same with each executor.
pub(crate) fn each(test: impl Fn(&mut Stand)) {
    each_with(Options::default(), test);
}

pub(crate) fn each_with(options: Options, test: impl Fn(&mut Stand)) {
    let here = InProcess::new(casemate_wasm::module::Limits::default()).unwrap();
    let there = Sandboxed::new(Spec::default(), PATIENCE);
    let executors: [Arc<dyn Executor>; 2] = [Arc::new(here), Arc::new(there)];
    for executor in executors {
        let mut stand = Stand {
            folder: tempfile::tempdir().unwrap(),
            executor,
            options: Options {
                is_alone: true,
                ..options
            },
            canisters: None,
        };
        stand.again();
        test(&mut stand);
    }
}

impl Stand {
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn canisters(&self) -> &Canisters {
        self.canisters.as_ref().unwrap()
    }

    /// Ends all of it, as a crash would, and begins again.
    pub(crate) fn again(&mut self) {
        self.canisters = None;
        let opened =
            Canisters::open(self.folder.path(), self.executor.clone(), self.options).unwrap();
        self.canisters = Some(opened);
    }

    pub(crate) fn puppet(&self, name: &str) -> Principal {
        self.puppet_with(name, crate::script::script())
            .result
            .unwrap();
        let report = self.canisters().report(name).unwrap();
        report.canister.parse().unwrap()
    }

    pub(crate) fn puppet_with(&self, name: &str, init: Script) -> Outcome {
        let canisters = self.canisters();
        canisters
            .install(name, PUPPET, init.build(), Principal::ANONYMOUS)
            .unwrap()
    }

    pub(crate) fn tell(&self, name: &str, script: Script) -> Result<Outcome, CanisterError> {
        self.canisters().call(name, Ask::new("do", script.build()))
    }

    /// What it replied.
    pub(crate) fn reply(&self, name: &str, script: Script) -> Vec<u8> {
        match self.tell(name, script).unwrap().result.unwrap() {
            Some(Answer::Reply(bytes)) => bytes,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn failure(&self, name: &str, script: Script) -> Failure {
        self.tell(name, script).unwrap().result.unwrap_err()
    }

    /// What came of a composite query.
    pub(crate) fn asked(&self, name: &str, script: Script) -> Result<Outcome, CanisterError> {
        self.canisters()
            .query(name, Ask::new("all", script.build()))
    }

    /// What a composite query replied.
    pub(crate) fn answer(&self, name: &str, script: Script) -> Vec<u8> {
        match self.asked(name, script).unwrap().result.unwrap() {
            Some(Answer::Reply(bytes)) => bytes,
            other => panic!("{other:?}"),
        }
    }

    /// Begins a call and doesn't wait for its answer.
    pub(crate) fn begin(&self, name: &str, script: Script) {
        let mut ask = Ask::new("do", script.build());
        ask.deadline = Some(Instant::now());
        let waited = self.canisters().call(name, ask);
        assert!(matches!(waited, Err(CanisterError::Late(_))), "{waited:?}");
    }

    pub(crate) fn counter(&self, name: &str) -> u32 {
        let script = crate::script::script().counter().reply();
        let asked = self
            .canisters()
            .query(name, Ask::new("ask", script.build()))
            .unwrap();
        match asked.result.unwrap() {
            Some(Answer::Reply(bytes)) => u32::from_le_bytes(bytes.try_into().unwrap()),
            other => panic!("{other:?}"),
        }
    }
}

/// The process of a canister that has one.
pub(crate) fn process(stand: &Stand, name: &str) -> Option<u32> {
    stand.canisters().report(name).unwrap().process
}

pub(crate) fn kill(process: u32) {
    let pid = Pid::from_raw(process.cast_signed()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

/// Kills a process in the middle of what it is asked.
pub(crate) fn while_it_works<T: Send>(process: u32, ask: impl FnOnce() -> T + Send) -> T {
    // Ticks of 10 ms in the program and in the kernel, proc_pid_stat(5).
    let spent = || {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let fields = fields.split(' ').skip(11).take(2);
        fields
            .map(|ticks| ticks.parse::<u64>().unwrap())
            .sum::<u64>()
    };
    std::thread::scope(|scope| {
        let before = spent();
        let asked = scope.spawn(ask);
        while spent() < before + 3 {
            assert!(!asked.is_finished());
            std::thread::sleep(Duration::from_millis(1));
        }
        kill(process);
        asked.join().unwrap()
    })
}
