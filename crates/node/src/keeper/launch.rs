//! What a keeper is told.

use casemate_core::layer::Layer;
use casemate_core::limits::{ByteSize, Limit, Limits, MilliCpus};
use casemate_core::sandbox::{Keep, Resources, SandboxId, Wish};
use casemate_core::spec::{Access, Grant, Network, Root, SandboxSpec, Terminal};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ffi::OsString;
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
    /// Whether it ends with the process that started it.
    #[serde(default)]
    pub attached: bool,
    /// The virtual machine that the sandbox is; `None` if it is processes of this machine's kernel.
    #[serde(default)]
    pub machine: Option<Machine>,
}

/// What a virtual machine is made from. Whoever runs it is behind the wall, as an agent would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Kernel and images, which it shares with others.
    pub images: PathBuf,
    /// Its own files.
    pub own: PathBuf,
    /// What its processors are.
    pub accelerator: Accelerator,
    /// What it begins as: files that it reads and others may have, too.
    pub base: PathBuf,
    /// What is kept of it among its own files, if it isn't new.
    #[serde(default)]
    pub asleep: Option<Keep>,
}

/// What a machine's processors are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Accelerator {
    /// This machine's (KVM).
    Kvm,
    /// Programs that read its code. They are no security boundary: for development and tests.
    Emulation,
}

/// Where virtual processors come from.
const KVM: &str = "/dev/kvm";

/// Memory of whoever runs a machine, beside the machine's own: code that was translated, and devices.
const BESIDE: u64 = 512 << 20;
/// Processes and threads of whoever runs it.
const THREADS: u32 = 256;

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
        let spec = SandboxSpec {
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
        };
        match &self.machine {
            Some(machine) => machine.specification(spec, resources, listener),
            None => spec,
        }
    }
}

impl Machine {
    /// The same sandbox with a machine in it, instead of an agent.
    fn specification(
        &self,
        spec: SandboxSpec,
        resources: &Resources,
        listener: i32,
    ) -> SandboxSpec {
        let grant = |path: &PathBuf, access| Grant {
            path: path.clone(),
            access,
            origin: "the machine's files".into(),
            required: true,
            or_fresh: false,
        };
        let mut command: Vec<OsString> = ["casemate-vmm", "vmm", "--listener-fd"]
            .map(OsString::from)
            .into();
        command.push(listener.to_string().into());
        for (flag, value) in [
            ("--memory", resources.memory.to_string().into()),
            ("--cpus", resources.cpus.to_string().into()),
            ("--images", self.images.clone().into_os_string()),
            ("--base", self.base.clone().into_os_string()),
            ("--own", self.own.clone().into_os_string()),
        ] {
            command.extend([flag.into(), value]);
        }
        let mut grants = vec![
            grant(&self.images, Access::ReadOnly),
            grant(&self.base, Access::ReadOnly),
            grant(&self.own, Access::ReadWrite),
        ];
        match self.asleep {
            None => {}
            Some(Keep::Memory) => command.extend(["--asleep".into(), "memory".into()]),
            Some(Keep::Files) => command.extend(["--asleep".into(), "files".into()]),
        }
        match self.accelerator {
            Accelerator::Kvm => grants.push(grant(&KVM.into(), Access::ReadWrite)),
            Accelerator::Emulation => command.push("--emulate".into()),
        }
        let memory = ByteSize(resources.memory.saturating_add(BESIDE));
        SandboxSpec {
            command,
            grants,
            limits: Limits {
                memory: Limit::new(None, memory),
                pids: Limit::new(None, THREADS),
                ..spec.limits
            },
            workdir: self.own.clone(),
            // The caller's own, whose files these are; as root, without any of its rights.
            identity: None,
            outside: None,
            user: None,
            rooted: false,
            ..spec
        }
    }
}
