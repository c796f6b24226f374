//! `process`: as whom the program runs.

use crate::fields::Fields;
use crate::node::{Node, Value};
use crate::position::Located;
use crate::report::Report;

/// The section `process`. What isn't given is for the driver to decide.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// The user; none if it's not given, or given as the empty string.
    pub run_as_user: Option<Located<Account>>,
    /// The group; none if it's not given, or given as the empty string.
    pub run_as_group: Option<Located<Account>>,
}

/// A user or a group inside the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Account {
    /// The name `sandbox`, whatever number that is inside.
    Sandbox,
    /// A numeric id: neither 0, which is root, nor 4294967295, which the kernel takes for "none".
    Id(u32),
}

/// The largest id: one below the `(uid_t) -1` that setuid(2) and chown(2) treat as "leave it".
const MAX_ID: u32 = u32::MAX - 1;

pub(crate) fn read(document: &Fields<'_>, report: &mut Report) -> Process {
    let Some(fields) = document.section("process", report) else {
        return Process::default();
    };
    Process {
        run_as_user: account(&fields, "run_as_user", report),
        run_as_group: account(&fields, "run_as_group", report),
    }
}

fn account(fields: &Fields<'_>, field: &str, report: &mut Report) -> Option<Located<Account>> {
    let node = fields.get(field)?;
    let text = match &node.value {
        Value::Scalar { text, .. } => &**text,
        Value::List(_) | Value::Map(_) => "",
    };
    match parse(text) {
        Some(account) => Some(Located::new(account, node.position)),
        None if is_empty(node) => None,
        None => {
            let message = format!(
                "`{}` must be `sandbox` or a number from 1 to {MAX_ID}, found {}",
                fields.path_of(field),
                node.found()
            );
            match hint(text) {
                Some(hint) => report.add_with_hint(node.position, message, hint),
                None => report.add(node.position, message),
            }
            None
        }
    }
}

/// `run_as_user: ""`, and `run_as_user:` with nothing after it.
fn is_empty(node: &Node) -> bool {
    node.is_null() || node.as_string() == Some("")
}

fn parse(text: &str) -> Option<Account> {
    if text == "sandbox" {
        return Some(Account::Sandbox);
    }
    // Digits only, and none of them a leading zero: signs, bases and octal are open to more than
    // one reading, and an id must not be.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    let id = digits.then(|| text.parse().ok()).flatten()?;
    (id <= MAX_ID).then_some(Account::Id(id))
}

fn hint(text: &str) -> Option<&'static str> {
    match text {
        "0" | "root" => Some("a sandbox never runs as root"),
        "" => None,
        _ if text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') => {
            Some("names other than `sandbox` are not looked up; give the number")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Account, parse};

    #[test]
    fn accounts() {
        for (text, account) in [
            ("sandbox", Some(Account::Sandbox)),
            ("1", Some(Account::Id(1))),
            ("4294967294", Some(Account::Id(4_294_967_294))),
            ("4294967295", None),
            ("4294967296", None),
            ("99999999999999999999", None),
            ("0", None),
            ("01", None),
            ("+1", None),
            ("-1", None),
            ("0x10", None),
            ("1.0", None),
            ("1_000", None),
            (" 1", None),
            ("\u{661}", None),
            ("", None),
            ("root", None),
            ("Sandbox", None),
        ] {
            assert_eq!(parse(text), account, "{text:?}");
        }
    }
}
