//! Which files a machine's Firecracker takes, for whoever puts it behind a wall.

use super::Firecracker;
use super::manifest::Manifest;
use super::{MEMORY, STATE};
use crate::driver::{Machine, Memory};
use casemate_core::error::Result;
use std::path::{Path, PathBuf};

/// A file or folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// By its whole path.
    pub path: PathBuf,
    /// Whether it is written, and not only read.
    pub write: bool,
}

impl Firecracker {
    /// For a machine that begins with its kernel. Its folder is needed too, with all that is in it.
    pub fn needs(&self, machine: &Machine) -> Vec<Need> {
        let mut needs = self.devices(machine);
        needs.extend([read(&machine.kernel), read(&machine.initramfs)]);
        needs.extend(machine.disks.iter().map(|disk| Need {
            path: disk.path.clone(),
            write: !disk.read_only,
        }));
        needs
    }

    /// For one that goes on where a snapshot was taken.
    ///
    /// # Errors
    /// There is no such snapshot.
    pub fn needs_to_restore(&self, snapshot: &Path, memory: Memory) -> Result<Vec<Need>> {
        let manifest = Manifest::glance(snapshot)?;
        let mut needs = self.devices(&manifest.machine);
        needs.push(read(&snapshot.join(STATE)));
        match memory {
            Memory::Served => needs.push(write("/dev/userfaultfd")),
            // A difference is put together in the machine's folder.
            _ if manifest.parent.is_some() => {}
            _ => needs.push(read(&snapshot.join(MEMORY))),
        }
        let disks = manifest.machine.disks.iter();
        needs.extend(
            disks
                .filter(|disk| disk.read_only)
                .map(|disk| read(&disk.path)),
        );
        Ok(needs)
    }

    fn devices(&self, machine: &Machine) -> Vec<Need> {
        let mut needs = vec![
            read(&self.program),
            write("/dev/kvm"),
            read(Path::new("/dev/urandom")),
        ];
        if machine.network {
            needs.push(write("/dev/net/tun"));
        }
        needs
    }
}

fn read(path: &Path) -> Need {
    Need {
        path: path.to_owned(),
        write: false,
    }
}

fn write(path: &str) -> Need {
    Need {
        path: path.into(),
        write: true,
    }
}
