//! Ids of sandboxes, and of what is written of them.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

const LENGTH: usize = 20;
const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// An id of this kind begins with this letter.
macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $letter:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// An id of random bytes. 20 characters hold some 100 bits: no two are ever alike, and
            /// none can be guessed.
            pub fn of(random: [u8; LENGTH]) -> Self {
                Self(spelled($letter, random))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match is_spelled($letter, text) {
                    true => Ok(Self(text.into())),
                    false => Err(format!(
                        "it is no `{}` and {LENGTH} characters of 0-9 and a-z",
                        $letter
                    )),
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

id!(
    /// The id of a sandbox: `i` and 20 characters of `[0-9a-z]`, as E2B's clients know it. It is
    /// part of host names (`{port}-{id}.domain`) and of file names, so nothing else is ever accepted.
    SandboxId,
    'i'
);

id!(
    /// The id of a sandbox that was written down: `s` and 20 characters of `[0-9a-z]`. Names of
    /// files are made of it.
    SnapshotId,
    's'
);

fn spelled(letter: char, random: [u8; LENGTH]) -> String {
    let letters = random
        .iter()
        .map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]));
    std::iter::once(letter).chain(letters).collect()
}

fn is_spelled(letter: char, text: &str) -> bool {
    text.strip_prefix(letter).is_some_and(|rest| {
        rest.len() == LENGTH && rest.bytes().all(|byte| ALPHABET.contains(&byte))
    })
}

#[cfg(test)]
mod tests {
    use super::{SandboxId, SnapshotId};

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

    #[test]
    fn one_kind_is_not_the_other() {
        let id = SnapshotId::of([0; 20]);
        assert!(id.as_str().parse::<SandboxId>().is_err());
        assert_eq!(id.as_str().parse(), Ok(id));
    }
}
