//! `casemate serve --print-unit`: the same server as a service of systemd (systemd.service(5)).
//!
//! Sandboxes are processes of their own that go on while the server is restarted, so systemd stops
//! the server alone (`KillMode=process`), and the group that it is in is the server's to divide.

use casemate_core::error::{Error, Result};
use std::ffi::OsString;

/// The flag itself, which isn't the service's.
pub(crate) const FLAG: &str = "--print-unit";

/// The unit for this program with these arguments.
pub(crate) fn text(program: &str, arguments: &[String], as_root: bool) -> String {
    let words = std::iter::once(program).chain(arguments.iter().map(String::as_str));
    let command: Vec<String> = words.map(quoted).collect();
    let command = command.join(" ");
    let target = match as_root {
        true => "multi-user.target",
        false => "default.target",
    };
    format!(
        "\
[Unit]
Description=Casemate: sandboxes for code that you don't trust

[Service]
Type=exec
ExecStart={command}
# Sandboxes outlive the server, which finds them again: only the server itself is stopped.
KillMode=process
# It lets requests end for 10 seconds.
TimeoutStopSec=30
Restart=on-failure
# One sandbox that runs out of memory ends by itself.
OOMPolicy=continue
# Limits of sandboxes are cgroups below the service's own.
Delegate=yes
TasksMax=infinity
LimitNOFILE=1048576

[Install]
WantedBy={target}
"
    )
}

/// The one that this process was asked for.
pub(crate) fn own() -> Result<String> {
    let step = "write a unit";
    let utf8 = |word: OsString| {
        word.into_string()
            .map_err(|word| Error::rule(step, "it is not UTF-8").on(word.display()))
    };
    let program = std::env::current_exe().map_err(|error| Error::io(step, &error))?;
    let arguments: Vec<String> = std::env::args_os()
        .skip(1)
        .map(utf8)
        .collect::<Result<_>>()?;
    let others: Vec<String> = arguments.into_iter().filter(|word| word != FLAG).collect();
    let as_root = rustix::process::geteuid().is_root();
    Ok(text(&utf8(program.into())?, &others, as_root))
}

/// A word of a command line as systemd reads it: specifiers and variables are none.
fn quoted(word: &str) -> String {
    let escaped = word
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
        .replace('%', "%%")
        .replace('$', "$$");
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+%$".contains(c);
    match !escaped.is_empty() && escaped.chars().all(is_plain) {
        true => escaped,
        false => format!("\"{escaped}\""),
    }
}

#[cfg(test)]
mod tests {
    use super::{quoted, text};

    #[test]
    fn words_are_what_they_were() {
        assert_eq!(quoted("--listen=127.0.0.1:3000"), "--listen=127.0.0.1:3000");
        assert_eq!(quoted("a b"), "\"a b\"");
        assert_eq!(quoted("100%$HOME"), "100%%$$HOME");
        assert_eq!(quoted("\"\\"), "\"\\\"\\\\\"");
        assert_eq!(quoted(""), "\"\"");
    }

    #[test]
    fn only_the_server_is_stopped() {
        let unit = text("/bin/casemate", &["serve".into()], false);
        assert!(unit.contains("\nExecStart=/bin/casemate serve\n"), "{unit}");
        assert!(unit.contains("\nKillMode=process\n"), "{unit}");
        assert!(unit.ends_with("WantedBy=default.target\n"), "{unit}");
    }
}
