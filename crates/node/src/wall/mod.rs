//! The process wall as a driver: each sandbox is a keeper of its own.
//!
//! - [`body`]: one sandbox: its keeper's process and folder
//! - [`line`]: what is asked of a keeper
//! - [`dial`]: connections into a sandbox
//! - [`hatch`]: connections into one that is a virtual machine
//! - [`above`]: what lies above the host's system folders, for ordinary users
//! - [`base`]: what machines begin as
//! - [`ids`]: users that sandboxes have outside, for root
//! - [`snapshots`]: what was written of sandboxes

mod above;
pub mod base;
mod body;
mod dial;
pub mod hatch;
mod ids;
mod line;
mod snapshots;

use crate::driver::{Attached, Body, Driver};
use crate::folder::{
    AGENT, ASLEEP, BASE, CONTROL, Folder, Folders, KEEPER, LAUNCH, MACHINE, OWNED, WAKING,
};
use crate::keeper::same::Process;
use crate::keeper::{Accelerator, Launch, Machine};
use above::Above;
use body::Walled;
use casemate_core::error::{Error, Result};
use casemate_core::layer::Layer;
use casemate_core::node::{Refusal, Reply};
use casemate_core::sandbox::{Keep, Outward, SandboxId, SnapshotId, Wish};
use ids::{Ids, Taken};
use ipnet::IpNet;
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use snapshots::Snapshots;
use std::collections::BTreeSet;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::process::{Child, Command};

/// How long processes may take to be up.
const UP: Duration = Duration::from_secs(20);
/// How long a machine may take, whose processor may be emulated on a machine that is busy.
const BOOT: Duration = Duration::from_secs(120);

/// The folder of the snapshots, beside that of the sandboxes.
const SNAPSHOTS: &str = "snapshots";

/// What a machine that was put to sleep has among its own files until it runs again.
const ASLEEP_STATE: &str = "machine/run/asleep";

/// The template that is always there.
const TEMPLATE: &str = "base";

/// What the wall's driver is started with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder of the sandboxes, which nobody else may enter.
    pub folder: PathBuf,
    /// Where the folders above those of the host's system may be kept, the best place first: this
    /// user's, for all daemons.
    pub skeletons: Vec<PathBuf>,
    /// The program that keepers are: this one.
    pub program: PathBuf,
    /// The root file system of the template `base`; `None` is a view of the host's.
    pub root: Option<PathBuf>,
    /// Layers of the wall that sandboxes may do without, where this machine lacks them.
    pub allow_missing: BTreeSet<Layer>,
    /// Connections out of a sandbox at one time; none is as many as there can be.
    pub connections: Option<usize>,
    /// Bytes a second out of a sandbox, and as many into it.
    pub bandwidth: Option<u64>,
    /// Addresses that sandboxes may reach besides the public ones, if they are allowed to.
    pub reach: Vec<IpNet>,
    /// Knows whether a network that is asked for could be put in force.
    pub check: Check,
    /// What virtual machines are made from; `None` keeps sandboxes that are processes.
    pub machines: Option<Machines>,
    /// Whether sandboxes end with this process.
    pub attached: bool,
}

/// See [`Settings::machines`].
#[derive(Debug, Clone)]
pub struct Machines {
    /// Kernel and images: what `casemate vm setup` made.
    pub images: PathBuf,
    /// The image of the root disk, which is one of them.
    pub root: PathBuf,
    /// What their processors are.
    pub accelerator: Accelerator,
}

/// Says what is wrong with the network that is asked for, by the field's name, where sandboxes may
/// reach these addresses besides the public ones.
pub type Check = fn(&Outward, &[IpNet]) -> Result<(), String>;

/// See the module.
pub struct Wall {
    settings: Settings,
    folders: Folders,
    snapshots: Snapshots,
    ids: Ids,
    above: Above,
}

impl Wall {
    /// Takes the folder.
    ///
    /// # Errors
    /// It can't be used.
    pub fn open(settings: Settings) -> Result<Arc<Self>> {
        let folders = Folders::open(&settings.folder)?;
        let snapshots = Snapshots::open(&settings.folder.with_file_name(SNAPSHOTS))?;
        // What keepers that were killed have left.
        casemate_sys::cgroup::sweep();
        // Root's sandboxes need nothing there, and those with a root file system of their own neither.
        let above = match rustix::process::geteuid().is_root() || settings.root.is_some() {
            true => Above::nothing(),
            false => Above::prepare(settings.skeletons.clone()),
        };
        Ok(Arc::new(Self {
            settings,
            folders,
            snapshots,
            ids: Ids::default(),
            above,
        }))
    }

    /// Users for another sandbox, if this process may choose at all.
    fn outside(&self) -> Result<Option<Taken>> {
        let may_choose = rustix::process::geteuid().is_root();
        may_choose.then(|| self.ids.take()).transpose()
    }

    fn spawn(&self, folder: &Folder) -> Result<(Child, OwnedFd)> {
        let fail = |error: &std::io::Error| Error::io("start a sandbox's keeper", error);
        let keeper = Command::new(&self.settings.program)
            .arg("keep")
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(folder.log()?)
            .spawn()
            .map_err(|error| fail(&error))?;
        let pid = keeper.id().and_then(|pid| Pid::from_raw(pid as i32));
        // It is a child that nobody has reaped, so its id is its own.
        let process = pid
            .ok_or(rustix::io::Errno::SRCH)
            .and_then(|pid| pidfd_open(pid, PidfdFlags::NONBLOCK))
            .map_err(|errno| fail(&errno.into()))?;
        Ok((keeper, process))
    }

    /// What was found in a folder, and where its keeper is.
    async fn find(&self, id: &SandboxId) -> Option<Attached> {
        let folder = self.folders.of(id);
        let process = folder.read::<Process>(KEEPER).ok();
        let (Some(process), Ok(launch)) = (
            process.and_then(|process| process.open()),
            folder.read::<Launch>(LAUNCH),
        ) else {
            return rest_of(&folder);
        };
        let owner = folder.read::<SandboxId>(OWNED);
        let is_owned = owner.is_ok_and(|owner| owner == *id);
        let noted = launch.outside.map(|id| self.ids.note(id));
        // Two that share a user are not apart.
        let is_alone = !matches!(noted, Some(None));
        // It was about to end, as it had been told.
        let is_ending = folder.has(ASLEEP);
        let snapshots = self.snapshots.clone();
        let body = Walled::new(
            folder.clone(),
            launch,
            process,
            None,
            noted.flatten(),
            snapshots,
        );
        let paused = match body {
            Ok(ref body) if is_alone && is_owned && !is_ending => body.is_paused().await.ok(),
            _ => None,
        };
        let body = body.ok()?;
        // Whoever was to say that it has been continued is gone.
        let paused = paused.filter(|_| body.own().is_ok());
        let Some(paused) = paused else {
            // One that is nobody's, or doesn't answer, is no use to anybody.
            body.cut();
            let _ = body.ended().await;
            return rest_of(&folder);
        };
        let body = Some(Arc::new(body) as Arc<dyn Body>);
        Some(Attached { body, paused })
    }

    /// Starts a keeper for what is written down in a folder.
    fn keep(&self, folder: &Folder, launch: Launch, taken: Option<Taken>) -> Result<Walled> {
        folder.write(LAUNCH, &launch)?;
        let (mut keeper, process) = self.spawn(folder)?;
        let says = keeper.stdout.take();
        let snapshots = self.snapshots.clone();
        Walled::new(folder.clone(), launch, process, says, taken, snapshots)
    }

    fn launch(&self, id: &SandboxId, wish: &Wish, outside: Option<u32>) -> Launch {
        Launch {
            id: id.clone(),
            wish: wish.clone(),
            outside,
            root: self.settings.root.clone(),
            skeleton: self.above.path(),
            allow_missing: self.settings.allow_missing.clone(),
            connections: self.settings.connections,
            bandwidth: self.settings.bandwidth,
            reach: self.settings.reach.clone(),
            attached: self.settings.attached,
            machine: None,
        }
    }

    /// What a machine is made from, in a sandbox's folder.
    fn machine(&self, folder: &Folder, asleep: Option<Keep>) -> Option<Machine> {
        let machines = self.settings.machines.as_ref()?;
        Some(Machine {
            images: machines.images.clone(),
            own: folder.path().join(MACHINE),
            accelerator: machines.accelerator,
            base: folder.path().join(BASE),
            asleep,
        })
    }

    /// Makes the folders of a new machine.
    fn files(&self, machine: &Machine, wish: &Wish) -> Result<()> {
        let own = &machine.own;
        let made = std::fs::DirBuilder::new().mode(0o700).create(own);
        made.map_err(|error| Error::io("make a machine's folder", &error).on(own.display()))?;
        let images = self.settings.machines.as_ref();
        let ready = base::ready(&machine.images, &wish.resources);
        match (&wish.from, images) {
            (Some(name), _) => base::of_folder(&self.snapshots.find(name)?, &machine.base),
            (None, _) if ready.exists() => base::of_folder(&ready, &machine.base),
            (None, Some(images)) => base::of_image(&images.root, &machine.base),
            (None, None) => Ok(()),
        }
    }
}

/// What is left of a sandbox of which nothing runs: it rests, or is removed.
fn rest_of(folder: &Folder) -> Option<Attached> {
    if folder.has(ASLEEP) || lies_down(folder) {
        return Some(Attached {
            body: None,
            paused: true,
        });
    }
    folder.remove();
    None
}

/// Has one rest again that wasn't continued. One that ran for a moment is over.
fn lies_down(folder: &Folder) -> bool {
    let keep = folder.read::<Keep>(WAKING);
    let can = match keep {
        Ok(Keep::Memory) => folder.has(ASLEEP_STATE),
        Ok(Keep::Files) => true,
        Err(_) => false,
    };
    can && folder.call(WAKING, ASLEEP).is_ok()
}

impl Driver for Wall {
    fn check(&self, wish: &Wish) -> Result<(), Refusal> {
        match &wish.from {
            Some(_) if self.settings.machines.is_none() => {
                return Err(Refusal::Unsupported("a sandbox from a snapshot"));
            }
            Some(name) => drop(self.snapshots.find(name)?),
            None if wish.template != TEMPLATE => {
                return Err(Refusal::NoTemplate(wish.template.clone()));
            }
            None => {}
        }
        self.check_network(&wish.network)
    }

    fn stores(&self) -> bool {
        self.settings.machines.is_some()
    }

    fn patience(&self) -> Duration {
        match self.settings.machines {
            Some(_) => BOOT,
            None => UP,
        }
    }

    fn ready(&self) -> Reply<'_, ()> {
        Box::pin(async {
            self.above.ready().await;
            Ok(())
        })
    }

    fn check_network(&self, outward: &Outward) -> Result<(), Refusal> {
        (self.settings.check)(outward, &self.settings.reach).map_err(Refusal::Invalid)
    }

    fn start(&self, id: &SandboxId, wish: &Wish) -> Result<Arc<dyn Body>> {
        let taken = match self.settings.machines {
            // Their files are this user's.
            Some(_) => None,
            None => self.outside()?,
        };
        let folder = self.folders.of(id);
        let launch = Launch {
            machine: self.machine(&folder, None),
            ..self.launch(id, wish, taken.as_ref().map(Taken::id))
        };
        folder.create()?;
        let machine = launch.machine.as_ref();
        let made = machine.map(|machine| self.files(machine, wish));
        match made
            .transpose()
            .and_then(|_| self.keep(&folder, launch, taken))
        {
            Ok(body) => Ok(Arc::new(body)),
            Err(error) => {
                folder.remove();
                Err(error.on(id))
            }
        }
    }

    fn left(&self) -> Vec<SandboxId> {
        self.folders.list()
    }

    fn attach<'a>(&'a self, id: &'a SandboxId) -> Reply<'a, Option<Attached>> {
        Box::pin(async move { Ok(self.find(id).await) })
    }

    fn wake(&self, id: &SandboxId, wish: &Wish, keep: Keep) -> Result<Arc<dyn Body>> {
        let folder = self.folders.of(id);
        let kept: Keep = folder.read(ASLEEP)?;
        let keep = match keep {
            Keep::Memory => kept,
            Keep::Files => Keep::Files,
        };
        let launch = Launch {
            machine: self.machine(&folder, Some(keep)),
            ..self.launch(id, wish, None)
        };
        // Those of the keeper before.
        folder.forget(CONTROL)?;
        folder.forget(AGENT)?;
        folder.write(WAKING, &keep)?;
        folder.forget(ASLEEP)?;
        match self.keep(&folder, launch, None) {
            Ok(body) => Ok(Arc::new(body)),
            Err(error) => {
                folder.call(WAKING, ASLEEP)?;
                Err(error.on(id))
            }
        }
    }

    fn remove(&self, id: &SandboxId) {
        self.folders.of(id).remove();
    }

    fn snapshots(&self) -> Vec<SnapshotId> {
        self.snapshots.list()
    }

    fn discard(&self, name: &SnapshotId) -> Result<(), Refusal> {
        self.snapshots.remove(name)
    }
}
