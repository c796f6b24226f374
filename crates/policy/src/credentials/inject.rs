//! The header that a credential is put in.

use crate::fields::Fields;
use crate::quote::quoted;
use crate::report::Report;

/// What stands for the secret in a header's value.
const MARK: &str = "{secret}";

/// Headers that say how a request is read, or where it goes.
const NEVER: [&str; 13] = [
    "host",
    "content-length",
    "transfer-encoding",
    "content-encoding",
    "content-type",
    "connection",
    "keep-alive",
    "upgrade",
    "te",
    "trailer",
    "expect",
    "proxy-authorization",
    "proxy-connection",
];

/// A header that each request gets, in the place of what the program sent under its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injection {
    /// Its name.
    pub header: String,
    /// Its value.
    pub form: Form,
}

/// How the secret stands in the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// Between two texts, such as `Bearer ` and nothing.
    Text(String, String),
    /// As the password of this user (RFC 7617).
    Basic(String),
}

pub(super) fn read(credential: &Fields<'_>, report: &mut Report) -> Option<Injection> {
    let fields = credential.section_as("inject", "inject", report)?;
    let hint = "write `inject: {header: Authorization, value: \"Bearer {secret}\"}`";
    let header = fields.needed_text("header", hint, report)?;
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let name = header.value;
    if !name.bytes().all(token) || NEVER.iter().any(|own| name.eq_ignore_ascii_case(own)) {
        let message = format!("{} is no header to put a secret in", quoted(name));
        report.add_with_hint(
            header.position,
            message,
            "`Authorization` and `X-Api-Key` are",
        );
        return None;
    }
    if let [(_, _), (second, at)] = fields.given(&["value", "basic"])[..] {
        let message = format!("`{}` and the other form of it", fields.path_of(second));
        report.add_with_hint(at, message, "give either `value` or `basic`");
        return None;
    }
    let form = match fields.text("basic", report) {
        Some(user) if user.value.contains(':') || !is_value(user.value) => {
            let message = format!("{} can't be the name of a user", quoted(user.value));
            report.add(user.position, message);
            return None;
        }
        Some(user) => Form::Basic(user.value.to_owned()),
        None => {
            let value = fields.needed_text("value", hint, report)?;
            let parts = value.value.split_once(MARK);
            let parts = parts.filter(|(before, after)| {
                is_value(before) && is_value(after) && !after.contains(MARK)
            });
            let Some((before, after)) = parts else {
                let message = format!("{} doesn't have one `{MARK}` in it", quoted(value.value));
                report.add_with_hint(value.position, message, hint);
                return None;
            };
            Form::Text(before.to_owned(), after.to_owned())
        }
    };
    Some(Injection {
        header: name.to_owned(),
        form,
    })
}

fn is_value(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}
