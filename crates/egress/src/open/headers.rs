//! What is set in requests, by host. Secrets stand here: nothing of it is ever shown.

use super::names::{Names, Pattern};
use super::{Invalid, MOST};
use crate::host::Host;
use crate::http1;
use std::collections::BTreeMap;

/// Headers of one host.
const MOST_OF_HOST: usize = 64;
/// Bytes of one value.
const MOST_BYTES: usize = 8 << 10;

/// A header's name and its value.
pub type Setting<'a> = (&'a str, &'a str);

/// See the module.
#[derive(Default, PartialEq, Eq)]
pub(super) struct Headers(Names<BTreeMap<String, String>>);

impl Headers {
    pub(super) fn new(asked: &BTreeMap<String, BTreeMap<String, String>>) -> Result<Self, Invalid> {
        if asked.len() > MOST {
            return Err(Invalid::new(
                "network.rules",
                format!("more than {MOST} hosts"),
            ));
        }
        let mut headers = Names::<BTreeMap<_, _>>::default();
        for (host, set) in asked {
            let pattern = Pattern::parse(host)
                .map_err(|_| Invalid::new("network.rules", format!("'{host}' is no host")))?;
            check(host, set)?;
            if !set.is_empty() {
                headers.at(pattern).extend(set.clone());
            }
        }
        Ok(Self(headers))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn has(&self, host: &Host) -> bool {
        self.0.has(host)
    }

    /// Of patterns that set the same header, the closest wins.
    pub(super) fn of(&self, host: &Host) -> Vec<(&str, &str)> {
        let mut settings: Vec<(&str, &str)> = Vec::new();
        for (name, value) in self.0.matching(host).flatten() {
            if !settings.iter().any(|own| own.0.eq_ignore_ascii_case(name)) {
                settings.push((name, value));
            }
        }
        settings
    }
}

fn check(host: &str, set: &BTreeMap<String, String>) -> Result<(), Invalid> {
    let invalid = |why: String| Invalid::new(format!("network.rules.{host}"), why);
    if set.len() > MOST_OF_HOST {
        return Err(invalid(format!("more than {MOST_OF_HOST} headers")));
    }
    for (name, value) in set {
        let shown = name.escape_debug();
        if http1::is_of_connection(name) {
            return Err(invalid(format!(
                "the header '{shown}' belongs to the connection"
            )));
        }
        let fits = value.len() <= MOST_BYTES && name.len() <= MOST_OF_HOST;
        let sound = http1::Headers::default().add(name, value.as_bytes());
        if !fits || sound.is_err() {
            return Err(invalid(format!("the header '{shown}' can't be sent")));
        }
    }
    Ok(())
}
