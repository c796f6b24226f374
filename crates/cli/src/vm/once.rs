//! `casemate run --wall vm`: one command in a machine of its own, which ends with it.
//!
//! The machine is a sandbox of a node that this process has for itself. Nobody else finds it, and it
//! dies with this process.

use super::ImageArgs;
use crate::platform;
use crate::state;
use casemate_core::error::{Error, Result};
use casemate_core::exit::{Failure, TIME};
use casemate_core::node::{Door, Node};
use casemate_core::sandbox::{Outward, Resources, SandboxId, Wish};
use casemate_node::{Handle, Local, Wall};
use rustix::fd::OwnedFd;
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// What is wanted of it.
pub(crate) struct Once {
    pub(crate) command: Vec<String>,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) resources: Resources,
    pub(crate) network: Outward,
    pub(crate) time: Option<Duration>,
    pub(crate) tty: bool,
    pub(crate) images: ImageArgs,
}

impl Once {
    /// Runs the command to its end; the code is its own.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let machines = self.images.machines()?;
        let folder = Folder::make()?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|error| Error::io("start the runtime", &error))?;
        let program =
            std::env::current_exe().map_err(|error| Error::io("find this program", &error))?;
        let wall = Wall::open(casemate_node::Settings {
            folder: folder.path.join("sandboxes"),
            skeletons: Vec::new(),
            program,
            root: None,
            allow_missing: BTreeSet::new(),
            connections: None,
            bandwidth: None,
            reach: Vec::new(),
            check: crate::keep::check,
            machines: Some(machines),
            attached: true,
        })?;
        let ended = runtime.block_on(async {
            let local = Local::open(wall, 0).await;
            let ended = self.within(&local).await;
            local.end_all().await;
            ended
        });
        // A thread that reads standard input waits for what may never come.
        runtime.shutdown_background();
        ended
    }

    async fn within(self, local: &Arc<Local>) -> Result<ExitCode, Failure> {
        let node = Arc::new(Handle(local.clone()));
        let mut random = [0; 20];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
            .map_err(|errno| Error::errno("read random bytes", errno.raw_os_error()))?;
        let id = SandboxId::of(random);
        let wish = Wish {
            template: "base".into(),
            from: None,
            environment: self.environment,
            resources: self.resources,
            network: self.network,
            access_token: None,
        };
        let made = node.create(&id, &wish).await;
        made.map_err(|refusal| Error::rule("make a virtual machine", refusal.to_string()))?;
        let dial = {
            let id = id.clone();
            platform::Direct(Arc::new(move || {
                let (node, id) = (node.clone(), id.clone());
                Box::pin(async move {
                    let dialled = node.dial(&id, Door::Agent).await;
                    dialled.map_err(std::io::Error::other)
                })
            }))
        };
        let running = platform::directly(id.to_string(), dial, &self.command, self.tty);
        match self.time {
            None => Ok(running.await?),
            Some(time) => match tokio::time::timeout(time, running).await {
                Ok(ended) => Ok(ended?),
                Err(_) => {
                    crate::printer::line(&format!("ended: time limit of {time:?} reached"));
                    Ok(ExitCode::from(TIME))
                }
            },
        }
    }
}

/// A folder for one run. It is locked as long as that lasts, so that the next one removes what a
/// killed one left.
struct Folder {
    path: PathBuf,
    _lock: OwnedFd,
}

impl Folder {
    fn make() -> Result<Self> {
        let place = state::folder().ok_or_else(|| {
            Error::rule("find where to keep things", "HOME is not an absolute path")
                .hint("set HOME or XDG_STATE_HOME")
        })?;
        let place = place.join("vm-runs");
        let fail = |error: std::io::Error| {
            Error::io("make a folder for a run", &error).on(place.display())
        };
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(&place).map_err(fail)?;
        sweep(&place);
        let path = place.join(std::process::id().to_string());
        builder.create(&path).map_err(fail)?;
        let lock = locked(&path).map_err(|errno| fail(errno.into()))?;
        Ok(Self { path, _lock: lock })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What can't be removed now, the next run removes.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

fn locked(path: &Path) -> Result<OwnedFd, rustix::io::Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::open(path, flags, Mode::empty())?;
    flock(&folder, FlockOperation::NonBlockingLockExclusive)?;
    Ok(folder)
}

/// Removes folders whose runs have ended.
fn sweep(place: &Path) {
    let entries = std::fs::read_dir(place).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        if locked(&path).is_ok() {
            let _ = std::fs::remove_dir_all(&path);
        }
    }
}
