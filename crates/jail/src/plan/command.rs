//! The program: where it is, and which installation it belongs to.
//!
//! A program under /usr is in every view. One from elsewhere (pyenv, nvm, cargo, /opt, a virtual
//! environment) needs its own files around it, so the folder that it is installed in comes in,
//! read-only and without the files in it that hold credentials. Each link of a chain of symbolic
//! links, and each interpreter of a script, is a program in that sense.

use super::environment::{PLAIN_PATH, is_visible};
use super::grants::Resolved;
use super::{Host, Kind, Step};
use casemate_core::error::{Error, Result};
use casemate_core::exit;
use casemate_core::spec::{Access, Root, SandboxSpec};
use casemate_sys::process::Exec;
use std::ffi::{CString, OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Folders that hold programs; what is installed is the folder above.
const PROGRAM_FOLDERS: &[&str] = &["bin", "sbin", "shims", "libexec", "scripts"];

/// Files in an installation that hold credentials.
const CREDENTIALS: &[&str] = &[
    "credentials",
    "credentials.toml",
    ".npmrc",
    ".netrc",
    ".pypirc",
    ".git-credentials",
    ".env",
    "auth.json",
    "etc/npmrc",
];

/// The program, found.
pub(super) struct Command {
    /// Places to try, in order; one unless it is searched for in another root file system.
    candidates: Vec<PathBuf>,
    /// Installations that it needs.
    pub(super) brought: Vec<Brought>,
    /// Variables by which they are found.
    pub(super) env: Vec<(&'static str, OsString)>,
}

/// Whose word it is that a program is needed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    /// The caller's, or that of what is installed.
    Callers,
    /// That of a file which a sandboxed program could have written.
    Workspaces,
}

/// True for an executable file, or a link to one.
fn is_program(path: &Path) -> bool {
    std::fs::metadata(path)
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// True for a program in the program folder of an installation, which has libraries too.
fn is_plainly_installed(program: &Path, host: &Host) -> bool {
    installation(program, host).iter().all(|(path, kind)| {
        let libraries = ["lib", "lib64", "libexec", "versions"];
        *kind == Kind::Folder && libraries.iter().any(|name| path.join(name).is_dir())
    })
}

/// An installation, or a single file, that comes into the view for the program's sake.
pub(super) struct Brought {
    path: PathBuf,
    kind: Kind,
    word: Word,
    pub(super) why: String,
}

impl Brought {
    pub(super) fn grant(&self) -> Resolved {
        Resolved {
            path: self.path.clone(),
            link: None,
            access: Access::ReadOnly,
            kind: self.kind,
        }
    }

    /// True if a file of the workspace wanted it, which the caller should hear of.
    pub(super) fn is_workspaces_word(&self) -> bool {
        self.word == Word::Workspaces
    }

    /// Covers over the credential files in it.
    pub(super) fn covers(&self) -> Vec<Step> {
        if self.kind == Kind::File {
            return Vec::new();
        }
        CREDENTIALS
            .iter()
            .map(|name| self.path.join(name))
            .filter(|path| path.is_file())
            .map(|target| Step::Cover {
                target,
                kind: Kind::File,
            })
            .collect()
    }
}

/// Finds the program as the caller's shell would, and what it needs.
pub(super) fn resolve(
    spec: &SandboxSpec,
    host: &Host,
    grants: &[Resolved],
    workdir: &Path,
) -> Result<Command> {
    let name = Path::new(&spec.command[0]);
    if spec.given {
        return Ok(Command {
            candidates: vec![name.into()],
            brought: Vec::new(),
            env: Vec::new(),
        });
    }
    if matches!(spec.root, Root::Directory(_) | Root::Archive(_)) {
        return Ok(Command {
            candidates: elsewhere(name, workdir),
            brought: Vec::new(),
            env: Vec::new(),
        });
    }
    let path = find(name, host, workdir)?;
    let mut command = Command {
        candidates: vec![path.clone()],
        brought: Vec::new(),
        env: Vec::new(),
    };
    let mut seen = grants.to_vec();
    command.need(&path, host, &mut seen, Word::Callers, 0)?;
    Ok(command)
}

impl Command {
    /// The places to try as execve(2) takes them.
    pub(super) fn execs(&self, spec: &SandboxSpec, env: Vec<CString>) -> Result<Vec<Exec>> {
        let string = |text: &OsStr| {
            CString::new(text.as_bytes())
                .map_err(|_| Error::rule("run", "an argument holds a NUL byte").on(text.display()))
        };
        let args = spec
            .command
            .iter()
            .map(|arg| string(arg))
            .collect::<Result<Vec<_>>>()?;
        let exec = |path: &PathBuf| {
            Ok(Exec::new(
                string(path.as_os_str())?,
                args.clone(),
                env.clone(),
            ))
        };
        self.candidates.iter().map(exec).collect()
    }

    /// Brings in what a program at this path needs: each link on the way, its interpreter.
    ///
    /// A link or script that an earlier program may have written could name any file; on its
    /// word only what is plainly an installed program comes in.
    fn need(
        &mut self,
        path: &Path,
        host: &Host,
        seen: &mut Vec<Resolved>,
        word: Word,
        depth: u32,
    ) -> Result<()> {
        if depth > 16 {
            return Err(Error::rule("run", "too many links or interpreters").on(path.display()));
        }
        // The folder of the program may itself be reached through links.
        let folder = path.parent().unwrap_or(Path::new("/"));
        let folder = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.into());
        let here = folder.join(path.file_name().unwrap_or_default());
        // A missing interpreter is execve's to complain about.
        if !is_visible(&here, seen) && is_program(&here) {
            if word == Word::Workspaces && !is_plainly_installed(&here, host) {
                return Ok(());
            }
            self.bring(&here, host, seen, word);
        }
        let writable = |path: &Path| {
            let holds = |grant: &&Resolved| path.starts_with(&grant.path);
            let nearest = seen
                .iter()
                .filter(holds)
                .max_by_key(|grant| grant.path.components().count());
            nearest.is_some_and(|grant| grant.access == Access::ReadWrite)
        };
        let word = if writable(&here) {
            Word::Workspaces
        } else {
            word
        };
        if let Ok(to) = std::fs::read_link(&here) {
            return self.need(&folder.join(to), host, seen, word, depth + 1);
        }
        for interpreter in interpreters(&here, host) {
            self.need(&interpreter, host, seen, word, depth + 1)?;
        }
        Ok(())
    }

    fn bring(&mut self, program: &Path, host: &Host, seen: &mut Vec<Resolved>, word: Word) {
        for (path, kind) in installation(program, host) {
            let why = format!(
                "{}: read-only, since {} is installed there",
                path.display(),
                program.display()
            );
            let brought = Brought {
                path,
                kind,
                word,
                why,
            };
            seen.push(brought.grant());
            self.brought.push(brought);
        }
        let Some(home) = &host.home else { return };
        // rustup's proxies and cargo look for each other through the home folder, which is fresh.
        if program.starts_with(home.join(".cargo")) {
            self.env.push(("CARGO_HOME", home.join(".cargo").into()));
            let rustup = host
                .var("RUSTUP_HOME")
                .map_or_else(|| home.join(".rustup"), PathBuf::from);
            if rustup.is_dir() && !is_visible(&rustup, seen) {
                let why = format!(
                    "{}: read-only, for the toolchains of {}",
                    rustup.display(),
                    program.display()
                );
                self.env.push(("RUSTUP_HOME", rustup.clone().into()));
                let brought = Brought {
                    path: rustup,
                    kind: Kind::Folder,
                    word,
                    why,
                };
                seen.push(brought.grant());
                self.brought.push(brought);
            }
        }
    }
}

/// The folders that belong to an installed program; the program alone if it is in none.
fn installation(program: &Path, host: &Host) -> Vec<(PathBuf, Kind)> {
    let folder = program.parent().unwrap_or(Path::new("/"));
    let in_program_folder = folder
        .file_name()
        .is_some_and(|name| PROGRAM_FOLDERS.iter().any(|known| name == *known));
    let prefix = folder.parent().filter(|_| in_program_folder);
    match prefix {
        None => vec![(program.into(), Kind::File)],
        Some(prefix) if is_personal(prefix, host) => ["bin", "lib", "lib64", "pipx"]
            .iter()
            .map(|name| prefix.join(name))
            .filter(|path| path.is_dir())
            .map(|path| (path, Kind::Folder))
            .collect(),
        Some(prefix) => vec![(prefix.into(), Kind::Folder)],
    }
}

/// A prefix that is mostly something else than an installation: the home folder, `~/.local`, /.
fn is_personal(prefix: &Path, host: &Host) -> bool {
    let root = prefix.components().count() < 3 && !prefix.starts_with("/opt");
    root || host
        .home
        .as_deref()
        .is_some_and(|home| home.starts_with(prefix) || prefix == home.join(".local"))
}

/// The interpreter of a script (execve(2)), and the program that env(1) would start for it.
fn interpreters(path: &Path, host: &Host) -> Vec<PathBuf> {
    let mut start = [0; 256];
    let read = std::fs::File::open(path)
        .and_then(|mut file| file.read(&mut start))
        .unwrap_or(0);
    let Some(line) = start[..read].strip_prefix(b"#!") else {
        return Vec::new();
    };
    let line =
        String::from_utf8_lossy(line.split(|byte| *byte == b'\n').next().unwrap_or_default())
            .into_owned();
    let mut words = line.split_whitespace();
    let Some(interpreter) = words
        .next()
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
    else {
        return Vec::new();
    };
    let mut found = vec![interpreter.clone()];
    if ["/usr/bin/env", "/bin/env"]
        .iter()
        .any(|env| interpreter == Path::new(env))
    {
        let program = words.find(|word| !word.starts_with('-') && !word.contains('='));
        found.extend(program.and_then(|program| search(Path::new(program), host)));
    }
    found
}

fn find(name: &Path, host: &Host, workdir: &Path) -> Result<PathBuf> {
    if name.as_os_str().as_bytes().contains(&b'/') {
        let path = workdir.join(name);
        return match std::fs::metadata(&path) {
            Ok(meta) if meta.is_file() && meta.permissions().mode() & 0o111 != 0 => Ok(path),
            Ok(meta) if meta.is_dir() => Err(not_executable(&path, "it is a folder")),
            Ok(_) => Err(not_executable(&path, "it has no execute permission")
                .hint("chmod +x it, or run it by its interpreter")),
            Err(error) => Err(Error::io("run", &error).on(path.display())),
        };
    }
    search(name, host).ok_or_else(|| {
        Error::errno("run", rustix::io::Errno::NOENT.raw_os_error())
            .on(name.display())
            .hint("it is in no folder of PATH; give its path, or install it")
    })
}

fn not_executable(path: &Path, why: &str) -> Error {
    Error::rule("run", why).on(path.display())
}

/// The exit code for a program that can't be run (env(1)).
pub(crate) fn exit_code(error: &Error) -> u8 {
    match error.raw_errno() {
        Some(errno) if errno == rustix::io::Errno::NOENT.raw_os_error() => exit::NOT_FOUND,
        _ => exit::NOT_EXECUTABLE,
    }
}

fn search(name: &Path, host: &Host) -> Option<PathBuf> {
    let path = host
        .var("PATH")
        .cloned()
        .unwrap_or_else(|| PLAIN_PATH.into());
    std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|path| {
            std::fs::metadata(path)
                .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        })
}

/// In another root file system, the program is looked for when that is there.
fn elsewhere(name: &Path, workdir: &Path) -> Vec<PathBuf> {
    if name.as_os_str().as_bytes().contains(&b'/') {
        return vec![workdir.join(name)];
    }
    PLAIN_PATH
        .split(':')
        .map(|folder| Path::new(folder).join(name))
        .collect()
}
