//! What a keeper is told.

use casemate_core::layer::Layer;
use casemate_core::limits::{ByteSize, Limit, Limits, MilliCpus};
use casemate_core::sandbox::{Resources, SandboxId, Wish};
use casemate_core::spec::{Network, Root, SandboxSpec, Terminal};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// The user that programs are unless another one is named.
pub(crate) const USER: &str = "user";
/// The host name inside.
const HOSTNAME: &str = "sandbox";
/// That user's id inside.
pub(crate) const UID: u32 = 1000;

/// One sandbox to be kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// Which.
    pub id: SandboxId,
    /// What was asked for.
    pub wish: Wish,
    /// For root: the first of its users and groups outside, which nobody else has.
    pub outside: Option<u32>,
    /// The root file system; `None` is a view of the host's.
    pub root: Option<PathBuf>,
    /// Layers of the wall that it may do without.
    #[serde(default)]
    pub allow_missing: BTreeSet<Layer>,
    /// Connections out at one time.
    #[serde(default)]
    pub connections: Option<usize>,
    /// Bytes a second out, and as many in.
    #[serde(default)]
    pub bandwidth: Option<u64>,
    /// Folders of the daemon's above those of the host's system.
    #[serde(default)]
    pub skeleton: Option<PathBuf>,
    /// Addresses that it may reach besides the public ones.
    #[serde(default)]
    pub reach: Vec<IpNet>,
}

impl Launch {
    /// What the wall is asked for. The agent's socket has this number.
    pub(crate) fn specification(&self, listener: i32) -> SandboxSpec {
        let resources = &self.wish.resources;
        // The disk is of memory: files alone never take so much that nothing can run.
        let files = resources.memory - resources.memory / 8;
        let disk = ByteSize(resources.disk.min(files));
        let pids = u32::try_from(resources.pids).unwrap_or(u32::MAX);
        let limits = Limits {
            memory: Limit::new(None, ByteSize(resources.memory)),
            pids: Limit::new(None, pids),
            disk: Limit::new(None, disk),
            inodes: Limits::inodes_for(disk),
            cpus: Some(MilliCpus(resources.cpus.saturating_mul(1000))),
            ..Limits::defaults(ByteSize(resources.memory))
        };
        // What nobody asked for is held as well as this machine can.
        let is_default = resources.cpus == Resources::default().cpus;
        let spared = is_default.then_some(Layer::CpuLimit);
        let allow_missing = self.allow_missing.iter().copied().chain(spared);
        let users = match self.outside {
            Some(_) => "real",
            None => "one",
        };
        let command = ["casemate-agent", "agent", "--users", users, "--listener-fd"];
        let command = command.into_iter().map(Into::into);
        SandboxSpec {
            command: command.chain([listener.to_string().into()]).collect(),
            given: true,
            // The keeper's own, which stays outside: programs start in their home.
            workdir: "/".into(),
            workdir_access: None,
            grants: Vec::new(),
            files: Vec::new(),
            root: self.root.clone().map_or(Root::Host, Root::Directory),
            keep: None,
            env: Vec::new(),
            limits,
            network: Network::Policy,
            tcp_bind: None,
            tcp_connect: None,
            // The same for all: it was given before anybody knew whose the sandbox would be.
            hostname: HOSTNAME.into(),
            name: Some(self.id.to_string()),
            terminal: Terminal::Never,
            report: false,
            identity: Some((UID, UID)),
            outside: self.outside.map(|first| (first, first)),
            user: Some(USER.into()),
            rooted: true,
            skeleton: self.skeleton.clone(),
            allow_missing: allow_missing.collect(),
            allow_carriers: BTreeSet::new(),
            protect_carriers: BTreeSet::new(),
        }
    }
}
