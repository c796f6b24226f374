//! How a machine ends.

use rustix::mount::{MountFlags, mount_remount};
use rustix::system::{RebootCommand, reboot};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

static ENDING: AtomicBool = AtomicBool::new(false);

/// Whether what ends now ends because the machine does.
pub(super) fn is_ending() -> bool {
    ENDING.load(Ordering::SeqCst)
}

/// One line on the console.
pub(super) fn say(what: &str) {
    let line = what.replace('\n', "; ");
    let mut console = std::io::stderr().lock();
    let _ = writeln!(console, "casemate: guest: {line}");
    // The power may go next.
    let _ = rustix::termios::tcdrain(&console);
}

/// Ends all processes, leaves the root disk clean, and switches the machine off. A kernel that
/// can't do that stops the processor: the host ends the machine then.
pub(super) fn off() -> ! {
    ENDING.store(true, Ordering::SeqCst);
    casemate_sys::process::kill_all();
    rustix::fs::sync();
    // What still has a file open for writing prevents it; the journal is for that.
    let _ = mount_remount("/", MountFlags::RDONLY, c"");
    rustix::fs::sync();
    let _ = reboot(RebootCommand::PowerOff);
    // The end of process 1 is a panic of the kernel, which ends the machine as well.
    std::process::exit(1)
}
