//! What the machine is called, and its interfaces.

use crate::{Error, Result};
use casemate_core::guest::{ADDRESS, GATEWAY, INTERFACE, MASK, RESOLVER};
use std::path::Path;

/// Until the host says otherwise.
const NAME: &str = "sandbox";
/// Bytes of a name (hostname(7), one label).
const LONGEST: usize = 63;

/// Sets both.
pub(super) fn settle() -> Result<()> {
    casemate_sys::net::loopback_up()
        .map_err(|e| Error::errno("bring up the loopback interface", e.raw_os_error()))?;
    set_host_name(NAME)?;
    match Path::new("/sys/class/net").join(INTERFACE).exists() {
        true => connect(),
        false => Ok(()),
    }
}

/// Sets up the machine's interface, and who resolves names.
fn connect() -> Result<()> {
    casemate_sys::net::interface_up(INTERFACE, ADDRESS, MASK, GATEWAY).map_err(|e| {
        Error::errno("set up the network interface", e.raw_os_error()).on(INTERFACE)
    })?;
    let file = Path::new("/etc/resolv.conf");
    // A link may lead to where nothing is yet.
    let _ = std::fs::remove_file(file);
    std::fs::write(file, format!("nameserver {RESOLVER}\n"))
        .map_err(|e| Error::io("write", &e).on(file.display()))
}

/// Calls the machine so.
pub(super) fn set_host_name(name: &str) -> Result<()> {
    let step = "set the host name";
    if !is_label(name) {
        let why = "it is no label of letters, digits and hyphens";
        return Err(Error::rule(step, why));
    }
    rustix::system::sethostname(name.as_bytes())
        .map_err(|e| Error::errno(step, e.raw_os_error()).on(name))
}

fn is_label(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    !name.is_empty()
        && name.len() <= LONGEST
        && name.bytes().all(plain)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_label() {
        for name in ["a", "sandbox-7", "7"] {
            assert!(is_label(name), "{name}");
        }
        let long = "a".repeat(64);
        for name in ["", "-a", "a-", "a.b", "a b", "a\n", "ä", &long] {
            assert!(!is_label(name), "{name}");
        }
    }
}
