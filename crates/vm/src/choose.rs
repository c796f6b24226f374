//! Which monitor runs machines here, and what runs their guests' instructions.
//!
//! | KVM | wished for | taken |
//! |---|---|---|
//! | native | nothing | Firecracker if it is installed, else QEMU with KVM |
//! | anything else | nothing | QEMU, which translates, if that is allowed |
//! | as in [`accelerator`] | QEMU | QEMU |
//! | native, or a device that opens | Firecracker | Firecracker |
//!
//! Firecracker translates nothing. On a KVM that isn't native it is taken only by name: an ordinary
//! kernel doesn't live there.

use crate::accelerator::{self, LABEL};
use crate::driver::Accelerator;
use casemate_core::error::{Error, Result};
use casemate_sys::probe::kvm::Kvm;
use std::fmt;

/// A program that runs machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// See [`crate::firecracker`].
    Firecracker,
    /// See [`crate::qemu`].
    Qemu,
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Firecracker => "Firecracker",
            Self::Qemu => "QEMU",
        })
    }
}

/// What is here, and what is wished for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Given {
    /// What a probe has found.
    pub kvm: Kvm,
    /// Whether Firecracker is installed.
    pub firecracker: bool,
    /// Whether QEMU is.
    pub qemu: bool,
    /// Whether QEMU may translate.
    pub allow_emulation: bool,
    /// One by its name; `None` is `auto`.
    pub wish: Option<Driver>,
}

/// What is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Which monitor.
    pub driver: Driver,
    /// What runs the guest's instructions.
    pub accelerator: Accelerator,
    /// Why, in one line.
    pub why: String,
}

/// Chooses.
///
/// # Errors
/// Nothing that is here may be taken.
pub fn choose(given: &Given) -> Result<Choice> {
    match given.wish {
        Some(Driver::Firecracker) => firecracker_by_name(given),
        None if given.firecracker && is_native(given.kvm) => Ok(Choice {
            driver: Driver::Firecracker,
            accelerator: Accelerator::Kvm,
            why: "KVM is native here, and Firecracker is installed".to_owned(),
        }),
        _ => qemu(given),
    }
}

fn is_native(kvm: Kvm) -> bool {
    matches!(kvm, Kvm::Native { .. })
}

fn qemu(given: &Given) -> Result<Choice> {
    let accelerator = accelerator::choose(given.kvm, given.allow_emulation)?;
    if !given.qemu {
        let (why, hint) = match accelerator {
            _ if given.wish.is_some() => ("QEMU isn't installed", INSTALL_QEMU),
            Accelerator::Kvm => ("neither Firecracker nor QEMU is installed", INSTALL_EITHER),
            Accelerator::Tcg => ("only QEMU can here, and it isn't installed", INSTALL_QEMU),
        };
        return Err(Error::rule("choose a machine monitor", why).hint(hint));
    }
    let because = match given.wish {
        Some(_) => "it was asked for by name",
        None if accelerator == Accelerator::Kvm => "Firecracker isn't installed",
        None => "nothing else can here",
    };
    let how = match accelerator {
        Accelerator::Kvm => "KVM is native here".to_owned(),
        Accelerator::Tcg => format!("it translates: {LABEL}"),
    };
    Ok(Choice {
        driver: Driver::Qemu,
        accelerator,
        why: format!("{because}; {how}"),
    })
}

const INSTALL_QEMU: &str = "install it: on Debian, the package qemu-system-x86";
const INSTALL_EITHER: &str =
    "put `firecracker` on PATH, or install QEMU: on Debian, the package qemu-system-x86";

fn firecracker_by_name(given: &Given) -> Result<Choice> {
    let refused = |why: &str| Error::rule("run machines with Firecracker", why);
    if !given.firecracker {
        return Err(refused("it isn't installed").hint("put `firecracker` on PATH"));
    }
    let how = match given.kvm {
        Kvm::Native { .. } => "KVM is native here",
        Kvm::Emulated { .. } => {
            "KVM emulates a guest's kernel here, which ordinary ones don't survive"
        }
        Kvm::Stuck => "a guest under KVM didn't get on here",
        Kvm::Untested => "nobody knows what KVM is worth on this processor",
        Kvm::NoPermission => {
            return Err(refused("this user may not open /dev/kvm")
                .hint("add the user to the group of /dev/kvm"));
        }
        Kvm::Absent => return Err(refused("there is no KVM").hint(INSTEAD)),
        Kvm::Refused(_) => return Err(refused("KVM refuses to run a guest").hint(INSTEAD)),
    };
    Ok(Choice {
        driver: Driver::Firecracker,
        accelerator: Accelerator::Kvm,
        why: format!("it was asked for by name; {how}"),
    })
}

const INSTEAD: &str = "--driver qemu --allow-emulation translates instead";

#[cfg(test)]
mod tests {
    use super::*;
    use casemate_sys::Errno;

    const NATIVE: Kvm = Kvm::Native { rate: 2_000_000 };
    const OTHERS: [Kvm; 6] = [
        Kvm::Emulated { rate: 3_000 },
        Kvm::Stuck,
        Kvm::NoPermission,
        Kvm::Absent,
        Kvm::Refused(Errno::NODEV),
        Kvm::Untested,
    ];
    const FIRECRACKER: (Driver, Accelerator) = (Driver::Firecracker, Accelerator::Kvm);
    const QEMU_KVM: (Driver, Accelerator) = (Driver::Qemu, Accelerator::Kvm);
    const QEMU_TCG: (Driver, Accelerator) = (Driver::Qemu, Accelerator::Tcg);

    /// What comes of everything that can be given: what the table of the module says, once more.
    fn expected(given: &Given) -> Option<(Driver, Accelerator)> {
        let Given {
            kvm,
            firecracker,
            qemu,
            allow_emulation,
            wish,
        } = *given;
        let opens = !matches!(kvm, Kvm::NoPermission | Kvm::Absent | Kvm::Refused(_));
        match wish {
            Some(Driver::Firecracker) => (firecracker && opens).then_some(FIRECRACKER),
            None if kvm == NATIVE && firecracker => Some(FIRECRACKER),
            _ if kvm == NATIVE => qemu.then_some(QEMU_KVM),
            _ => (qemu && allow_emulation).then_some(QEMU_TCG),
        }
    }

    #[test]
    fn all_that_can_be_given_is_as_the_table_says() {
        let mut taken = [0; 4];
        for kvm in OTHERS.into_iter().chain([NATIVE]) {
            for bits in 0..8 {
                for wish in [None, Some(Driver::Firecracker), Some(Driver::Qemu)] {
                    let given = Given {
                        kvm,
                        firecracker: bits & 1 != 0,
                        qemu: bits & 2 != 0,
                        allow_emulation: bits & 4 != 0,
                        wish,
                    };
                    let expected = expected(&given);
                    taken[expected.map_or(0, |one| {
                        [FIRECRACKER, QEMU_KVM, QEMU_TCG]
                            .iter()
                            .position(|other| *other == one)
                            .map_or(0, |at| at + 1)
                    })] += 1;
                    match choose(&given) {
                        Ok(choice) => {
                            assert_eq!(Some((choice.driver, choice.accelerator)), expected);
                            assert!(!choice.why.contains('\n'), "{choice:?}");
                        }
                        Err(error) => {
                            assert_eq!(expected, None, "{given:?}");
                            assert!(error.hint.is_some(), "{error}");
                        }
                    }
                }
            }
        }
        assert_eq!(taken.iter().sum::<u32>(), 7 * 8 * 3);
        assert!(taken.iter().all(|count| *count > 0), "{taken:?}");
    }

    #[test]
    fn firecracker_is_not_taken_by_itself_unless_kvm_is_native() {
        for kvm in OTHERS {
            let given = Given {
                kvm,
                firecracker: true,
                qemu: true,
                allow_emulation: true,
                wish: None,
            };
            let choice = choose(&given).expect("QEMU translates");
            assert_eq!(choice.driver, Driver::Qemu);
            assert!(choice.why.contains(LABEL), "{}", choice.why);
        }
    }
}
