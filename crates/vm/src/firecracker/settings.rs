//! What machines can have besides what makes each of them.

use super::client::PATIENCE;
use super::client::model::{HugePages, RateLimiter};
use super::jailer::Jail;
use crate::driver::Identity;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// What each Firecracker calls its machine: it has one.
pub(super) const NAME: &str = "machine";

/// See the module.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The network of machines that have one.
    pub tap: Option<Tap>,
    /// Whom a machine is for: what its guest reads, if it has a network.
    pub identity: Option<Identity>,
    /// Who serves memory to machines that are restored so.
    pub pages: Option<PageServer>,
    /// What Firecracker itself is kept in. Without one that is for the caller to see to.
    pub jail: Option<Jail>,
    /// What memory is made of.
    pub huge_pages: Option<HugePages>,
    /// What processors can and can't: see [`Client::cpu_config`](super::client::Client::cpu_config).
    pub cpu: Option<Value>,
    /// Whether what machines write is kept track of, so that differences can be written.
    pub differences: bool,
    /// How long Firecracker may take for what moves no memory.
    pub patience: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tap: None,
            identity: None,
            pages: None,
            jail: None,
            huge_pages: None,
            cpu: None,
            differences: true,
            patience: PATIENCE,
        }
    }
}

/// The host's end of a machine's network. It is there already, and belongs to the user that
/// Firecracker is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tap {
    /// Its name.
    pub name: String,
    /// The guest's address.
    pub mac: Option<String>,
    /// What the guest is told of the longest packet.
    pub mtu: Option<u16>,
    /// How fast the guest receives.
    pub receives: RateLimiter,
    /// How fast it sends.
    pub sends: RateLimiter,
}

impl Tap {
    /// By its name, with the usual rates.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            mac: None,
            mtu: None,
            receives: RateLimiter::NETWORK,
            sends: RateLimiter::NETWORK,
        }
    }
}

/// A program that serves memory, one for each machine.
///
/// It is started in the machine's folder with `--socket PATH --snapshot DIR` after its own arguments;
/// PATH is from there. Where PATH is, it listens: one that binds under another name and renames that
/// is never met half ready. It ends when the machine does, and the machine with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageServer {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
}

/// What a guest reads of whom it is for.
pub(super) fn metadata(who: &Identity) -> Value {
    json!({ "instanceID": who.sandbox, "envID": who.template })
}
