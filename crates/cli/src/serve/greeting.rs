//! What is said at the start: where it listens, what clients set, and, the first time, the key.

use super::front::Front;
use crate::platform::{ClientFile, urls};
use crate::printer;
use casemate_control::Control;
use casemate_core::error::{Error, Result};
use std::path::Path;

/// What clients have to have in their environment.
pub(super) type Variables = Vec<(&'static str, String)>;

/// See the module; `keep` keeps the first key for the commands of this user.
pub(super) fn greet(
    front: &Front,
    variables: &Variables,
    control: &Control,
    data: &Path,
    keep: bool,
) -> Result<()> {
    let key = control.first_key();
    if keep {
        introduce(front, data, key.as_deref())?;
    }
    let key = key.as_ref().map(|key| ("E2B_API_KEY", key.clone()));
    let words = key.iter().chain(variables);
    let words = words.map(|(name, value)| format!(" {name}={}", quoted(value)));
    let mut text = format!(
        "casemate: serving on {}\nexport{}\n",
        front.url(),
        words.collect::<String>()
    );
    if let (Some(names), Some(domain)) = (&front.names, front.domain()) {
        let at = names.at;
        text += &format!("casemate: {domain} and the names below it are answered for at {at}\n");
    }
    if front.told().is_some() && front.secure_domain().is_none() {
        printer::note(
            "E2B's clients reach a domain by https alone, so they are told the URL: --tls speaks it \
             here, and --behind-proxy says that a proxy in front does",
        );
    }
    // Nobody has to listen, unless this is the only time and place where the key is told.
    match printer::say(&text) {
        Err(error) if key.is_some() && !keep => {
            Err(
                Error::rule("show the first key", format!("{error:#}")).hint(format!(
                    "nobody knows it now: remove {} and start again",
                    data.join("platform.sqlite").display()
                )),
            )
        }
        _ => Ok(()),
    }
}

/// Keeps the first key for the commands of this user, and later the URL up to date. The first key
/// is never known again, so a file that is gone stays gone.
fn introduce(front: &Front, data: &Path, first: Option<&str>) -> Result<()> {
    let key = match (first, ClientFile::read(data)?) {
        (Some(first), _) => first.to_owned(),
        (None, Some(file)) => file.key.clone(),
        (None, None) => return Ok(()),
    };
    let domain = front.told().filter(|_| front.tls.is_some());
    let file = match domain.as_deref().map(urls) {
        Some([url, sandboxes]) => ClientFile {
            url,
            key,
            sandboxes: Some(sandboxes),
            address: Some(front.address),
            authority: front.authority(data),
        },
        None => ClientFile {
            url: front.url(),
            key,
            sandboxes: None,
            address: None,
            authority: None,
        },
    };
    file.write(data)
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/.:_-[]".contains(&byte);
    match word.bytes().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_shell_reads_back_what_was_meant() {
        assert_eq!(quoted("https://[::1]:3000"), "https://[::1]:3000");
        assert_eq!(quoted("/a b/it's"), r"'/a b/it'\''s'");
    }
}
