//! What may run the guest's instructions here.
//!
//! That `/dev/kvm` opens means little: see [`casemate_sys::probe::kvm`]. Only a KVM that runs a
//! guest's kernel on the processor is taken. Translation is a boundary that nobody vouches for, so
//! whoever wants it has to say so.

use crate::driver::Accelerator;
use casemate_core::error::{Error, Result};
use casemate_sys::probe::kvm::Kvm;

/// What translated machines are called wherever a person meets them.
pub const LABEL: &str = "development and tests, no security boundary";

/// Chooses by what a probe has found.
///
/// # Errors
/// There is no KVM that is worth its name, and translation isn't allowed.
pub fn choose(kvm: Kvm, allow_emulation: bool) -> Result<Accelerator> {
    let why = match kvm {
        Kvm::Native { .. } => return Ok(Accelerator::Kvm),
        _ if allow_emulation => return Ok(Accelerator::Tcg),
        Kvm::Emulated { .. } => "KVM emulates a guest's kernel here",
        Kvm::Stuck => "a guest under KVM doesn't get on here",
        Kvm::NoPermission => "this user may not open /dev/kvm",
        Kvm::Absent => "there is no KVM",
        Kvm::Refused(_) => "KVM refuses to run a guest",
        Kvm::Untested => "nobody knows what KVM is worth on this processor",
    };
    let refused = Error::rule("run a virtual machine", why);
    Err(match kvm {
        Kvm::NoPermission => refused.hint("add the user to the group of /dev/kvm"),
        _ => refused.hint(format!("--allow-emulation translates instead ({LABEL})")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHERS: [Kvm; 5] = [
        Kvm::Emulated { rate: 3_000 },
        Kvm::Stuck,
        Kvm::NoPermission,
        Kvm::Absent,
        Kvm::Untested,
    ];

    #[test]
    fn only_native_kvm_is_taken() {
        let native = Kvm::Native { rate: 2_000_000 };
        assert_eq!(choose(native, true), Ok(Accelerator::Kvm));
        assert_eq!(choose(native, false), Ok(Accelerator::Kvm));
        for other in OTHERS {
            assert_eq!(choose(other, true), Ok(Accelerator::Tcg));
            let error = choose(other, false).expect_err("it isn't allowed");
            assert!(error.hint.is_some());
        }
    }
}
