//! Where a policy that is learnt goes.
//!
//! The folder is opened before the program runs, and the file is made after it has ended: between
//! the two, the folder may be one that the program can write, and could put links there.

use crate::reload::folder_of;
use casemate_core::error::{Error, Result};
use rustix::fd::OwnedFd;
use rustix::fs::{
    Access, AtFlags, CWD, Mode, OFlags, RenameFlags, ResolveFlags, accessat, fsync, openat,
    openat2, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// See the module.
pub(super) struct Place {
    /// As it was given.
    path: PathBuf,
    folder: OwnedFd,
    name: OsString,
    force: bool,
}

impl Place {
    /// A file that isn't there yet, unless it may be replaced.
    pub(super) fn new(path: &Path, force: bool) -> Result<Self> {
        let refuse = |why: &str, hint: &str| Err(refused(path, why).hint(hint));
        let name = match path.file_name() {
            Some(_) if path == Path::new("-") => {
                return refuse("standard output is the program's own", "give a file");
            }
            Some(name) if !path.as_os_str().as_encoded_bytes().ends_with(b"/") => name.to_owned(),
            _ => return refuse("this is no name of a file", "give a file"),
        };
        // As with a report: an earlier program may have put a link on the way.
        let links = match path.is_absolute() {
            true => ResolveFlags::empty(),
            false => ResolveFlags::NO_SYMLINKS,
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat2(CWD, folder_of(path), flags, Mode::empty(), links)
            .and_then(|folder| {
                accessat(&folder, ".", Access::WRITE_OK, AtFlags::EACCESS)?;
                Ok(folder)
            })
            .map_err(|errno| failed(path, errno).hint("its folder must be there and writable"))?;
        match statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) if !force => return refuse("it is there already", "--force replaces it"),
            Ok(_) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(failed(path, errno)),
        }
        Ok(Self {
            path: path.to_owned(),
            folder,
            name,
            force,
        })
    }

    /// How the policy here names another one: from its own folder if that is in there.
    pub(super) fn reference(&self, base: &Path) -> Result<String> {
        let real = |path: &Path| {
            std::fs::canonicalize(path)
                .map_err(|error| Error::io("find the policy", &error).on(path.display()))
        };
        let (folder, base) = (real(&folder_of(&self.path))?, real(base)?);
        if base == folder.join(&self.name) {
            return Err(refused(&self.path, "it would extend itself").hint("give another file"));
        }
        let relative = base.strip_prefix(&folder).unwrap_or(&base);
        match relative.to_str() {
            Some(text) => Ok(text.to_owned()),
            None => Err(refused(
                &base,
                "the path of the policy to extend is no UTF-8",
            )),
        }
    }

    /// Writes the file at once or not at all.
    pub(super) fn put(&self, text: &str) -> Result<()> {
        let (beside, file) = self.create().map_err(|errno| failed(&self.path, errno))?;
        if let Err(error) = fill(file, text) {
            let _ = unlinkat(&self.folder, &beside, AtFlags::empty());
            return Err(Error::io("write the policy", &error).on(self.path.display()));
        }
        let flags = match self.force {
            true => RenameFlags::empty(),
            false => RenameFlags::NOREPLACE,
        };
        // What was learnt is kept in any case.
        let named = renameat_with(&self.folder, &beside, &self.folder, &self.name, flags);
        named.map_err(|errno| {
            let kept = folder_of(&self.path).join(&beside);
            failed(&self.path, errno).hint(format!("what was learnt is in {}", kept.display()))
        })?;
        // The new name lasts only once the folder is on the disk.
        fsync(&self.folder).map_err(|errno| failed(&self.path, errno))
    }

    /// A new file with a name that nobody has.
    fn create(&self) -> std::result::Result<(OsString, File), Errno> {
        const TRIES: u32 = 100;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mut last = Errno::EXIST;
        for number in 0..TRIES {
            let mut beside = OsString::from(".");
            beside.push(&self.name);
            beside.push(format!(".{}-{number}", std::process::id()));
            match openat(&self.folder, &beside, flags, Mode::from_raw_mode(0o644)) {
                Ok(file) => return Ok((beside, file.into())),
                Err(Errno::EXIST) => last = Errno::EXIST,
                Err(errno) => return Err(errno),
            }
        }
        Err(last)
    }
}

fn fill(mut file: File, text: &str) -> io::Result<()> {
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn refused(path: &Path, why: &str) -> Error {
    Error::rule("write the policy", why).on(path.display())
}

fn failed(path: &Path, errno: Errno) -> Error {
    Error::errno("write the policy", errno.raw_os_error()).on(path.display())
}
