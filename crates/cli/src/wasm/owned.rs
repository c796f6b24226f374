//! Canisters that this process has.

use bytes::Bytes;
use casemate_core::hex;
use casemate_wasm::call::{Answer, Failure, Log, Principal, RejectCode};
use casemate_wasm::candid::{self, Form, Of};
use casemate_wasm::canisters::{self, CanisterError, Canisters, Histogram, Options, Phase};
use casemate_wasm::executor::{Crash, Executor};
use casemate_wasm::lifecycle::{Candidate, Seats};
use casemate_wasm::replay::ReplayError;
use casemate_wasm::store::{Kept, StoreError};
use casemate_wasm_http::{
    Ask, Fault, Installation, Kind, Line, Measured, Method, Mode, Outcome, Owner, Replayed, Spread,
    Status, WorkerStatus,
};
use serde_json::Value;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long what is due is done for, and what a call left under way may go on after its answer.
const SETTLE: Duration = Duration::from_secs(10);

/// What can be done about a call that was aborted.
const LONGER: &str =
    "a longer --timeout, or Casemate-Deadline; with the same idempotency key, it is made anew";

/// See the module.
pub(crate) struct Owned(Canisters);

impl Owned {
    /// Takes a folder.
    pub(crate) fn open(
        folder: &Path,
        executor: Arc<dyn Executor>,
        options: Options,
    ) -> Result<Self, CanisterError> {
        Canisters::open(folder, executor, options).map(Self)
    }

    /// Opens those that have something to do.
    pub(crate) fn wake(&self) -> Result<(), CanisterError> {
        self.0.wake_all()
    }

    /// What a server or a command that ends in good order leaves is written.
    pub(crate) fn save(&self) {
        if let Err(why) = self.0.save() {
            tracing::error!(%why, "calls of a canister that was told of them are lost");
        }
    }

    /// Does what is to be done until then: calls between canisters, timers, heartbeats.
    pub(crate) fn work(&self, until: Instant) {
        self.0.work(until);
    }
}

/// Whoever asks, as canisters know them.
fn principal(caller: Option<&str>) -> Principal {
    caller.map_or(Principal::ANONYMOUS, |id| Principal::of_key(id.as_bytes()))
}

fn ask(ask: Ask) -> canisters::Ask {
    canisters::Ask {
        caller: principal(ask.caller.as_deref()),
        key: ask.key,
        deadline: ask.deadline,
        ..canisters::Ask::new(&ask.method, ask.argument)
    }
}

fn told(outcome: canisters::Outcome) -> Outcome {
    let instructions = outcome.instructions;
    let unwritten = outcome.result.is_ok() && outcome.kept == Kept::Unwritten;
    let (reply, fault) = match outcome.result {
        Ok(Some(Answer::Reply(bytes))) => (Some(bytes), None),
        Ok(Some(Answer::Reject(why))) => (None, Some(plain(Kind::Rejected, why))),
        Ok(None) => (None, None),
        Err(why @ Failure::Aborted) => {
            let mut fault = plain(Kind::Late, why.to_string());
            // As of a call that was never begun: it can be made again.
            fault.reject_code = Some(RejectCode::SysTransient as u8);
            (None, Some(fault.hint(LONGER)))
        }
        Err(failure) => {
            let hint = format!("nothing was changed; it took {instructions} instructions");
            let mut fault = plain(Kind::Trapped, failure.to_string()).hint(hint);
            fault.reject_code = Some(failure.code() as u8);
            (None, Some(fault))
        }
    };
    Outcome {
        reply,
        fault,
        instructions,
        logs: outcome.logs.iter().map(line).collect(),
        canister: None,
        unwritten,
    }
}

/// With words of the canister's own: nothing in them is a hint of ours.
fn plain(kind: Kind, words: String) -> Fault {
    Fault {
        message: words,
        ..Fault::new(kind, "")
    }
}

fn spread(found: &Histogram, unit: f64) -> Spread {
    let buckets = found.buckets.iter();
    Spread {
        buckets: buckets
            .map(|(bound, count)| (*bound as f64 * unit, *count))
            .collect(),
        beyond: found.beyond,
        sum: found.sum as f64 * unit,
    }
}

fn line(log: &Log) -> Line {
    Line {
        time: log.time,
        text: String::from_utf8_lossy(&log.text).into_owned(),
    }
}

fn fault(error: CanisterError) -> Fault {
    use CanisterError as E;
    let kind = match &error {
        E::NoCanister(..) => Kind::NoCanister,
        E::Taken(_) => Kind::Taken,
        E::NoMethod { .. } => Kind::NoMethod,
        E::Store(StoreError::Name(_)) => Kind::Bad,
        E::Crash(Crash::Refused(_)) | E::OtherHeap(..) => Kind::Refused,
        E::Crash(_) => Kind::Crashed,
        E::Stopped(_) | E::Busy(..) => Kind::State,
        E::NotAccepted(..) => Kind::Forbidden,
        E::Late(_) | E::Waits(_) | E::Deadline(_) => Kind::Late,
        _ => Kind::Broken,
    };
    let code = matches!(error, E::Deadline(_)).then(|| error.code() as u8);
    let mut fault = Fault::new(kind, error.to_string());
    fault.reject_code = code.or(fault.reject_code);
    fault
}

/// Of an import: nothing but the archive is read, so what is damaged is the archive.
fn unfit(error: CanisterError) -> Fault {
    use CanisterError as E;
    match error {
        E::Store(StoreError::Damaged { .. }) | E::Books(_) => {
            Fault::new(Kind::Refused, error.to_string())
        }
        other => fault(other),
    }
}

fn unproven(error: ReplayError<CanisterError>) -> Fault {
    use ReplayError as E;
    let kind = match error {
        E::Run(error) => return fault(error),
        E::Store(_) => Kind::Broken,
        E::NoHistory { .. } | E::Runtime { .. } => Kind::State,
        E::Call { .. } | E::State { .. } => Kind::Differs,
    };
    Fault::new(kind, error.to_string())
}

fn typed(error: candid::Fault) -> Fault {
    Fault::new(Kind::Bad, error.to_string())
}

impl Owner for Owned {
    fn names(&self) -> Result<Vec<String>, Fault> {
        self.0.names().map_err(fault)
    }

    fn call(&self, name: &str, asked: Ask) -> Result<Outcome, Fault> {
        self.0.call(name, ask(asked)).map(told).map_err(fault)
    }

    fn query(&self, name: &str, asked: Ask) -> Result<Outcome, Fault> {
        self.0.query(name, ask(asked)).map(told).map_err(fault)
    }

    fn install(&self, name: &str, how: Installation) -> Result<Outcome, Fault> {
        let caller = principal(how.caller.as_deref());
        let (module, argument) = (&how.module[..], how.argument);
        let done = match how.mode {
            Mode::Install => self.0.install(name, module, argument, caller),
            Mode::Upgrade => self.0.upgrade(name, module, argument, caller),
            Mode::Reinstall => self.0.reinstall(name, module, argument, caller),
        };
        let mut outcome = done.map(told).map_err(fault)?;
        if outcome.fault.is_none() {
            let report = self.0.report(name).map_err(fault)?;
            outcome.canister = Some(report.canister);
        }
        Ok(outcome)
    }

    fn start(&self, name: &str) -> Result<(), Fault> {
        self.0.start(name).map_err(fault)
    }

    fn stop(&self, name: &str) -> Result<(), Fault> {
        self.0.stop(name).map(drop).map_err(fault)
    }

    fn remove(&self, name: &str) -> Result<(), Fault> {
        self.0.remove(name).map_err(fault)
    }

    fn status(&self, name: &str) -> Result<Status, Fault> {
        let report = self.0.report(name).map_err(fault)?;
        let method = |(name, kind): (String, &str)| Method {
            name,
            kind: kind.to_owned(),
        };
        Ok(Status {
            name: report.name,
            canister: report.canister,
            state: report.status.name().to_owned(),
            module: report.module,
            version: report.version,
            controllers: report.controllers,
            cycles: report.cycles,
            heap: report.heap,
            stable: report.stable,
            dirty_pages: report.dirtied as u64,
            instructions: report.instructions,
            timer: Some(report.timer).filter(|timer| *timer > 0),
            is_overdue: report.is_overdue,
            methods: report.methods.into_iter().map(method).collect(),
            calls_in: report.contexts as u64,
            calls_out: report.calls as u64,
            journal: report.journal,
            worker: report.process.map(|pid| WorkerStatus {
                pid,
                resident: report.resident,
            }),
        })
    }

    fn logs(&self, name: &str) -> Result<Vec<Line>, Fault> {
        let logs = self.0.logs(name).map_err(fault)?;
        Ok(logs.iter().map(line).collect())
    }

    fn interface(&self, name: &str, method: Option<&str>) -> Result<Option<String>, Fault> {
        let code = self.0.code(name).map_err(fault)?;
        let profile = &code.profile;
        if let Some(method) = method.filter(|method| profile.method(method).is_none()) {
            let methods = profile.methods.iter().map(|method| method.name.clone());
            return Err(fault(CanisterError::NoMethod {
                canister: name.to_owned(),
                kind: "method",
                method: method.to_owned(),
                methods: methods.collect(),
            }));
        }
        Ok(profile.candid().map(str::to_owned))
    }

    fn inspect(&self, module: Bytes) -> Result<Option<String>, Fault> {
        let code = self.0.inspect(&module).map_err(fault)?;
        Ok(code.profile.candid().map(str::to_owned))
    }

    fn encode(&self, name: &str, method: &str, argument: &Value) -> Result<Vec<u8>, Fault> {
        let interface = self.interface(name, Some(method))?;
        let text = argument.to_string();
        let given = candid::Argument::Json(&text);
        candid::argument(interface.as_deref(), Of::Method(method), given).map_err(typed)
    }

    fn decode(&self, name: &str, method: &str, reply: &[u8]) -> Result<Value, Fault> {
        let interface = self.interface(name, None)?;
        let (interface, of) = (interface.as_deref(), Of::Method(method));
        let text = candid::reply(interface, of, reply, Form::Json)
            .map_err(|why| plain(Kind::Answer, why.to_string()))?;
        serde_json::from_str(&text).map_err(|why| plain(Kind::Broken, why.to_string()))
    }

    fn measured(&self) -> Measured {
        // From nanoseconds.
        let seconds = |phase| spread(&self.0.took(phase), 1e-9);
        let phases = Phase::ALL.into_iter();
        Measured {
            phases: phases.map(|phase| (phase.name(), seconds(phase))).collect(),
            instructions: spread(&self.0.took_instructions(), 1.0),
        }
    }

    fn settle(&self) {
        self.0.settle(SETTLE);
        self.save();
    }

    fn export(&self, name: &str, archive: &mut dyn Write) -> Result<(), Fault> {
        self.0.export(name, archive).map_err(fault)
    }

    fn import(
        &self,
        name: &str,
        archive: &mut dyn Read,
        caller: Option<&str>,
    ) -> Result<String, Fault> {
        let controllers = [principal(caller)];
        self.0.import(name, archive, &controllers).map_err(unfit)?;
        Ok(self.0.report(name).map_err(fault)?.canister)
    }

    fn replay(&self, name: &str, from: Option<u64>) -> Result<Replayed, Fault> {
        let proven = self.0.replay(name, from).map_err(unproven)?;
        Ok(Replayed {
            from: proven.from,
            states: proven.milestones,
            calls: proven.calls,
            instructions: proven.instructions,
            state: hex::encode(&proven.state),
            runtime: proven.runtime.to_string(),
        })
    }

    fn tick(&self) -> Result<(), Fault> {
        self.0.tick(SETTLE).map_err(fault)
    }
}

impl Seats for Owned {
    fn candidates(&self) -> Vec<Candidate> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = since.unwrap_or_default();
        let idle = self.0.idle().into_iter();
        idle.map(|one| Candidate {
            idle: now.saturating_sub(Duration::from_nanos(one.used)),
            resident: one.resident,
            name: one.name,
            priority: 0,
            is_busy: false,
        })
        .collect()
    }

    fn evict(&self, name: &str) -> bool {
        match self.0.evict(name) {
            Ok(gone) => gone,
            Err(why) => {
                tracing::warn!(canister = name, %why, "its worker couldn't be let go");
                false
            }
        }
    }
}
