//! Runs one attempt in a child, so that a filter which kills is a verdict too.

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::attempt::{Attempt, Setting, Stop, Verdict};
use crate::call;

const CROSSED: u8 = 0;
const BLOCKED: u8 = 77;
const INCONCLUSIVE: u8 = 99;
/// An attempt that hangs proves nothing.
const LIMIT: Duration = Duration::from_millis(4800);

/// Makes the attempt and turns its end, whatever it is, into one line and an exit code.
pub(crate) fn watched(attempt: &Attempt) -> ExitCode {
    // Children that lose their parent come here, to be reaped rather than left to the host.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) };
    let pid = match call::fork(|| i32::from(report((attempt.run)()))) {
        Ok(pid) => pid,
        Err(error) => return say(Err(Stop::Inconclusive(format!("fork: {error}")))),
    };
    let status = wait_until(pid, Instant::now() + LIMIT);
    reap_all();
    match status {
        None => say(Err(Stop::Inconclusive("it did not end in time".to_owned()))),
        Some(status) if libc::WIFEXITED(status) => ExitCode::from(libc::WEXITSTATUS(status) as u8),
        Some(status) => say(killed(attempt, libc::WTERMSIG(status))),
    }
}

/// SIGSYS is a filter's work; SIGKILL is the kernel's answer to too much memory.
fn killed(attempt: &Attempt, signal: i32) -> Verdict {
    let limited = matches!(
        attempt.setting,
        Setting::Memory | Setting::Pids | Setting::Disk
    );
    let text = format!("killed by signal {signal}");
    match signal {
        libc::SIGSYS => Err(Stop::Blocked(text)),
        libc::SIGKILL if limited => Err(Stop::Blocked(text)),
        _ => Err(Stop::Inconclusive(text)),
    }
}

fn wait_until(pid: i32, end: Instant) -> Option<i32> {
    let mut status = 0;
    while Instant::now() < end {
        if unsafe { libc::waitpid(pid, &mut status, libc::WNOHANG) } == pid {
            return Some(status);
        }
        call::sleep(1);
    }
    unsafe { libc::kill(pid, libc::SIGKILL) };
    let _ = call::wait(pid);
    None
}

/// Everything left dies with its parent (see `call::fork`), so this ends.
fn reap_all() {
    let end = Instant::now() + LIMIT;
    while Instant::now() < end {
        match unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } {
            -1 => return,
            0 => call::sleep(1),
            _ => {}
        }
    }
}

fn say(verdict: Verdict) -> ExitCode {
    ExitCode::from(report(verdict))
}

fn report(verdict: Verdict) -> u8 {
    let (code, line) = match verdict {
        Ok(how) => (CROSSED, format!("crossed: {how}")),
        Err(Stop::Blocked(how)) => (BLOCKED, format!("blocked: {how}")),
        Err(Stop::Inconclusive(why)) => (INCONCLUSIVE, format!("inconclusive: {why}")),
    };
    // Standard output may be a closed terminal by now; the exit code still counts.
    let _ = writeln!(std::io::stdout(), "{line}");
    code
}
