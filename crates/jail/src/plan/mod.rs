//! The plan of a run: everything that is decided before anything happens.
//!
//! Planning reads the host and changes nothing. It resolves the command, the paths and the
//! environment, lists the steps that build the view, looks for carriers in writable folders,
//! and puts together the strings for execve(2). What comes out needs no more decisions: the
//! code inside only carries it out.
//!
//! - [`host`]: who is asking, from where
//! - [`step`]: the mounts, folders and files of the view, in order
//! - [`base`], [`etc`]: the part of the host that every program needs
//! - [`packages`]: what package managers need, where root inside may install
//! - [`grants`]: paths that the caller or a policy adds
//! - [`command`]: the program, and the installation it belongs to
//! - [`environment`]: the variables that get in
//! - [`workspace`], [`walk`]: carriers and hard links in writable folders
//! - [`leads`], [`gitconfig`]: what carriers lead to
//! - [`keep`]: where a copy-on-write root keeps its writes
//! - [`archive`]: a root file system in a tar file

pub(crate) mod archive;
mod base;
mod command;
mod environment;
mod etc;
mod gitconfig;
mod grants;
mod host;
mod keep;
mod leads;
mod packages;
pub(crate) mod step;
mod walk;
pub(crate) mod workspace;

pub(crate) use host::Host;
pub(crate) use step::{Kind, Step};

use crate::layers::Layered;
use casemate_core::error::{Error, Result};
use casemate_core::exit::Failure;
use casemate_core::limits::ByteSize;
use casemate_core::spec::{Access, Network, Root, SandboxSpec};
use casemate_sys::landlock::FileRights;
use casemate_sys::process::Exec;
use std::path::{Path, PathBuf};
use workspace::Workspace;

/// What init and the program's own start take at the least.
const SMALLEST_MEMORY: ByteSize = ByteSize::mib(4);

/// A run, ready to be carried out.
pub struct Plan {
    pub(crate) spec: SandboxSpec,
    pub(crate) host: Host,
    /// The view, in the order in which it is built.
    pub(crate) steps: Vec<Step>,
    /// Landlock rules besides reading everything in the view.
    pub(crate) rules: Vec<(PathBuf, FileRights)>,
    /// The program, as a list of places to try.
    pub(crate) programs: Vec<Exec>,
    /// Where the program starts.
    pub(crate) workdir: PathBuf,
    /// Writable host folders.
    pub(crate) workspaces: Vec<Workspace>,
    /// Paths that were brought into the view, and why.
    pub(crate) view: Vec<String>,
    /// What the caller should know.
    pub(crate) notes: Vec<String>,
}

impl Plan {
    /// Checks a specification against this machine and plans its run.
    pub fn new(mut spec: SandboxSpec) -> Result<Self, Failure> {
        let mut host = Host::read()?;
        if let Some(user) = &spec.user {
            host.user.clone_from(user);
        }
        let mut builder = Builder {
            view: Vec::new(),
            notes: Vec::new(),
        };
        let mut grants = grants::check(&spec, &host, &mut builder.notes)?;
        keep::check(&spec, &grants)?;
        let workdir = builder.workdir(&spec, &host, &grants)?;
        let granted = grants.iter().any(|grant| grant.path == workdir.path);
        if let (Some(access), Some(_), false) = (workdir.access, &workdir.host, granted) {
            grants::insert(
                &mut grants,
                grants::Resolved::workdir(&workdir.path, access),
            );
        }
        let command =
            command::resolve(&spec, &host, &grants, &workdir.path).map_err(|error| Failure {
                code: command::exit_code(&error),
                error,
            })?;
        let brought = command.brought.iter().map(|brought| brought.why.clone());
        builder.view.extend(brought);
        let on_its_word = command
            .brought
            .iter()
            .filter(|brought| brought.is_workspaces_word());
        builder
            .notes
            .extend(on_its_word.map(|brought| brought.why.clone()));
        for brought in &command.brought {
            grants::insert(&mut grants, brought.grant());
        }
        grants.sort_by_key(|grant| grant.path.components().count());

        if spec.limits.memory.value < SMALLEST_MEMORY {
            let why = format!("the sandbox itself needs {SMALLEST_MEMORY}");
            return Err(Error::rule("limit --memory", why).into());
        }
        if let Root::Archive(path) = &spec.root {
            archive::check(path)?;
        }
        let mut steps = base::steps(&mut spec, &host)?;
        let mut rules = base::rules();
        for grant in &grants {
            steps.extend(grant.steps());
            rules.extend(grant.rule());
        }
        steps.extend(command.brought.iter().flat_map(command::Brought::covers));
        let workspaces = Self::workspaces(&spec, &host, &grants)?;
        steps.extend(workspaces.iter().flat_map(Workspace::steps));

        let env = environment::build(&spec, &host, &grants, &command);
        let programs = command.execs(&spec, env)?;
        if let Root::Directory(path) | Root::Archive(path) = &spec.root {
            builder.view.push(format!(
                "{}: the root file system, copy-on-write",
                path.display()
            ));
        }
        if spec.network == Network::Host {
            builder
                .notes
                .push("the network is the host's: nothing is isolated there".into());
        }
        Ok(Self {
            steps,
            rules,
            programs,
            workdir: workdir.path,
            workspaces,
            view: builder.view,
            notes: builder.notes,
            host,
            spec,
        })
    }

    /// What the caller should know before the run.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// True if the root file system is the caller's, which the program may change (its writes
    /// vanish, or go where `--keep` says).
    pub(crate) fn has_own_root(&self) -> bool {
        matches!(self.spec.root, Root::Directory(_) | Root::Archive(_))
    }

    /// True if there is a root inside who is somebody else than the user.
    pub(crate) fn has_real_root(&self) -> bool {
        has_real_root(&self.spec, &self.host)
    }

    /// True if the program makes a user namespace, in which its user is root.
    pub(crate) fn nests(&self) -> bool {
        self.spec.rooted && !self.has_real_root()
    }

    /// The host's folders that are layered, in the order of their steps.
    pub(crate) fn layered(&self) -> impl Iterator<Item = &Layered> {
        self.steps.iter().filter_map(|step| match step {
            Step::Layered(layered) => Some(layered),
            _ => None,
        })
    }

    /// The user and group that init and the program start as, if somebody chose.
    pub(crate) fn who_starts(&self) -> Option<(u32, u32)> {
        match self.has_real_root() {
            true => Some((0, 0)),
            false => self.spec.identity,
        }
    }

    fn workspaces(
        spec: &SandboxSpec,
        host: &Host,
        grants: &[grants::Resolved],
    ) -> Result<Vec<Workspace>> {
        let writable = grants
            .iter()
            .filter(|grant| grant.access == Access::ReadWrite);
        let folders: Vec<&Path> = writable
            .filter(|grant| grant.kind == Kind::Folder && !grant.path.starts_with("/dev"))
            .map(|grant| grant.path.as_path())
            .collect();
        // A folder inside another one is looked at once, as part of it.
        let outermost = folders.iter().filter(|folder| {
            !folders
                .iter()
                .any(|other| other != *folder && folder.starts_with(other))
        });
        outermost
            .map(|folder| Workspace::scan(folder, spec, host.home.as_deref()))
            .collect()
    }
}

/// Only root may give a sandbox more users than one.
fn has_real_root(spec: &SandboxSpec, host: &Host) -> bool {
    spec.rooted && host.uid == 0
}

/// Collects what is said about the plan while it is made.
struct Builder {
    view: Vec<String>,
    notes: Vec<String>,
}

/// The working folder inside, and the host folder behind it, if any.
struct Workdir {
    path: PathBuf,
    host: Option<PathBuf>,
    access: Option<Access>,
}

impl Builder {
    /// The caller's folder, unless it is one that must not come in whole: then the program
    /// starts in its fresh home.
    fn workdir(
        &mut self,
        spec: &SandboxSpec,
        host: &Host,
        grants: &[grants::Resolved],
    ) -> Result<Workdir> {
        let asked = spec.workdir != host.cwd;
        let real = std::fs::canonicalize(&spec.workdir).map_err(|error| {
            Error::io("use as the working folder", &error).on(spec.workdir.display())
        })?;
        if !real.is_dir() {
            return Err(Error::rule("use as the working folder", "not a folder").on(real.display()));
        }
        if real.to_str().is_none() {
            return Err(
                Error::rule("use as the working folder", "its path is not UTF-8")
                    .on(real.display()),
            );
        }
        let visible = environment::is_visible(&real, grants);
        let why = match grants::too_broad(&real, host) {
            _ if spec.workdir_access.is_none() && visible => None,
            None if spec.workdir_access.is_none() => {
                Some("the policy has no include_workdir: true")
            }
            why => why,
        };
        let Some(why) = why else {
            return Ok(Workdir {
                path: real.clone(),
                host: Some(real),
                access: spec.workdir_access,
            });
        };
        if asked {
            return Err(Error::rule("use as the working folder", why)
                .on(real.display())
                .hint("choose a project folder with --workdir DIR"));
        }
        let home = host.inner_home();
        // What is given brings its own idea of where it works.
        if !spec.given {
            self.notes.push(format!(
                "the working folder {} stays outside ({why}); the program starts in an empty {}",
                real.display(),
                home.display(),
            ));
        }
        Ok(Workdir {
            path: home,
            host: None,
            access: None,
        })
    }
}
