//! A machine's folder, as Firecracker has it.

use super::Firecracker;
use crate::guest::disk;
use casemate_core::error::{Error, Result};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};
use rustix::io::Errno;
use std::fs::{self, DirBuilder, Permissions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

/// It. Firecracker runs in it, and behind the jailer sees nothing else.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) root: PathBuf,
    /// Whose what is Firecracker's has to be, behind the jailer.
    owner: Option<(u32, u32)>,
}

/// Which side writes to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// None.
    Read,
    /// This machine alone.
    Write,
}

/// Both ends of a pipe with a name. Ours to write keeps it open until Firecracker has it.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) read: OwnedFd,
    pub(super) write: OwnedFd,
}

impl Place {
    /// In a folder that is there.
    pub(super) fn prepare(firecracker: &Firecracker, folder: &Path) -> Result<Self> {
        let Some(jail) = &firecracker.settings.jail else {
            let root = fs::canonicalize(folder)
                .map_err(|error| Error::io("find", &error).on(folder.display()))?;
            return Ok(Self { root, owner: None });
        };
        let root = jail.root(&firecracker.program, folder)?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&root)
            .map_err(|error| Error::io("make", &error).on(root.display()))?;
        let place = Self {
            root,
            owner: Some((jail.uid, jail.gid)),
        };
        place.give(&place.root)?;
        Ok(place)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Brings a file in under a name. What is written goes to the file itself.
    pub(super) fn bring(&self, from: &Path, name: &str, access: Access) -> Result<()> {
        let to = self.path(name);
        let fail = |error: &std::io::Error| Error::io("bring in", error).on(from.display());
        let from = fs::canonicalize(from).map_err(|error| fail(&error))?;
        if self.owner.is_none() {
            return symlink(&from, &to).map_err(|error| fail(&error));
        }
        let mode = from.metadata().map_err(|error| fail(&error))?.mode();
        let linked = match access {
            Access::Read if mode & 0o004 == 0 => Err(Errno::ACCESS.into()),
            _ => fs::hard_link(&from, &to),
        };
        match (linked, access) {
            (Ok(()), Access::Read) => Ok(()),
            (Ok(()), Access::Write) => self.give(&to),
            // What others have too isn't given away.
            (Err(_), Access::Read) => self.copy(&from, name),
            (Err(error), Access::Write) => {
                Err(fail(&error).hint("put disks on the file system of the machine's folder"))
            }
        }
    }

    /// A copy of its own.
    pub(super) fn copy(&self, from: &Path, name: &str) -> Result<()> {
        let to = self.path(name);
        disk::copy(from, &to)?;
        self.give(&to)
    }

    /// A pipe with a name, which Firecracker opens for both and never waits for.
    pub(super) fn pipe(&self, name: &str) -> Result<Pipe> {
        let path = self.path(name);
        let fail =
            |errno: Errno| Error::errno("make a pipe", errno.raw_os_error()).on(path.display());
        let mode = Mode::RUSR | Mode::WUSR;
        mknodat(CWD, &path, FileType::Fifo, mode, 0).map_err(fail)?;
        self.give(&path)?;
        let end = |flags| {
            open(
                &path,
                flags | OFlags::NONBLOCK | OFlags::CLOEXEC,
                Mode::empty(),
            )
        };
        let read = end(OFlags::RDONLY).map_err(fail)?;
        let write = end(OFlags::WRONLY).map_err(fail)?;
        Ok(Pipe { read, write })
    }

    /// Makes a file Firecracker's.
    pub(super) fn give(&self, path: &Path) -> Result<()> {
        match self.owner {
            Some((uid, gid)) => chown(path, Some(uid), Some(gid))
                .map_err(|error| Error::io("give to Firecracker", &error).on(path.display())),
            None => Ok(()),
        }
    }

    /// Takes a file that Firecracker wrote out of the folder. Behind the jailer it becomes ours, and
    /// may be read by whoever can come near, as later Firecrackers are other users.
    pub(super) fn take(&self, name: &str, to: &Path) -> Result<()> {
        let from = self.path(name);
        let fail = |error: &std::io::Error| Error::io("take over", error).on(from.display());
        let is_file = fs::symlink_metadata(&from)
            .map_err(|error| fail(&error))?
            .is_file();
        if !is_file {
            return Err(Error::rule("take over", "it isn't a file").on(from.display()));
        }
        match fs::rename(&from, to) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(Errno::XDEV.raw_os_error()) => {
                disk::copy(&from, to)?;
                fs::remove_file(&from).map_err(|error| fail(&error))?;
            }
            Err(error) => return Err(fail(&error)),
        }
        if self.owner.is_some() {
            let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
            chown(to, Some(uid.as_raw()), Some(gid.as_raw())).map_err(|error| fail(&error))?;
            fs::set_permissions(to, Permissions::from_mode(0o444)).map_err(|error| fail(&error))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::jailer::Jail;
    use super::super::settings::Settings;
    use super::*;

    #[test]
    fn what_is_brought_in_is_the_file_itself() {
        let folder = tempfile::tempdir().expect("a folder");
        let (own, disk) = (folder.path().join("own"), folder.path().join("disk"));
        fs::create_dir(&own).expect("a folder");
        fs::write(&disk, "one").expect("it is written");
        let place = Place::prepare(&Firecracker::new("/f"), &own).expect("a place");
        place
            .bring(&disk, "disk0", Access::Write)
            .expect("it is there");
        fs::write(place.path("disk0"), "two").expect("it is written");
        assert_eq!(fs::read(&disk).expect("it is there"), b"two");
        place.copy(&disk, "disk1").expect("it is there");
        fs::write(place.path("disk1"), "three").expect("it is written");
        assert_eq!(fs::read(&disk).expect("it is there"), b"two");
    }

    #[test]
    fn a_link_that_firecracker_left_is_not_taken() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place::prepare(&Firecracker::new("/f"), folder.path()).expect("a place");
        symlink("/etc/passwd", place.path("state")).expect("a link");
        let to = folder.path().join("taken");
        place.take("state", &to).expect_err("it is a link");
        assert!(to.symlink_metadata().is_err());
    }

    #[test]
    fn a_jails_files_are_its_users_unless_others_have_them_too() {
        if !rustix::process::geteuid().is_root() {
            return println!("skipped: only root makes files for others");
        }
        let folder = tempfile::tempdir().expect("a folder");
        let settings = Settings {
            jail: Some(Jail::new("/jailer", "one", 4001, 4002)),
            ..Settings::default()
        };
        let firecracker = Firecracker::new("/opt/firecracker").with(settings);
        let place = Place::prepare(&firecracker, folder.path()).expect("a place");
        assert_eq!(place.root, folder.path().join("firecracker/one/root"));
        for (name, mode) in [("kernel", 0o644), ("secret", 0o600), ("disk", 0o600)] {
            let path = folder.path().join(name);
            fs::write(&path, name).expect("it is written");
            fs::set_permissions(&path, Permissions::from_mode(mode)).expect("it is ours");
        }
        let of = |path: PathBuf| {
            let metadata = path.metadata().expect("it is there");
            (metadata.uid(), metadata.ino())
        };
        for (name, access, owner, is_same) in [
            ("kernel", Access::Read, 0, true),
            ("secret", Access::Read, 4001, false),
            ("disk", Access::Write, 4001, true),
        ] {
            let original = folder.path().join(name);
            place
                .bring(&original, name, access)
                .expect("it is brought in");
            let (uid, inode) = of(place.path(name));
            assert_eq!(uid, owner, "{name}");
            assert_eq!(inode == of(original).1, is_same, "{name}");
        }
    }
}
