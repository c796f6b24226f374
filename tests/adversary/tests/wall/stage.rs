//! The host as an attempt finds it: a private key, a project, sockets, a process, in one
//! temporary directory that goes away with the test.
//!
//! ```text
//! home/.ssh/id_ed25519     the secret: the token, for its owner only
//! outside/                 token, plain, linked, program, host.sock
//! shared/                  plain, program, read-only.sock, helper (set-user-ID, if root made it)
//! bin/casemate             reachable for every user
//! input                    standard input
//! workspace/               .git, vendored/library/.git, links out, sockets, receipts, attempt
//! ```

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::host::Victim;
use crate::objects::Objects;
use crate::process::{self, Descriptors, Run, copy_program};
use crate::services::Services;
use crate::snapshot::Snapshot;
use crate::terminal;
use crate::verdict::Entry;
use crate::world::{self, World};

/// Who runs the attempt.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum User {
    Same,
    Unprivileged,
}

impl User {
    /// An identifier that no account has.
    pub(crate) const NOBODY: u32 = 64321;

    pub(crate) fn owns(self, path: &Path) {
        if self == User::Unprivileged {
            std::os::unix::fs::lchown(path, Some(Self::NOBODY), Some(Self::NOBODY)).unwrap();
        }
    }
}

/// Beside the user of the attempt, whose program a helper can gain.
const HELPER_OWNER: u32 = 64322;
pub(crate) const TOKEN: &str = "the-host-was-reached-4f1c";
const ATTEMPT: &str = env!("CARGO_BIN_EXE_attempt");
const MEMORY: u64 = 256 << 20;
const PIDS: u64 = 200;
const DISK: u64 = 64 << 20;

pub(crate) struct Stage {
    directory: TempDir,
    pub(crate) user: User,
    services: Services,
    objects: Objects,
    descriptors: Descriptors,
    victim: Victim,
    world: Option<World>,
}

impl Stage {
    pub(crate) fn new(user: User) -> Self {
        let directory = tempfile::Builder::new().prefix("wall-").tempdir().unwrap();
        let root = directory.path();
        fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
        lay_out(root);
        let services = Services::start(root);
        let objects = Objects::create(root);
        own_all(root, user);
        make_helper(&root.join("shared/helper"));
        let descriptors = Descriptors::open(root);
        let victim = Victim::start(&descriptors, root, user);
        Self {
            directory,
            user,
            services,
            objects,
            descriptors,
            victim,
            world: None,
        }
    }

    /// With a network of its own, from which nothing leads to the host's.
    pub(crate) fn with_world(mut self) -> Self {
        self.world = Some(World::start(self.directory.path()));
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot::take(self.directory.path())
    }

    /// What the attempt is told; see its `stage` module.
    fn variables(&self) -> Vec<(String, String)> {
        let path = |name: &str| self.path(name).display().to_string();
        let mut variables = vec![
            ("ATTEMPT_WORKSPACE", path("workspace")),
            ("ATTEMPT_SECRET", path("home/.ssh/id_ed25519")),
            ("ATTEMPT_OUTSIDE", path("outside")),
            ("ATTEMPT_SHARED", path("shared")),
            ("ATTEMPT_SOCKET", path("outside/host.sock")),
            ("ATTEMPT_TOKEN", TOKEN.to_owned()),
            ("ATTEMPT_PID", self.victim.pid().to_string()),
            ("ATTEMPT_KEY", process::KEY.to_owned()),
            ("ATTEMPT_MEMORY", MEMORY.to_string()),
            ("ATTEMPT_PIDS", PIDS.to_string()),
            ("ATTEMPT_DISK", DISK.to_string()),
        ];
        variables.extend(self.services.variables());
        variables.extend(self.objects.variables());
        variables.extend(Descriptors::variables());
        variables
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    /// Where there is no wall, a process of the same user stands in for the sandbox's init.
    pub(crate) fn run_outside(&self, entry: &Entry) -> Run {
        let program = self.path("workspace/attempt");
        let mut variables = self.variables();
        variables.push(("ATTEMPT_INIT".to_owned(), self.victim.pid().to_string()));
        self.run(entry, |terminal| {
            let mut command = self
                .descriptors
                .command(&program, self.directory.path(), self.user);
            command.envs(variables).envs(terminal).arg(&entry.name);
            command
        })
    }

    pub(crate) fn run_inside(&self, entry: &Entry) -> Run {
        let program = self.path("workspace/attempt");
        self.run(entry, |terminal| {
            self.inside(&entry.setting, terminal, &program, &[&entry.name])
        })
    }

    /// Some program, under the policy of the attempts to get past one.
    pub(crate) fn run_under_policy(&self, program: &Path, arguments: &[&str]) -> Run {
        let mut command = self.inside("network", Vec::new(), program, arguments);
        self.in_world(|| Run::of(&mut command))
    }

    fn inside(
        &self,
        setting: &str,
        terminal: Vec<(String, String)>,
        program: &Path,
        arguments: &[&str],
    ) -> std::process::Command {
        let mut command = self.casemate();
        command.args(self.flags(setting));
        for (name, value) in self.variables().into_iter().chain(terminal) {
            command.arg("--env").arg(format!("{name}={value}"));
        }
        command.arg("--").arg(program).args(arguments);
        command
    }

    fn in_world<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.world {
            Some(world) => world.within(work),
            None => work(),
        }
    }

    /// `casemate run` in the workspace, as the stage's user.
    pub(crate) fn casemate(&self) -> std::process::Command {
        let program = self.path("bin/casemate");
        copy_program(process::casemate(), &program);
        let mut command = self
            .descriptors
            .command(&program, self.directory.path(), self.user);
        command
            .arg("run")
            .arg("--workdir")
            .arg(self.path("workspace"));
        command
    }

    fn flags(&self, setting: &str) -> Vec<String> {
        let path = |name: &str| self.path(name).display().to_string();
        match setting {
            "shared" => vec!["--ro".to_owned(), path("shared")],
            "memory" => vec!["--memory".to_owned(), "256M".to_owned()],
            "pids" => vec!["--pids".to_owned(), PIDS.to_string()],
            // A writable directory of the host has no disk quota without root.
            "disk" => vec![
                "--disk".to_owned(),
                "64M".to_owned(),
                "--ro".to_owned(),
                path("workspace"),
            ],
            "network" => {
                let policy = world::policy(self.directory.path());
                let credentials = world::credentials(self.directory.path());
                vec![
                    "--policy".to_owned(),
                    policy.display().to_string(),
                    "--credentials".to_owned(),
                    credentials.display().to_string(),
                ]
            }
            _ => Vec::new(),
        }
    }

    fn run(
        &self,
        entry: &Entry,
        command: impl FnOnce(Vec<(String, String)>) -> std::process::Command,
    ) -> Run {
        match entry.setting.as_str() {
            "terminal" => terminal::run(self.user, command),
            _ => {
                let mut command = command(Vec::new());
                self.in_world(|| Run::of(&mut command))
            }
        }
    }
}

fn write(path: PathBuf, text: &str, mode: u32) {
    fs::write(&path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn lay_out(root: &Path) {
    for name in [
        "home/.ssh",
        "outside",
        "shared",
        "bin",
        "workspace/receipts",
    ] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    write(root.join("home/.ssh/id_ed25519"), TOKEN, 0o600);
    write(root.join("outside/token"), TOKEN, 0o644);
    write(root.join("outside/plain"), "plain", 0o644);
    write(root.join("outside/linked"), "linked", 0o644);
    write(root.join("shared/plain"), "plain", 0o644);
    write(root.join("input"), "input", 0o644);
    copy_program(ATTEMPT, root.join("outside/program"));
    copy_program(ATTEMPT, root.join("shared/program"));
    lay_out_workspace(root, &root.join("workspace"));
}

fn lay_out_workspace(root: &Path, workspace: &Path) {
    copy_program(ATTEMPT, workspace.join("attempt"));
    symlink(root.join("home/.ssh/id_ed25519"), workspace.join("way-out")).unwrap();
    symlink(root.join("outside"), workspace.join("way-out-directory")).unwrap();
    fs::hard_link(root.join("outside/linked"), workspace.join("linked")).unwrap();
    fs::hard_link(
        root.join("home/.ssh/id_ed25519"),
        workspace.join("linked-secret"),
    )
    .unwrap();
    lay_out_repository(&workspace.join(".git"));
    lay_out_repository(&workspace.join("vendored/library/.git"));
}

/// What git looks for, made without git.
fn lay_out_repository(directory: &Path) {
    for name in ["hooks", "objects", "refs/heads"] {
        fs::create_dir_all(directory.join(name)).unwrap();
    }
    write(directory.join("HEAD"), "ref: refs/heads/main\n", 0o644);
    write(
        directory.join("config"),
        "[core]\n\trepositoryformatversion = 0\n",
        0o644,
    );
    write(directory.join("hooks/pre-commit"), "#!/bin/sh\n", 0o644);
}

fn own_all(path: &Path, user: User) {
    user.owns(path);
    if path.is_symlink() || !path.is_dir() {
        return;
    }
    for entry in fs::read_dir(path).unwrap().flatten() {
        own_all(&entry.path(), user);
    }
}

/// A program that belongs to somebody else and runs with their rights, which only root can make.
fn make_helper(path: &Path) {
    copy_program(ATTEMPT, path);
    if unsafe { libc::geteuid() } == 0 {
        chown(path, Some(HELPER_OWNER), Some(HELPER_OWNER)).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o4755)).unwrap();
    }
}
