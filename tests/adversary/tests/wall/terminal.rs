//! Runs a program on a terminal of its own, as a shell would.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;

use crate::process::{Run, spawn};
use crate::stage::User;

struct Terminal {
    master: File,
    slave: OwnedFd,
    /// N of /dev/pts/N.
    number: u32,
}

impl Terminal {
    fn open(user: User) -> Self {
        let (mut master, mut slave) = (-1, -1);
        let null = std::ptr::null_mut();
        let result = unsafe {
            libc::openpty(
                &mut master,
                &mut slave,
                null,
                std::ptr::null(),
                std::ptr::null(),
            )
        };
        assert_eq!(result, 0, "openpty: {}", std::io::Error::last_os_error());
        let (master, slave) = unsafe { (File::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) };
        let mut number = 0;
        assert_eq!(
            unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTN, &mut number) },
            0
        );
        user.owns(format!("/dev/pts/{number}").as_ref());
        Self {
            master,
            slave,
            number,
        }
    }
}

/// Numbers that a sandbox's own, fresh list of terminals does not reach.
const SPARE: usize = 8;

/// Runs what `command` makes of the terminal's variable, and reads until the terminal closes.
pub(crate) fn run(user: User, command: impl FnOnce(Vec<(String, String)>) -> Command) -> Run {
    let spare: Vec<Terminal> = (0..SPARE).map(|_| Terminal::open(User::Same)).collect();
    let mut terminal = Terminal::open(user);
    drop(spare);
    let mut command = command(vec![(
        "ATTEMPT_TTY".to_owned(),
        terminal.number.to_string(),
    )]);
    sit_at(&mut command, &terminal.slave);
    let mut child = spawn(&mut command);
    // The command holds copies of the slave, without which the master would see the end.
    drop((command, terminal.slave));
    let output = read_all(&mut terminal.master);
    let status = child.wait().unwrap();
    let code = status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap());
    Run { code, output }
}

/// A terminal whose last slave is gone reads as EIO.
fn read_all(master: &mut File) -> String {
    let (mut bytes, mut block) = (Vec::new(), [0; 1024]);
    while let Ok(length @ 1..) = master.read(&mut block) {
        bytes.extend(&block[..length]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn sit_at(command: &mut Command, slave: &OwnedFd) {
    command.stdin(slave.try_clone().unwrap());
    command
        .stdout(slave.try_clone().unwrap())
        .stderr(slave.try_clone().unwrap());
    unsafe {
        command.pre_exec(|| {
            match libc::setsid() != -1 && libc::ioctl(0, libc::TIOCSCTTY, 0) == 0 {
                true => Ok(()),
                false => Err(std::io::Error::last_os_error()),
            }
        });
    }
}
