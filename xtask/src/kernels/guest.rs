//! The first process of the guest: makes a plain system out of the initramfs, makes the
//! steps, powers off. Whatever goes wrong, the machine ends.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use rustix::mount::{MountFlags, mount, mount_bind, mount_move};
use rustix::process::{chroot, getpid};
use rustix::system::{RebootCommand, finit_module, reboot};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use super::image::{MODULES, ORDERS, ROOT, USER};
use super::protocol::{Line, Status, Step};
use super::{Orders, steps};
use crate::command;

/// The home and the workspace of the unprivileged user.
pub(crate) const HOME: &str = "/home/guest";
/// Where the commands run.
pub(crate) const WORKSPACE: &str = "/home/guest/work";

/// Source, target, type and options, in this order. As a distribution has them.
const MOUNTS: [(&str, &str, &str, &std::ffi::CStr); 9] = [
    ("proc", "/proc", "proc", c""),
    ("sysfs", "/sys", "sysfs", c""),
    ("cgroup2", "/sys/fs/cgroup", "cgroup2", c""),
    ("securityfs", "/sys/kernel/security", "securityfs", c""),
    ("devtmpfs", "/dev", "devtmpfs", c"mode=755"),
    ("devpts", "/dev/pts", "devpts", c"ptmxmode=666,mode=620"),
    ("tmpfs", "/dev/shm", "tmpfs", c"mode=1777"),
    ("tmpfs", "/run", "tmpfs", c"mode=755"),
    ("tmpfs", "/tmp", "tmpfs", c"mode=1777"),
];

/// Runs the guest; comes back only if this is not one.
pub(crate) fn guest_init() -> Result<()> {
    if !getpid().is_init() {
        bail!("guest-init is the first process of a guest, nothing to be called by hand");
    }
    if let Err(why) = guest() {
        eprintln!("guest: {why:#}");
    }
    reboot(RebootCommand::PowerOff).context("cannot power off")
}

fn guest() -> Result<()> {
    enter_root().context("the root could not be entered")?;
    for (source, target, kind, options) in MOUNTS {
        let _ = fs::create_dir(target);
        mount(source, target, kind, MountFlags::empty(), options)
            .with_context(|| format!("cannot mount {kind} at {target}"))?;
    }
    let mut voice = Voice::open()?;
    voice.say("modules", load_modules())?;
    voice.say(
        "loopback",
        command::output(Command::new("/bin/ip").args(["link", "set", "lo", "up"])),
    )?;
    settle_user()?;
    let orders = fs::read(Path::new("/").join(ORDERS)).context("there are no orders")?;
    let orders: Orders = serde_json::from_slice(&orders).context("the orders can't be read")?;
    steps::make(&orders, &mut |step| voice.step(step))?;
    voice.end()
}

/// A mount of its own at `/`, so that the guest's processes are in no chroot.
fn enter_root() -> Result<()> {
    let root = Path::new("/").join(ROOT);
    mount_bind(&root, &root)?;
    std::env::set_current_dir(&root)?;
    mount_move(".", "/")?;
    chroot(".")?;
    Ok(std::env::set_current_dir("/")?)
}

fn load_modules() -> Result<String> {
    let folder = Path::new("/").join(MODULES);
    let mut files = fs::read_dir(folder)?.collect::<std::io::Result<Vec<_>>>()?;
    files.sort_by_key(fs::DirEntry::file_name);
    let mut names = Vec::new();
    for file in files {
        let name = file.file_name().to_string_lossy().into_owned();
        finit_module(File::open(file.path())?, c"", 0)
            .with_context(|| format!("cannot load {name}"))?;
        names.push(name);
    }
    Ok(names.join(" "))
}

fn settle_user() -> Result<()> {
    for folder in [HOME, WORKSPACE] {
        fs::create_dir_all(folder)?;
        chown(folder, Some(USER), Some(USER))?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    }
    fs::set_permissions("/var/tmp", fs::Permissions::from_mode(0o1777))?;
    Ok(())
}

/// The first serial line, which the host reads.
struct Voice {
    line: File,
    steps: usize,
}

impl Voice {
    fn open() -> Result<Self> {
        let line = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/ttyS0")
            .context("the guest has no serial line")?;
        let mut settings = tcgetattr(&line)?;
        settings.make_raw();
        tcsetattr(&line, OptionalActions::Now, &settings)?;
        Ok(Voice { line, steps: 0 })
    }

    fn say(&mut self, name: &str, outcome: Result<String>) -> Result<()> {
        let (status, detail) = match outcome {
            Ok(detail) => (Status::Ok, detail),
            Err(why) => (Status::Fail, format!("{why:#}")),
        };
        self.step(Step {
            name: name.to_owned(),
            status,
            detail,
        })
    }

    fn step(&mut self, step: Step) -> Result<()> {
        self.steps += 1;
        Ok(writeln!(self.line, "{}", Line::Step(step))?)
    }

    /// The last line has to leave the machine before its power does.
    fn end(mut self) -> Result<()> {
        writeln!(self.line, "{}", Line::End(self.steps))?;
        Ok(rustix::termios::tcdrain(&self.line)?)
    }
}
