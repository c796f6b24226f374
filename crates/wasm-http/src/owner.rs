//! Who has the canisters, and what they are asked.

use crate::fault::Fault;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::{Read, Write};
use std::time::Instant;

/// Who has the canisters of a folder. What is asked blocks until it is done.
pub trait Owner: Send + Sync {
    /// The names of all canisters.
    fn names(&self) -> Result<Vec<String>, Fault>;

    /// Calls a method; what it changes is kept.
    fn call(&self, name: &str, ask: Ask) -> Result<Outcome, Fault>;

    /// Asks a method; nothing that it changes is kept.
    fn query(&self, name: &str, ask: Ask) -> Result<Outcome, Fault>;

    /// Puts a module in a canister's place.
    fn install(&self, name: &str, how: Installation) -> Result<Outcome, Fault>;

    /// Lets a stopped one run again.
    fn start(&self, name: &str) -> Result<(), Fault>;

    /// Lets one take no more calls.
    fn stop(&self, name: &str) -> Result<(), Fault>;

    /// Removes one, and all that it knew.
    fn remove(&self, name: &str) -> Result<(), Fault>;

    /// What one is, and how it is.
    fn status(&self, name: &str) -> Result<Status, Fault>;

    /// What one printed last, the oldest first.
    fn logs(&self, name: &str) -> Result<Vec<Line>, Fault>;

    /// The interface that its module carries, in Candid; `None` if it carries none. If a method is
    /// named, the canister has to have it.
    fn interface(&self, name: &str, method: Option<&str>) -> Result<Option<String>, Fault>;

    /// The same of a module, which isn't installed by it.
    fn inspect(&self, module: Bytes) -> Result<Option<String>, Fault>;

    /// An argument for a method, from JSON.
    fn encode(&self, name: &str, method: &str, argument: &Value) -> Result<Vec<u8>, Fault>;

    /// A method's reply, as JSON.
    fn decode(&self, name: &str, method: &str, reply: &[u8]) -> Result<Value, Fault>;

    /// Writes an archive of one as it is now.
    fn export(&self, name: &str, archive: &mut dyn Write) -> Result<(), Fault>;

    /// Makes one of an archive, for the API key of this id; it is told by its principal. There is one
    /// if all of the archive is as it should be, and nothing otherwise.
    fn import(
        &self,
        name: &str,
        archive: &mut dyn Read,
        caller: Option<&str>,
    ) -> Result<String, Fault>;

    /// Runs its kept calls again, from a checkpoint on, or from the oldest, and proves that they come
    /// to the same.
    fn replay(&self, name: &str, from: Option<u64>) -> Result<Replayed, Fault>;

    /// Runs what is due by itself: timers and heartbeats.
    fn tick(&self) -> Result<(), Fault>;

    /// How long the parts of calls took.
    fn measured(&self) -> Measured {
        Measured::default()
    }

    /// Gives what calls left under way some time to end, if nobody else does.
    fn settle(&self) {}
}

/// One call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ask {
    /// Which method.
    pub method: String,
    /// With what.
    pub argument: Vec<u8>,
    /// The id of the API key that asks; nobody's if there is none.
    pub caller: Option<String>,
    /// What the caller calls this call: one of the same name isn't made twice.
    pub key: Option<String>,
    /// It isn't begun after this; one that still runs is ended then, and leaves nothing, if that can
    /// be; and nobody waits for its answer any longer.
    pub deadline: Option<Instant>,
}

/// A module for a canister.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// What becomes of what was there.
    pub mode: Mode,
    /// The module.
    pub module: Bytes,
    /// What its `canister_init` or `canister_post_upgrade` is called with.
    pub argument: Vec<u8>,
    /// As [`Ask::caller`].
    pub caller: Option<String>,
}

/// What becomes of what was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Nothing may have been there.
    Install,
    /// Its stable memory is kept.
    Upgrade,
    /// All of it is forgotten.
    Reinstall,
}

/// What a call came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// What was answered; `None` if there was nothing to answer, or a fault.
    #[serde(with = "base64")]
    pub reply: Option<Vec<u8>>,
    /// Why there is no reply.
    pub fault: Option<Fault>,
    /// What it took.
    pub instructions: u64,
    /// What it printed.
    pub logs: Vec<Line>,
    /// The canister's principal, where one was made.
    pub canister: Option<String>,
    /// What the call did is lost if everything ends before the canister's next checkpoint.
    #[serde(default)]
    pub unwritten: bool,
}

/// What running kept calls again has proven.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replayed {
    /// The checkpoint that it began at.
    pub from: u64,
    /// How many states were as they had been.
    pub states: u64,
    /// How many calls came to the same.
    pub calls: u64,
    /// Instructions that they took.
    pub instructions: u64,
    /// The hash of the last state, in hexadecimal digits.
    pub state: String,
    /// The program that ran them, then and now.
    pub runtime: String,
}

/// What the parts of calls took.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Measured {
    /// Seconds, by the part.
    pub phases: Vec<(&'static str, Spread)>,
    /// Instructions of updates.
    pub instructions: Spread,
}

/// Numbers, by how large they are.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Spread {
    /// How many are at most so large, and larger than the bound before.
    pub buckets: Vec<(f64, u64)>,
    /// How many are larger than all bounds.
    pub beyond: u64,
    /// Their sum.
    pub sum: f64,
}

/// A line that a canister printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Nanoseconds since 1970.
    pub time: u64,
    /// What it says; what wasn't UTF-8 has been replaced.
    pub text: String,
}

/// What a canister is, and how it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// Its principal.
    pub canister: String,
    /// `running`, `stopping` or `stopped`.
    pub state: String,
    /// SHA-256 of its module, in hexadecimal digits.
    pub module: String,
    /// Grows with each change of its module or settings.
    pub version: u64,
    /// Its controllers.
    pub controllers: Vec<String>,
    /// Its cycles, in decimal digits: they may be more than a number of JSON can hold.
    pub cycles: String,
    /// Its heap, bytes.
    pub heap: u64,
    /// Its stable memory, bytes.
    pub stable: u64,
    /// Pages of 4 KiB that the last call wrote.
    pub dirty_pages: u64,
    /// Instructions that its calls took since it was opened.
    pub instructions: u64,
    /// Its timer is set for then, nanoseconds since 1970.
    pub timer: Option<u64>,
    /// The timer's time is over, and nothing has run it.
    pub is_overdue: bool,
    /// Its methods.
    pub methods: Vec<Method>,
    /// Calls that came in and aren't over.
    pub calls_in: u64,
    /// Calls that went out and aren't answered.
    pub calls_out: u64,
    /// Bytes of the calls since the last checkpoint.
    pub journal: u64,
    /// Where it runs now, if it does.
    pub worker: Option<WorkerStatus>,
}

/// A method of a canister.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Method {
    /// Its name.
    pub name: String,
    /// `update`, `query` or `composite query`.
    pub kind: String,
}

/// The process that a canister runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Its process id.
    pub pid: u32,
    /// Its memory, bytes, if it could be read.
    pub resident: Option<u64>,
}

/// Bytes in JSON.
mod base64 {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(super) fn serialize<S: Serializer>(
        bytes: &Option<Vec<u8>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let text = bytes.as_ref().map(|bytes| STANDARD.encode(bytes));
        text.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Vec<u8>>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        let bytes = text.map(|text| STANDARD.decode(text));
        bytes.transpose().map_err(D::Error::custom)
    }
}
