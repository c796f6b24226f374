//! The caller's terminal: what is typed into it runs in the caller's shell.

use std::fs;

use crate::attempt::Setting::Terminal;
use crate::attempt::{Attempt, Verdict, attempt};
use crate::call::{Step, blocked, open, sys};
use crate::stage;

pub(crate) const ATTEMPTS: &[Attempt] = &[
    attempt!(type_into_terminal, "type into the terminal with TIOCSTI")
        .with(Terminal)
        .kernel("tiocsti"),
    attempt!(
        type_high_half,
        "type with a request number that has a bit above the 32nd"
    )
    .with(Terminal)
    .kernel("tiocsti"),
    attempt!(
        paste_into_console,
        "command the virtual console with TIOCLINUX"
    )
    .with(Terminal)
    .root()
    .kernel("console"),
    attempt!(steal_console, "redirect the console's output with TIOCCONS")
        .with(Terminal)
        .root()
        .kernel("console"),
    attempt!(
        hold_terminal,
        "hold the caller's terminal as input or output"
    )
    .with(Terminal),
    attempt!(
        open_controlling_terminal,
        "open the caller's terminal as /dev/tty"
    )
    .with(Terminal),
    attempt!(
        open_terminal_by_name,
        "open the caller's terminal by its name"
    )
    .with(Terminal),
];

/// asm-generic/ioctls.h: the device number of a terminal.
const GET_DEVICE: libc::c_ulong = 0x8004_5432;

/// Types an end of line and looks whether it can be read.
fn inject(request: u64) -> Verdict {
    sys!(libc::syscall(libc::SYS_ioctl, 0, request, b"\n".as_ptr())).attack("TIOCSTI")?;
    let mut waiting = 0;
    sys!(libc::ioctl(0, libc::FIONREAD, &mut waiting)).prepare("FIONREAD")?;
    match waiting {
        0 => blocked("TIOCSTI: nothing was typed"),
        count => Ok(format!("{count} bytes were typed")),
    }
}

/// TIOCSTI(2const): CVE-2017-5226 of bubblewrap.
fn type_into_terminal() -> Verdict {
    inject(libc::TIOCSTI)
}

/// CVE-2019-7303 of snap: the kernel reads half of the argument, a filter may compare all of it.
fn type_high_half() -> Verdict {
    inject(libc::TIOCSTI | 1 << 32)
}

/// TIOCLINUX(2const): a selection can be set and pasted. This one only asks for the shift keys.
fn paste_into_console() -> Verdict {
    let mut shift_state = [6u8];
    let console = open("/dev/tty1", libc::O_RDWR | libc::O_NOCTTY).unwrap_or(0);
    sys!(libc::ioctl(
        console,
        libc::TIOCLINUX,
        shift_state.as_mut_ptr()
    ))
    .attack("TIOCLINUX")?;
    Ok("the console answers".to_owned())
}

/// TIOCCONS(2const): what is meant for the console comes here. Given back at once.
fn steal_console() -> Verdict {
    sys!(libc::ioctl(0, libc::TIOCCONS)).attack("TIOCCONS")?;
    let console = open("/dev/tty0", libc::O_WRONLY | libc::O_NOCTTY).prepare("open the console")?;
    sys!(libc::ioctl(console, libc::TIOCCONS)).prepare("TIOCCONS back")?;
    Ok("the console's output was redirected".to_owned())
}

/// Whether `fd` is the terminal that the caller sits at, and not one of the sandbox's own.
fn is_callers(fd: i32) -> Result<bool, crate::attempt::Stop> {
    const PTY_MAJOR: u32 = 136;
    let number: u32 = stage::number("ATTEMPT_TTY")?;
    let mut device = 0u32;
    if sys!(libc::ioctl(fd, GET_DEVICE, &mut device)).is_err() {
        return Ok(false);
    }
    let (major, minor) = (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xfff00);
    Ok(major == PTY_MAJOR && minor == number)
}

/// Escape sequences and modes work on the terminal that is held.
fn hold_terminal() -> Verdict {
    for fd in 0..3 {
        if is_callers(fd)? {
            return Ok(format!("descriptor {fd} is the caller's terminal"));
        }
    }
    blocked("the descriptors are another terminal")
}

/// tty(4).
fn open_controlling_terminal() -> Verdict {
    let fd = open("/dev/tty", libc::O_RDWR | libc::O_NOCTTY).attack("open /dev/tty")?;
    if is_callers(fd)? {
        return Ok("/dev/tty is the caller's terminal".to_owned());
    }
    blocked("/dev/tty is another terminal")
}

/// pts(4), by every number that /dev/pts shows.
fn open_terminal_by_name() -> Verdict {
    for entry in fs::read_dir("/dev/pts")
        .attack("opendir /dev/pts")?
        .flatten()
    {
        let Ok(fd) = open(entry.path(), libc::O_RDWR | libc::O_NOCTTY) else {
            continue;
        };
        if is_callers(fd)? {
            return Ok(format!(
                "{} is the caller's terminal",
                entry.path().display()
            ));
        }
    }
    blocked("/dev/pts does not have the caller's terminal")
}
