//! The initramfs. The guest's real root is one folder of it: a process can neither pivot
//! its root nor make a user namespace as long as its root is the initramfs itself.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::Path;

use anyhow::{Context, Result};

use super::Orders;
use super::archive::Archive;
use super::debian::Kernel;

/// The folder that becomes the guest's root.
pub(crate) const ROOT: &str = "guest";
/// Where the guest finds its orders, below its root.
pub(crate) const ORDERS: &str = "etc/casemate-guest.json";
/// Where the guest finds its modules, below its root.
pub(crate) const MODULES: &str = "lib/modules";
/// The unprivileged user and group of the guest.
pub(crate) const USER: u32 = 64321;
/// A folder of the guest's root that no sandbox may see.
pub(crate) const HOST_ONLY: &str = "host-only";

const FOLDERS: [&str; 17] = [
    "usr",
    "usr/bin",
    "usr/sbin",
    "usr/lib",
    "usr/lib64",
    "usr/lib/modules",
    "etc",
    "home",
    "root",
    "tmp",
    "run",
    "var",
    "var/tmp",
    "proc",
    "sys",
    "dev",
    HOST_ONLY,
];
const LINKS: [(&str, &str); 4] = [
    ("bin", "usr/bin"),
    ("sbin", "usr/sbin"),
    ("lib", "usr/lib"),
    ("lib64", "usr/lib64"),
];
const APPLETS: [&str; 12] = [
    "sh", "true", "id", "ls", "cat", "sleep", "echo", "mkdir", "rm", "ip", "env", "mount",
];

/// What goes in.
pub(crate) struct Contents<'a> {
    /// Becomes the first process.
    pub(crate) init: &'a Path,
    /// Name and file of each program for /usr/bin.
    pub(crate) programs: &'a [(&'a str, &'a Path)],
    pub(crate) busybox: &'a Path,
    pub(crate) kernel: &'a Kernel,
    pub(crate) orders: &'a Orders,
}

/// Writes the initramfs.
pub(crate) fn write(contents: &Contents<'_>, file: &Path) -> Result<()> {
    let out = File::create(file).with_context(|| format!("cannot make {}", file.display()))?;
    let mut archive = Archive::new(BufWriter::new(out));
    archive.directory("dev", 0o755)?;
    archive.device("dev/console", 0o600, (5, 1))?;
    archive.file("init", 0o755, &read(contents.init)?)?;
    archive.directory(ROOT, 0o755)?;
    skeleton(&mut archive)?;
    programs(&mut archive, contents)?;
    for (index, module) in contents.kernel.modules.iter().enumerate() {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        let path = format!("{ROOT}/usr/{MODULES}/{index}-{name}");
        archive.file(&path, 0o644, &read(module)?)?;
    }
    let orders = serde_json::to_vec(contents.orders)?;
    archive.file(&format!("{ROOT}/{ORDERS}"), 0o644, &orders)?;
    archive
        .finish()?
        .into_inner()
        .context("the initramfs could not be written")?;
    Ok(())
}

fn skeleton<W: std::io::Write>(archive: &mut Archive<W>) -> Result<()> {
    for folder in FOLDERS {
        archive.directory(&format!("{ROOT}/{folder}"), 0o755)?;
    }
    for (name, target) in LINKS {
        archive.link(&format!("{ROOT}/{name}"), target)?;
    }
    let passwd =
        format!("root:x:0:0:root:/root:/bin/sh\nguest:x:{USER}:{USER}::/home/guest:/bin/sh\n");
    let group = format!("root:x:0:\nguest:x:{USER}:\n");
    for (name, text) in [
        ("passwd", passwd.as_str()),
        ("group", group.as_str()),
        ("hosts", "127.0.0.1 localhost\n"),
        (
            "nsswitch.conf",
            "passwd: files\ngroup: files\nhosts: files\n",
        ),
    ] {
        archive.file(&format!("{ROOT}/etc/{name}"), 0o644, text.as_bytes())?;
    }
    Ok(())
}

fn programs<W: std::io::Write>(archive: &mut Archive<W>, contents: &Contents<'_>) -> Result<()> {
    let busybox = [("busybox", contents.busybox)];
    for (name, file) in contents.programs.iter().chain(&busybox) {
        archive.file(&format!("{ROOT}/usr/bin/{name}"), 0o755, &read(file)?)?;
    }
    for applet in APPLETS {
        archive.link(&format!("{ROOT}/usr/bin/{applet}"), "busybox")?;
    }
    Ok(())
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}
