//! Processes that the harness starts for the attempts to aim at.

use std::fs;
use std::io::Write;

use crate::{call, stage};

/// Holds the secret open, and notes every signal that reaches it as a receipt.
pub(crate) fn wait_for_signals() {
    let _secret = stage::secret().ok().map(fs::File::open);
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let signals = [libc::SIGUSR1, libc::SIGUSR2, libc::SIGIO, libc::SIGHUP];
    let mut set = unsafe { std::mem::zeroed() };
    for signal in signals {
        unsafe { libc::sigaddset(&mut set, signal) };
    }
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) };
    println!("ready");
    let _ = std::io::stdout().flush();
    loop {
        let signal = unsafe { libc::sigwaitinfo(&set, std::ptr::null_mut()) };
        if let Ok(receipts) = stage::workspace("receipts") {
            let _ = fs::write(receipts.join(format!("signal-{signal}")), "");
        }
    }
}

/// A daemon in its own session: what a program leaves running when it returns.
pub(crate) fn leave_daemon(file: &str) {
    let file = file.to_owned();
    // Not `call::fork`: this one must not die with its parent.
    if unsafe { libc::fork() } == 0 {
        unsafe { libc::setsid() };
        call::sleep(1000);
        let _ = fs::write(file, "still here");
        unsafe { libc::_exit(0) };
    }
}
