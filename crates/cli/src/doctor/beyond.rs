//! What the rest of Casemate is better for: egress, virtual machines, canisters.

use casemate_core::error::{Cause, Error};
use casemate_sys::probe::kvm::Kvm;
use casemate_sys::probe::nftables::Nftables;
use casemate_sys::probe::userfaultfd::Userfaultfd;
use casemate_sys::probe::yama::Scope;
use casemate_sys::probe::{Attempt, Survey, errno_name};
use casemate_vm::accelerator::LABEL;
use casemate_vm::choose::{Given, choose};
use casemate_vm::driver::Accelerator;
use casemate_vm::qemu::Qemu;
use rustix::io::Errno;

use super::{Check, Finding};

pub(super) fn checks(survey: &Survey) -> Vec<Check> {
    vec![
        nftables(&survey.nftables)
            .wanted("nftables", "sending a sandbox's connections to the proxy"),
        kvm(survey.kvm).wanted("kvm", "microVMs at the processor's speed"),
        machines(survey.kvm, Qemu::find().is_ok())
            .wanted("machines", "sandboxes that are virtual machines"),
        userfaultfd(&survey.userfaultfd).wanted("userfaultfd", "memory restored page by page"),
        pagemap_scan(survey.pagemap_scan).wanted("pagemap-scan", "dirty pages in one call"),
        yama(survey.yama).wanted("yama", "who may look into whose process"),
    ]
}

fn nftables(found: &Nftables) -> Finding {
    let parts = [
        ("loopback", found.loopback, "", ""),
        (
            "table",
            found.table,
            "nf_tables",
            "NF_TABLES and NF_TABLES_INET",
        ),
        (
            "chain",
            found.chain,
            "nf_tables",
            "NF_TABLES and NF_TABLES_INET",
        ),
        ("tproxy", found.tproxy, "nft_tproxy", "NFT_TPROXY"),
        ("reject", found.reject, "nft_reject_inet", "NFT_REJECT_INET"),
    ];
    let failed = parts.iter().find(|(_, attempt, ..)| !attempt.worked());
    match failed {
        None if found.ipv6.worked() => Finding::ok("table, chain, tproxy, reject"),
        None => Finding::weak(
            format!("table, chain, tproxy, reject; IPv6: {}", found.ipv6),
            "sandboxes have IPv4 only: boot a kernel with CONFIG_IPV6 and set \
             net.ipv6.conf.all.disable_ipv6 to 0",
        ),
        Some((name, Attempt::NotReached, ..)) => Finding::not_reached(name),
        Some((name, attempt, "", _)) => Finding::missing(
            format!("{name}: {attempt}"),
            "let a network namespace's own root configure it: a container's filter or a \
             security module forbids that",
        ),
        Some((name, attempt, module, options)) => Finding::missing(
            format!("{name}: {attempt}"),
            format!("as root: modprobe {module}, or boot a kernel with CONFIG_{options}"),
        ),
    }
}

fn kvm(kvm: Kvm) -> Finding {
    const EMULATION: &str = "without it, microVMs run under QEMU's emulation: slow, and for \
                             development only";
    match kvm {
        Kvm::Native { rate } => {
            Finding::ok(format!("native, {} guest instructions/s", speed(rate)))
        }
        Kvm::Emulated { rate } => Finding::weak(
            format!("emulated, {} guest instructions/s", speed(rate)),
            "the guest's kernel is emulated: use a machine with hardware virtualisation (bare \
             metal, or nesting switched on) for anything but tests",
        ),
        Kvm::Stuck => Finding::missing(
            "a guest of 40,000 instructions did not come to its end",
            "use another machine, or QEMU's emulation for development",
        ),
        Kvm::NoPermission => Finding::missing(
            "no permission to open /dev/kvm",
            "as root: usermod -aG kvm $USER and log in again (where no group owns the device: \
             chgrp kvm /dev/kvm && chmod 660 /dev/kvm)",
        ),
        Kvm::Absent => Finding::missing(
            "no /dev/kvm",
            format!(
                "switch virtualisation on in the firmware (or nesting on the host) and modprobe \
                 kvm_intel or kvm_amd; a container: --device /dev/kvm; {EMULATION}"
            ),
        ),
        Kvm::Refused(errno) => Finding::missing(
            format!("opens, and then {}", errno_name(errno)),
            "another hypervisor may hold the processor (VirtualBox, VMware), or KVM is broken \
             here: see dmesg",
        ),
        Kvm::Untested => Finding::weak("opens", "its speed can't be measured on this processor"),
    }
}

/// Which monitor sandboxes would have. Firecracker's driver isn't theirs yet.
fn machines(kvm: Kvm, qemu: bool) -> Finding {
    let given = Given {
        kvm,
        firecracker: false,
        qemu,
        allow_emulation: true,
        wish: None,
    };
    match choose(&given) {
        Ok(choice) if choice.accelerator == Accelerator::Kvm => {
            Finding::ok(format!("{} with KVM", choice.driver))
        }
        Ok(choice) => Finding::weak(
            format!("{}, which translates: {LABEL}", choice.driver),
            "see kvm; until then, --allow-emulation",
        ),
        Err(Error { cause, hint, .. }) => {
            let why = match cause {
                Cause::Rule(why) => why,
                Cause::Errno(errno) => errno.to_string(),
            };
            Finding::missing(why, hint.unwrap_or_default())
        }
    }
}

/// Instructions a millisecond as millions a second.
fn speed(rate: u32) -> String {
    let millions = f64::from(rate) / 1000.0;
    match rate {
        ..100_000 => format!("{millions:.1} M"),
        _ => format!("{millions:.0} M"),
    }
}

fn userfaultfd(found: &Userfaultfd) -> Finding {
    if !found.fills.worked() {
        let value = format!("call: {}, device: {}", found.user_faults, found.device);
        return Finding::missing(
            value,
            "boot a kernel with CONFIG_USERFAULTFD=y; in a container, allow userfaultfd",
        );
    }
    let tracking = match found.tracks_writes {
        true => ", tracks writes",
        false => "",
    };
    if found.kernel_faults.worked() || found.device.worked() {
        return Finding::ok(format!("faults of user and kernel{tracking}"));
    }
    Finding::weak(
        format!("faults of user code only{tracking}"),
        "restoring a VM's memory needs the kernel's faults too: as root, chmod 660 \
         /dev/userfaultfd with a group of this user's, or sysctl -w vm.unprivileged_userfaultfd=1",
    )
}

fn pagemap_scan(attempt: Attempt) -> Finding {
    match attempt {
        Attempt::Worked => Finding::ok("works"),
        Attempt::Refused(Errno::NOENT) => {
            Finding::missing("no /proc", "as root: mount -t proc proc /proc")
        }
        other => Finding::missing(
            other.to_string(),
            "boot Linux 6.7 or later with CONFIG_PROC_PAGE_MONITOR=y; until then dirty pages are \
             found by a fault each",
        ),
    }
}

fn yama(scope: Scope) -> Finding {
    match scope {
        Scope::None => Finding::ok("not in this kernel"),
        Scope::SameUser => Finding::ok("ptrace_scope 0"),
        Scope::Descendants => Finding::ok("ptrace_scope 1"),
        Scope::Capable => Finding::ok("ptrace_scope 2"),
        Scope::Nobody => Finding::weak(
            "ptrace_scope 3: pidfd_getfd is refused",
            "set kernel.yama.ptrace_scope to 2 or less in /etc/sysctl.d and reboot",
        ),
        Scope::Other(value) => Finding::weak(
            format!("ptrace_scope {value}, which is unknown"),
            "a value from 0 to 2 is known to work",
        ),
    }
}
