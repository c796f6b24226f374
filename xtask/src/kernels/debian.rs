//! The distribution's kernel and busybox, taken from their packages without installing them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::packages;

/// What has to be in the kernel itself.
const BUILT_IN: [&str; 10] = [
    "CONFIG_USER_NS",
    "CONFIG_PID_NS",
    "CONFIG_NET_NS",
    "CONFIG_TIME_NS",
    "CONFIG_SECCOMP_FILTER",
    "CONFIG_SECURITY_LANDLOCK",
    "CONFIG_CGROUP_PIDS",
    "CONFIG_DEVTMPFS",
    "CONFIG_TMPFS",
    "CONFIG_SERIAL_8250_CONSOLE",
];
/// What may be a module: the option and the module's file.
const MODULES: [(&str, &str); 2] = [
    ("CONFIG_OVERLAY_FS", "overlay.ko"),
    ("CONFIG_UNIX_DIAG", "unix_diag.ko"),
];

/// A kernel as its package has it.
pub(crate) struct Kernel {
    /// `6.1.0-56-cloud-amd64`
    pub(crate) release: String,
    pub(crate) image: PathBuf,
    /// To be loaded in this order.
    pub(crate) modules: Vec<PathBuf>,
}

impl Kernel {
    /// Downloads the package (once) and checks that the kernel can carry the wall.
    pub(crate) fn obtain(package: &str, folder: &Path) -> Result<Self> {
        let real = packages::dependency(package, "linux-image-")?;
        let package = real.as_deref().unwrap_or(package);
        let root = packages::unpacked(package, folder)?;
        let boot = root.join("boot");
        let image = named(&boot, "vmlinuz-")?;
        let release = image.file_name().unwrap_or_default().to_string_lossy();
        let release = release.trim_start_matches("vmlinuz-").to_owned();
        let config = boot.join(format!("config-{release}"));
        let config = fs::read_to_string(&config)
            .with_context(|| format!("cannot read {}", config.display()))?;
        check(&config)?;
        let modules = wanted(&config)
            .map(|file| find(&root.join("lib/modules"), file))
            .collect::<Result<Vec<_>>>()?;
        Ok(Kernel {
            release,
            image,
            modules,
        })
    }
}

/// The static busybox.
pub(crate) fn busybox(folder: &Path) -> Result<PathBuf> {
    let root = packages::unpacked("busybox-static", folder)?;
    find(&root, "busybox")
}

fn check(config: &str) -> Result<()> {
    let built_in = |option: &&str| config.lines().any(|line| line == format!("{option}=y"));
    let missing: Vec<&str> = BUILT_IN
        .into_iter()
        .filter(|option| !built_in(option))
        .collect();
    if !missing.is_empty() {
        bail!(
            "the kernel lacks {}\nhint: choose another --package",
            missing.join(", ")
        );
    }
    Ok(())
}

fn wanted(config: &str) -> impl Iterator<Item = &'static str> {
    let is_module = |option: &str| config.lines().any(|line| line == format!("{option}=m"));
    MODULES
        .into_iter()
        .filter(move |(option, _)| is_module(option))
        .map(|(_, file)| file)
}

/// The only file of a folder that starts so.
fn named(folder: &Path, start: &str) -> Result<PathBuf> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    entries
        .filter_map(Result::ok)
        .find(|entry| entry.file_name().to_string_lossy().starts_with(start))
        .map(|entry| entry.path())
        .with_context(|| format!("{} has no {start}*", folder.display()))
}

/// The first file of this name below a folder.
fn find(folder: &Path, name: &str) -> Result<PathBuf> {
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next)?.filter_map(Result::ok) {
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() && entry.file_name() == name {
                return Ok(entry.path());
            }
        }
    }
    bail!("{} has no {name}", folder.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_modules_are_carried_along() {
        let config = "CONFIG_OVERLAY_FS=m\nCONFIG_UNIX_DIAG=y\n";
        assert_eq!(wanted(config).collect::<Vec<_>>(), ["overlay.ko"]);
        let error = check(config).expect_err("most is missing").to_string();
        assert!(error.contains("CONFIG_USER_NS"), "{error}");
    }
}
