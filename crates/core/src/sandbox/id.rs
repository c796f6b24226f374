//! Ids of sandboxes.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The id of a sandbox: `i` and 20 characters of `[0-9a-z]`, as E2B's clients know it. It is part
/// of host names (`{port}-{id}.domain`) and of file names, so nothing else is ever accepted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SandboxId(String);

impl SandboxId {
    const LENGTH: usize = 20;
    const ALPHABET: &'static [u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

    /// An id of random bytes. 20 characters hold some 100 bits: no two are ever alike, and none
    /// can be guessed.
    pub fn of(random: [u8; 20]) -> Self {
        let letters = random
            .iter()
            .map(|byte| char::from(Self::ALPHABET[usize::from(*byte) % Self::ALPHABET.len()]));
        Self(std::iter::once('i').chain(letters).collect())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SandboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SandboxId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix('i').map(str::as_bytes);
        match rest {
            Some(rest)
                if rest.len() == Self::LENGTH
                    && rest.iter().all(|byte| Self::ALPHABET.contains(byte)) =>
            {
                Ok(Self(text.into()))
            }
            _ => Err("a sandbox id is `i` and 20 characters of 0-9 and a-z".into()),
        }
    }
}

impl TryFrom<String> for SandboxId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<SandboxId> for String {
    fn from(id: SandboxId) -> Self {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use super::SandboxId;

    #[test]
    fn ids_are_read_back() {
        let id = SandboxId::of(*b"\x00\x01\x02\x23\x24\xff6789abcdefghij");
        assert_eq!(id.as_str().len(), 21);
        assert_eq!(id.as_str().parse(), Ok(id));
    }

    #[test]
    fn what_could_be_a_path_or_a_host_is_no_id() {
        for text in [
            "",
            "i",
            "i0123456789abcdefghi",
            "i0123456789abcdefghijk",
            "i../../../../../../../",
            "i0123456789abcdefgh.j",
            "I0123456789abcdefghij",
            "x0123456789abcdefghij",
            "i0123456789abcdefghi\u{e9}",
        ] {
            assert!(text.parse::<SandboxId>().is_err(), "{text}");
        }
    }
}
