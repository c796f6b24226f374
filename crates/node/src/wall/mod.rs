//! The process wall as a driver: each sandbox is a keeper of its own.
//!
//! - [`body`]: one sandbox: its keeper's process and folder
//! - [`line`]: what is asked of a keeper
//! - [`dial`]: connections into a sandbox
//! - [`hatch`]: connections into one that is a virtual machine
//! - [`above`]: what lies above the host's system folders, for ordinary users
//! - [`ids`]: users that sandboxes have outside, for root

mod above;
mod body;
mod dial;
pub mod hatch;
mod ids;
mod line;

use crate::driver::{Attached, Body, Driver};
use crate::folder::{Folder, Folders, KEEPER, LAUNCH, MACHINE, OWNED};
use crate::keeper::same::Process;
use crate::keeper::{Accelerator, Launch, Machine};
use above::Above;
use body::Walled;
use casemate_core::error::{Error, Result};
use casemate_core::layer::Layer;
use casemate_core::node::{Refusal, Reply};
use casemate_core::sandbox::{Outward, SandboxId, Wish};
use ids::{Ids, Taken};
use ipnet::IpNet;
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
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

/// The template that is always there.
const BASE: &str = "base";

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
            folder.remove();
            return None;
        };
        let owner = folder.read::<SandboxId>(OWNED);
        let noted = launch.outside.map(|id| self.ids.note(id));
        // Two that share a user are not apart.
        let is_alone = !matches!(noted, Some(None));
        let body = Walled::new(folder, launch, process, None, noted.flatten());
        let paused = match body {
            Ok(ref body) if is_alone && owner.is_ok_and(|owner| owner == *id) => {
                body.is_paused().await.ok()
            }
            _ => None,
        };
        let body = body.ok()?;
        let Some(paused) = paused else {
            // One that is nobody's, or doesn't answer, is no use to anybody.
            body.cut();
            let _ = body.ended().await;
            return None;
        };
        let body = Arc::new(body);
        Some(Attached { body, paused })
    }
}

/// Makes the folder of a machine's own files.
fn machine_of(machines: &Machines, folder: &Folder) -> Result<Machine> {
    let own = folder.path().join(MACHINE);
    let made = std::fs::DirBuilder::new().mode(0o700).create(&own);
    made.map_err(|error| Error::io("make a machine's folder", &error).on(own.display()))?;
    Ok(Machine {
        images: machines.images.clone(),
        own,
        accelerator: machines.accelerator,
    })
}

impl Driver for Wall {
    fn check(&self, wish: &Wish) -> Result<(), Refusal> {
        if wish.template != BASE {
            return Err(Refusal::NoTemplate(wish.template.clone()));
        }
        self.check_network(&wish.network)
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
        let launch = Launch {
            id: id.clone(),
            wish: wish.clone(),
            outside: taken.as_ref().map(Taken::id),
            root: self.settings.root.clone(),
            skeleton: self.above.path(),
            allow_missing: self.settings.allow_missing.clone(),
            connections: self.settings.connections,
            bandwidth: self.settings.bandwidth,
            reach: self.settings.reach.clone(),
            attached: self.settings.attached,
            machine: None,
        };
        let folder = self.folders.of(id);
        folder.create()?;
        let machine = self.settings.machines.as_ref();
        let machine = machine.map(|machines| machine_of(machines, &folder));
        let made = machine.transpose().and_then(|machine| {
            let launch = Launch { machine, ..launch };
            folder.write(LAUNCH, &launch).map(|()| launch)
        });
        let started = made.and_then(|launch| {
            let (mut keeper, process) = self.spawn(&folder)?;
            Walled::new(folder.clone(), launch, process, keeper.stdout.take(), taken)
        });
        match started {
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
}
