//! The steps that build a view.

use crate::layers::Layered;
use casemate_core::spec::Access;
use std::path::PathBuf;

/// Whether something is a folder; everything else is handled like a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Folder,
    File,
}

/// One step. Targets are absolute paths inside the view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// A symbolic link.
    Symlink { target: PathBuf, to: PathBuf },
    /// A small file with these contents.
    File { target: PathBuf, contents: String },
    /// A copy of a host's file, at the same place inside.
    Copy { path: PathBuf },
    /// A host path, at the same or another place inside.
    Bind {
        source: PathBuf,
        target: PathBuf,
        access: Access,
        kind: Kind,
        devices: bool,
    },
    /// A folder of the host's that the sandbox's root may change, without changing the host's.
    Layered(Layered),
    /// A folder of the private disk, empty and writable.
    Private {
        target: PathBuf,
        name: &'static str,
        mode: u32,
        /// Whose it is, if not whoever builds the view.
        owner: Option<(u32, u32)>,
    },
    /// Something empty and read-only on top of what is there.
    Cover { target: PathBuf, kind: Kind },
    /// Something of the view itself, mounted once more on itself: it can't be renamed away,
    /// and with read-only access it can't be changed.
    Pin { target: PathBuf, access: Access },
    /// A fresh procfs with what it says of the host covered.
    Proc,
    /// A fresh devpts.
    Terminals,
    /// The POSIX message queues of the sandbox's own IPC namespace (mq_overview(7)).
    Queues,
}

impl Step {
    /// A host path at the same place inside.
    pub(crate) fn same(path: impl Into<PathBuf>, access: Access, kind: Kind) -> Self {
        let source = path.into();
        Self::Bind {
            target: source.clone(),
            source,
            access,
            kind,
            devices: false,
        }
    }
}
