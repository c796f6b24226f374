//! Text out of a module, made fit for a message.

use std::fmt;

/// A name out of a module: hostile text, shown short and on one line.
#[derive(Clone, PartialEq, Eq)]
pub struct Named(String);

/// Names longer than this are cut when they are shown.
const SHOWN: usize = 100;

impl Named {
    pub(in crate::module) fn new(name: &str) -> Self {
        let mut shown: String = name.chars().take(SHOWN).collect();
        if shown.len() < name.len() {
            shown.push('…');
        }
        Self(shown)
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0.escape_debug())
    }
}

impl fmt::Debug for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A message that may quote the module: cut, and with nothing that a terminal obeys.
pub(in crate::module) fn quoted(message: &str) -> String {
    let mut quoted = String::new();
    for letter in message.chars().take(3 * SHOWN) {
        match letter.is_control() {
            true => quoted.extend(letter.escape_default()),
            false => quoted.push(letter),
        }
    }
    quoted
}
