//! KVM: not whether the device opens, but what a guest's kernel runs at.
//!
//! A tiny guest counts down in 64-bit kernel mode and halts. Hardware runs it at the processor's
//! speed; some hosts offer a KVM that emulates a guest's kernel instruction by instruction, a
//! thousand times slower, on which ordinary guest kernels are unusable or die. Where a module is
//! loaded that is known to do that, speed isn't even asked for.
//! `Documentation/virt/kvm/api.rst`.

use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;

use super::{Attempt, child};

#[cfg(target_arch = "x86_64")]
mod guest;

#[cfg(not(target_arch = "x86_64"))]
mod guest {
    /// No guest is written for this machine.
    pub(super) fn run(_: &super::child::Slots<{ super::STEPS }>) {}
}

/// A guest that takes longer than this is stopped.
const LIMIT: Duration = Duration::from_secs(2);
/// Slower than this, in instructions a millisecond, is not the processor itself: hardware runs
/// at millions, an emulator at a few thousand.
const NATIVE: u32 = 50_000;

/// Modules that run a guest's kernel in the host's user mode, or by emulation (lsmod(8)).
const EMULATORS: [&str; 1] = ["/sys/module/kvm_pvm"];

const OPEN: usize = 0;
const API: usize = 1;
const CREATE: usize = 2;
const RUN: usize = 3;
const RATE: usize = 4;
const STEPS: usize = 5;

/// What KVM is worth here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kvm {
    /// A guest's kernel runs on the processor.
    Native {
        /// Instructions of the guest a millisecond.
        rate: u32,
    },
    /// A guest's kernel is emulated: development and tests only.
    Emulated {
        /// Instructions of the guest a millisecond.
        rate: u32,
    },
    /// The guest did not halt in two seconds, or a filter killed the probe.
    Stuck,
    /// The device is there, and this user may not open it.
    NoPermission,
    /// There is no `/dev/kvm`, or nothing behind it.
    Absent,
    /// Some step of running the guest was refused.
    Refused(Errno),
    /// A virtual machine can be made; no guest is written for this processor.
    Untested,
}

/// Runs the guest in a child.
pub fn probe() -> Kvm {
    let steps = child::attempt::<STEPS>(LIMIT, guest::run);
    if cfg!(not(target_arch = "x86_64")) {
        return device_only();
    }
    let reached = [OPEN, API, CREATE, RUN].map(|at| steps.at(at));
    let rate = steps.found(RATE).map(i32::unsigned_abs);
    judge(reached, rate, has_emulator())
}

fn has_emulator() -> bool {
    EMULATORS.iter().any(|module| Path::new(module).exists())
}

fn judge([open, api, create, run]: [Attempt; 4], rate: Option<u32>, emulated: bool) -> Kvm {
    match open {
        Attempt::Refused(Errno::ACCESS | Errno::PERM) => return Kvm::NoPermission,
        Attempt::Refused(_) | Attempt::NotReached => return Kvm::Absent,
        Attempt::Worked => {}
    }
    if let Some(errno) = [api, create, run].into_iter().find_map(Attempt::errno) {
        return Kvm::Refused(errno);
    }
    match rate {
        Some(rate) if rate >= NATIVE && !emulated => Kvm::Native { rate },
        Some(rate) => Kvm::Emulated { rate },
        None => Kvm::Stuck,
    }
}

fn device_only() -> Kvm {
    use rustix::fs::{Mode, OFlags, open};
    match open("/dev/kvm", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
        Ok(_) => Kvm::Untested,
        Err(Errno::ACCESS | Errno::PERM) => Kvm::NoPermission,
        Err(_) => Kvm::Absent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKED: [Attempt; 4] = [Attempt::Worked; 4];

    #[test]
    fn speed_tells_hardware_from_emulation() {
        let slow = judge(WORKED, Some(3_000), false);
        assert_eq!(slow, Kvm::Emulated { rate: 3_000 });
        let native = judge(WORKED, Some(2_000_000), false);
        assert_eq!(native, Kvm::Native { rate: 2_000_000 });
        assert_eq!(judge(WORKED, None, false), Kvm::Stuck);
    }

    #[test]
    fn a_module_that_emulates_is_never_native() {
        let fast = judge(WORKED, Some(2_000_000), true);
        assert_eq!(fast, Kvm::Emulated { rate: 2_000_000 });
        if has_emulator() {
            let found = probe();
            assert!(!matches!(found, Kvm::Native { .. }), "{found:?}");
        }
    }

    #[test]
    fn the_first_refusal_counts() {
        let open = |errno| {
            let mut steps = [Attempt::NotReached; 4];
            steps[0] = Attempt::Refused(errno);
            judge(steps, None, false)
        };
        assert_eq!(open(Errno::NOENT), Kvm::Absent);
        assert_eq!(open(Errno::NODEV), Kvm::Absent);
        assert_eq!(open(Errno::ACCESS), Kvm::NoPermission);
        let mut steps = WORKED;
        steps[2] = Attempt::Refused(Errno::BUSY);
        assert_eq!(judge(steps, None, false), Kvm::Refused(Errno::BUSY));
    }
}
