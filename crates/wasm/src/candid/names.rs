//! Names of fields and tags, which bytes of Candid have only as numbers.
//!
//! All types that are handed to the crate have numbers, too: it would compute them from the names
//! again and again, and it mistakes some names for something else.

use super::fault::quoted;
use candid::types::Label;
use std::collections::BTreeMap;

/// The longest name that is shown, bytes.
const LONGEST: usize = 100;

/// What numbers are called in an interface.
#[derive(Default)]
pub(super) struct Names(BTreeMap<u32, Option<String>>);

impl Names {
    /// Learns a name. A number with two names has none.
    pub(super) fn learn(&mut self, label: &Label) {
        let Label::Named(name) = label else { return };
        let new = (name.len() <= LONGEST).then(|| name.clone());
        let known = self.0.entry(label.get_id()).or_insert_with(|| new.clone());
        if *known != new {
            *known = None;
        }
    }

    /// The name of a number.
    pub(super) fn of(&self, number: u32) -> Option<&str> {
        self.0.get(&number)?.as_deref()
    }

    /// As it is said in a message.
    pub(super) fn shown(&self, label: &Label) -> String {
        let name = match label {
            Label::Named(name) => Some(name.as_str()),
            Label::Id(number) | Label::Unnamed(number) => self.of(*number),
        };
        match name {
            Some(name) => quoted(name).trim_matches('"').to_owned(),
            None => label.get_id().to_string(),
        }
    }
}
