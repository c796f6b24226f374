//! Device nodes: those of the host, and those made inside.

use std::fs;
use std::path::Path;

use crate::attempt::{Attempt, Stop, Verdict, attempt};
use crate::call::{Step, blocked, c, inconclusive, open, sys};
use crate::stage;

pub(crate) const ATTEMPTS: &[Attempt] = &[
    attempt!(open_mem, "open the machine's memory")
        .root()
        .kernel("devmem"),
    attempt!(open_kmsg, "open the kernel's log").root(),
    attempt!(open_kvm, "open the hypervisor")
        .root()
        .kernel("kvm"),
    attempt!(open_block_device, "open a disk of the host").root(),
    attempt!(open_loop_control, "open the control of loop devices")
        .root()
        .kernel("loop"),
    attempt!(open_fuse, "open the device of user-space file systems")
        .root()
        .kernel("fuse"),
    attempt!(open_tun, "open the device of network tunnels")
        .root()
        .kernel("tun"),
    attempt!(open_vsock_device, "open the vsock device")
        .root()
        .kernel("vsock"),
    attempt!(open_userfaultfd_device, "open the userfaultfd device")
        .root()
        .kernel("userfaultfd"),
    attempt!(open_console, "open a virtual console of the host")
        .root()
        .kernel("console"),
    attempt!(open_input, "open an input or graphics device")
        .root()
        .kernel("input or graphics"),
    attempt!(
        mknod_device,
        "make a device node in the workspace and open it"
    )
    .root(),
    attempt!(mknod_disk, "make a node for a disk in /tmp and open it").root(),
];

fn open_one(paths: &[&str], flags: i32) -> Verdict {
    let mut refusals = Vec::new();
    for path in paths {
        match open(path, flags | libc::O_NONBLOCK).attack(&format!("open {path}")) {
            Ok(_) => return Ok(format!("{path} is open")),
            Err(Stop::Blocked(why)) => refusals.push(why),
            Err(stop) => return Err(stop),
        }
    }
    blocked(refusals.join(", "))
}

/// mem(4).
fn open_mem() -> Verdict {
    open_one(&["/dev/mem", "/dev/port"], libc::O_RDONLY)
}

/// kmsg: reads what the kernel says of every tenant, and writes into it.
fn open_kmsg() -> Verdict {
    open_one(&["/dev/kmsg"], libc::O_RDONLY)
}

/// A large attack surface that a program rarely needs.
fn open_kvm() -> Verdict {
    open_one(&["/dev/kvm"], libc::O_RDWR)
}

/// Below every file system and its rights. Opened for reading only.
fn open_block_device() -> Verdict {
    open_one(
        &[
            "/dev/vda",
            "/dev/sda",
            "/dev/nvme0n1",
            "/dev/xvda",
            "/dev/loop0",
            "/dev/zram0",
        ],
        libc::O_RDONLY,
    )
}

/// loop(4) turns a file into a disk to mount.
fn open_loop_control() -> Verdict {
    open_one(&["/dev/loop-control"], libc::O_RDWR)
}

/// fuse(4) lets a program answer the kernel's file system calls.
fn open_fuse() -> Verdict {
    open_one(&["/dev/fuse"], libc::O_RDWR)
}

/// A tunnel device makes its own network packets.
fn open_tun() -> Verdict {
    open_one(&["/dev/net/tun"], libc::O_RDWR)
}

/// vsock(7) reaches the host of a virtual machine, past every network namespace.
fn open_vsock_device() -> Verdict {
    open_one(&["/dev/vsock", "/dev/vhost-vsock"], libc::O_RDONLY)
}

/// ioctl_userfaultfd(2): a way round the setting that forbids the call.
fn open_userfaultfd_device() -> Verdict {
    open_one(&["/dev/userfaultfd"], libc::O_RDWR)
}

/// console(4), vcs(4): what is on the screen.
fn open_console() -> Verdict {
    open_one(&["/dev/tty0", "/dev/tty1", "/dev/vcs"], libc::O_RDONLY)
}

/// Keys pressed, and the memory of graphics cards.
fn open_input() -> Verdict {
    open_one(
        &[
            "/dev/input/event0",
            "/dev/uinput",
            "/dev/dri/card0",
            "/dev/fb0",
        ],
        libc::O_RDONLY,
    )
}

fn make_and_open(path: &Path, kind: u32, device: libc::dev_t) -> Verdict {
    sys!(libc::mknod(c(path).as_ptr(), kind | 0o600, device)).attack("mknod")?;
    let opened = open(path, libc::O_RDONLY | libc::O_NONBLOCK);
    fs::remove_file(path).prepare("unlink")?;
    opened.attack("open of the new node")?;
    Ok(format!("{} was made and opened", path.display()))
}

/// mknod(2) of /dev/kmsg's numbers (1, 11).
fn mknod_device() -> Verdict {
    make_and_open(
        &stage::workspace("node")?,
        libc::S_IFCHR,
        libc::makedev(1, 11),
    )
}

/// mknod(2) of the disks that /proc/partitions lists.
fn mknod_disk() -> Verdict {
    let partitions = fs::read_to_string("/proc/partitions").unwrap_or_default();
    let numbers = |line: &str| {
        let mut fields = line.split_whitespace().map(str::parse::<u32>);
        Some((fields.next()?.ok()?, fields.next()?.ok()?))
    };
    let path = Path::new("/tmp").join(format!("node-{}", std::process::id()));
    let mut last = inconclusive("no disk was tried");
    // Where the list is hidden, the first loop device will do.
    for (major, minor) in partitions.lines().filter_map(numbers).chain([(7, 0)]) {
        last = make_and_open(&path, libc::S_IFBLK, libc::makedev(major, minor));
        if last.is_ok() {
            break;
        }
    }
    last
}
