//! The jailer: it makes a machine's folder Firecracker's root, and Firecracker another user
//! (`docs/jailer.md` in Firecracker's source). Only root can have it.
//!
//! The folders above that root are fixed: `BASE/PROGRAM/NAME/root`. BASE is the machine's own folder,
//! so that all of it is gone with that.

use super::Command;
use casemate_core::error::{Error, Result};
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

/// The most that a name has.
const LONGEST: usize = 64;

/// What Firecracker is kept in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jail {
    /// The jailer.
    pub program: PathBuf,
    /// What the machine is called, here and among control groups: letters, digits and hyphens. No two
    /// that run have the same.
    pub name: String,
    /// The user that Firecracker becomes; not root, and best nobody else's.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// The network namespace that it joins, by its file.
    pub netns: Option<PathBuf>,
    /// The control group that gets one of this machine's name.
    pub cgroup: Option<Cgroup>,
    /// The largest file that it may write, bytes. A snapshot's memory is one.
    pub largest_file: Option<u64>,
    /// How many descriptors it may have; the jailer says 2048 by itself.
    pub descriptors: Option<u64>,
    /// Whether it sees no processes but its own. The driver has no machines like that: the jailer ends
    /// when Firecracker begins, which is then nobody's child, and how it ends isn't told to anybody.
    pub new_pid_namespace: bool,
}

/// Control groups (`Documentation/admin-guide/cgroup-v2.rst`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cgroup {
    /// 1 or 2.
    pub version: u8,
    /// Below the root of all; the program's name if there is none.
    pub parent: Option<PathBuf>,
    /// Files of it, and what is written there: `memory.max`, `cpu.max` and so on.
    pub limits: Vec<(String, String)>,
}

impl Jail {
    /// One without further wishes.
    pub fn new(program: impl Into<PathBuf>, name: impl Into<String>, uid: u32, gid: u32) -> Self {
        Self {
            program: program.into(),
            name: name.into(),
            uid,
            gid,
            netns: None,
            cgroup: None,
            largest_file: None,
            descriptors: None,
            new_pid_namespace: false,
        }
    }

    /// Where Firecracker's root is, below a machine's folder.
    ///
    /// # Errors
    /// The program has no name.
    pub fn root(&self, firecracker: &Path, folder: &Path) -> Result<PathBuf> {
        let program = program_name(firecracker)?;
        Ok(folder.join(program).join(&self.name).join("root"))
    }

    /// The control group that the jailer makes, and nobody removes, if it is of version 2.
    pub(super) fn group(&self, firecracker: &Path) -> Option<PathBuf> {
        let cgroup = self.cgroup.as_ref().filter(|cgroup| cgroup.version == 2)?;
        let parent = match &cgroup.parent {
            Some(parent) => parent.as_os_str(),
            None => program_name(firecracker).ok()?,
        };
        Some(Path::new("/sys/fs/cgroup").join(parent).join(&self.name))
    }

    /// What starts Firecracker with these arguments of its own. The jailer adds the machine's name.
    ///
    /// # Errors
    /// It would refuse them.
    pub fn command(
        &self,
        firecracker: &Path,
        folder: &Path,
        own: Vec<OsString>,
    ) -> Result<Command> {
        self.check(firecracker)?;
        let mut args: Vec<OsString> = Vec::new();
        let mut add = |name: &str, value: &dyn AsRef<OsStr>| {
            args.extend([name.into(), value.as_ref().to_owned()]);
        };
        add("--id", &self.name);
        add("--exec-file", &firecracker);
        add("--uid", &self.uid.to_string());
        add("--gid", &self.gid.to_string());
        add("--chroot-base-dir", &folder);
        if let Some(netns) = &self.netns {
            add("--netns", netns);
        }
        if let Some(cgroup) = &self.cgroup {
            add("--cgroup-version", &cgroup.version.to_string());
            if let Some(parent) = &cgroup.parent {
                add("--parent-cgroup", parent);
            }
            for (file, value) in &cgroup.limits {
                add("--cgroup", &format!("{file}={value}"));
            }
        }
        if let Some(bytes) = self.largest_file {
            add("--resource-limit", &format!("fsize={bytes}"));
        }
        if let Some(count) = self.descriptors {
            add("--resource-limit", &format!("no-file={count}"));
        }
        if self.new_pid_namespace {
            args.push("--new-pid-ns".into());
        }
        args.push("--".into());
        args.extend(own);
        Ok(Command {
            program: self.program.clone(),
            args,
        })
    }

    fn check(&self, firecracker: &Path) -> Result<()> {
        let fail = |why: String| Err(Error::rule("put Firecracker behind the jailer", why));
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let Self { name, .. } = self;
        if !(1..=LONGEST).contains(&name.len()) || !name.bytes().all(is_plain) {
            return fail(format!(
                "{name:?} isn't 1 to {LONGEST} letters, digits and hyphens"
            ));
        }
        if self.uid == 0 || self.gid == 0 {
            return fail("it would stay root".to_owned());
        }
        if !program_name(firecracker)?
            .to_string_lossy()
            .contains("firecracker")
        {
            return fail(format!(
                "{} isn't called firecracker",
                firecracker.display()
            ));
        }
        let Some(cgroup) = &self.cgroup else {
            return Ok(());
        };
        let goes_up = |path: &PathBuf| {
            let is_name = |part| matches!(part, Component::Normal(_));
            !path.components().all(is_name)
        };
        if cgroup.parent.as_ref().is_some_and(goes_up) {
            return fail("its control group isn't below the root of all".to_owned());
        }
        if !matches!(cgroup.version, 1 | 2) {
            return fail(format!(
                "there is no version {} of control groups",
                cgroup.version
            ));
        }
        let is_file = |file: &str| {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_');
            !file.is_empty() && file.bytes().all(is_plain)
        };
        match cgroup.limits.iter().find(|(file, _)| !is_file(file)) {
            Some((file, _)) => fail(format!("a control group has no file {file:?}")),
            None => Ok(()),
        }
    }
}

fn program_name(firecracker: &Path) -> Result<&OsStr> {
    firecracker.file_name().ok_or_else(|| {
        Error::rule("put Firecracker behind the jailer", "it has no name").on(firecracker.display())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jail() -> Jail {
        Jail {
            netns: Some("/run/netns/one".into()),
            cgroup: Some(Cgroup {
                version: 2,
                parent: Some("casemate/vm".into()),
                limits: vec![("memory.max".to_owned(), "1073741824".to_owned())],
            }),
            largest_file: Some(1 << 30),
            descriptors: Some(512),
            new_pid_namespace: true,
            ..Jail::new("/usr/bin/jailer", "sandbox-1", 4001, 4002)
        }
    }

    fn line(jail: &Jail) -> Result<String> {
        let own = vec!["--api-sock".into(), "api.sock".into()];
        let command = jail.command(Path::new("/opt/firecracker-1.17"), Path::new("/m"), own)?;
        let words: Vec<_> = command
            .args
            .iter()
            .map(|word| word.to_string_lossy())
            .collect();
        Ok(words.join(" "))
    }

    #[test]
    fn all_that_is_wished_for_is_on_its_command_line() {
        assert_eq!(
            line(&jail()).expect("it is right"),
            "--id sandbox-1 --exec-file /opt/firecracker-1.17 --uid 4001 --gid 4002 \
             --chroot-base-dir /m --netns /run/netns/one --cgroup-version 2 \
             --parent-cgroup casemate/vm --cgroup memory.max=1073741824 \
             --resource-limit fsize=1073741824 --resource-limit no-file=512 --new-pid-ns \
             -- --api-sock api.sock"
        );
        assert_eq!(
            line(&Jail::new("/usr/bin/jailer", "a", 1, 2)).expect("it is right"),
            "--id a --exec-file /opt/firecracker-1.17 --uid 1 --gid 2 --chroot-base-dir /m \
             -- --api-sock api.sock"
        );
        let group = jail().group(Path::new("/opt/firecracker-1.17"));
        assert_eq!(group, Some("/sys/fs/cgroup/casemate/vm/sandbox-1".into()));
        let root = jail().root(Path::new("/opt/firecracker-1.17"), Path::new("/m"));
        assert_eq!(root, Ok("/m/firecracker-1.17/sandbox-1/root".into()));
    }

    #[test]
    fn what_is_no_jail_is_refused() {
        let whole = jail();
        for wrong in [
            Jail {
                uid: 0,
                ..whole.clone()
            },
            Jail {
                gid: 0,
                ..whole.clone()
            },
            Jail {
                name: "../x".to_owned(),
                ..whole.clone()
            },
            Jail {
                cgroup: Some(Cgroup {
                    version: 3,
                    ..Cgroup::default()
                }),
                ..whole.clone()
            },
            Jail {
                cgroup: Some(Cgroup {
                    version: 2,
                    parent: None,
                    limits: vec![("../../x".to_owned(), String::new())],
                }),
                ..whole.clone()
            },
            Jail {
                cgroup: Some(Cgroup {
                    version: 2,
                    parent: Some("../x".into()),
                    limits: Vec::new(),
                }),
                ..whole.clone()
            },
        ] {
            line(&wrong).expect_err("it is wrong");
        }
        let own = Vec::new();
        whole
            .command(Path::new("/bin/sh"), Path::new("/m"), own)
            .expect_err("it is another program");
    }
}
