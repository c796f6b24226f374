//! Small root file systems: a folder with a static busybox, and tar archives made by hand, since
//! no tar program makes the ones that a hostile person would.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
#![allow(dead_code, reason = "each test program uses a part of it")]

use crate::sandbox::Stage;
use std::fs;
use std::path::Path;

/// Debian's busybox-static.
const BUSYBOX: &str = "/bin/busybox";

/// Its names that the tests use.
const APPLETS: &[&str] = &[
    "cat", "chmod", "dd", "echo", "find", "grep", "head", "id", "ls", "mkdir", "mknod", "mv", "rm",
    "sh", "stat", "touch", "true",
];

/// True if there is a static busybox to make a root of; says so if not.
pub(crate) fn can_be_made() -> bool {
    let found = Path::new(BUSYBOX).exists();
    if !found {
        println!("skipped: needs {BUSYBOX} (Debian: busybox-static)");
    }
    found
}

/// Makes a root in a folder of the stage.
pub(crate) fn folder(stage: &Stage, name: &str) {
    for sub in ["", "bin", "etc", "tmp"] {
        stage.folder(format!("{name}/{sub}"));
    }
    stage.write(format!("{name}/bin/busybox"), fs::read(BUSYBOX).unwrap());
    stage.mode(&format!("{name}/bin/busybox"), 0o755);
    for applet in APPLETS {
        stage.symlink("busybox", &format!("{name}/bin/{applet}"));
    }
    stage.write(format!("{name}/etc/issue"), "the root's own\n");
}

/// A tar archive in the form of POSIX (ustar).
pub(crate) struct Tar(Vec<u8>);

impl Tar {
    /// One with a busybox and its names.
    pub(crate) fn with_busybox() -> Self {
        let mut tar = Self(Vec::new()).file("bin/busybox", 0o755, &fs::read(BUSYBOX).unwrap());
        for applet in APPLETS {
            tar = tar.entry(&format!("bin/{applet}"), b'2', "busybox", 0o777, &[]);
        }
        tar
    }

    /// An empty one, for those that are refused before anything is unpacked.
    pub(crate) fn with_nothing() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn file(self, name: &str, mode: u32, contents: &[u8]) -> Self {
        self.entry(name, b'0', "", mode, contents)
    }

    pub(crate) fn folder(self, name: &str) -> Self {
        self.entry(name, b'5', "", 0o755, &[])
    }

    pub(crate) fn symlink(self, name: &str, to: &str) -> Self {
        self.entry(name, b'2', to, 0o777, &[])
    }

    pub(crate) fn hard_link(self, name: &str, to: &str) -> Self {
        self.entry(name, b'1', to, 0o644, &[])
    }

    pub(crate) fn character_device(self, name: &str) -> Self {
        self.entry(name, b'3', "", 0o666, &[])
    }

    pub(crate) fn block_device(self, name: &str) -> Self {
        self.entry(name, b'4', "", 0o666, &[])
    }

    fn entry(mut self, name: &str, kind: u8, link: &str, mode: u32, contents: &[u8]) -> Self {
        let mut header = [0; 512];
        let mut put =
            |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, name);
        put(100, &format!("{mode:07o}"));
        put(108, "0000000");
        put(116, "0000000");
        put(124, &format!("{:011o}", contents.len()));
        put(136, "00000000000");
        put(148, "        ");
        put(157, link);
        put(257, "ustar\x0000");
        put(329, "0000001");
        put(337, "0000003");
        header[156] = kind;
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        self.0.extend(header);
        self.0.extend(contents);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// The whole archive, with the two empty blocks at its end.
    pub(crate) fn bytes(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}
