//! Who calls, and who is called.

use sha2::{Digest, Sha224};
use std::fmt;
use std::str::FromStr;

/// The longest principal, bytes.
const LONGEST: usize = 29;
/// Of base 32 as of RFC 4648, in lower case and without padding.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// An identifier of a caller or canister: at most 29 bytes, whose text is base 32 of a CRC-32 and
/// the bytes, in groups of five (Internet Computer interface specification, "Principals").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Principal {
    length: u8,
    bytes: [u8; LONGEST],
}

/// Why something is no principal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrincipalError {
    /// More bytes than a principal has.
    #[error("a principal has at most {LONGEST} bytes, not {0}")]
    TooLong(usize),
    /// A character that base 32 doesn't have.
    #[error("{0:?} is no character of a principal")]
    Character(char),
    /// The text doesn't say what it is a checksum of.
    #[error("the checksum of {0:?} is wrong: a character of it has been changed")]
    Checksum(String),
    /// The text isn't grouped as it would be written.
    #[error("{found:?} would be written {expected:?}")]
    Form {
        /// The text.
        found: String,
        /// As it would be written.
        expected: String,
    },
}

impl Principal {
    /// Whoever gives no name.
    pub const ANONYMOUS: Self = Self {
        length: 1,
        bytes: {
            let mut bytes = [0; LONGEST];
            bytes[0] = 4;
            bytes
        },
    };

    /// Where system calls go to.
    pub const MANAGEMENT: Self = Self {
        length: 0,
        bytes: [0; LONGEST],
    };

    /// A principal of these bytes.
    pub fn new(slice: &[u8]) -> Result<Self, PrincipalError> {
        if slice.len() > LONGEST {
            return Err(PrincipalError::TooLong(slice.len()));
        }
        let mut bytes = [0; LONGEST];
        bytes[..slice.len()].copy_from_slice(slice);
        Ok(Self {
            length: slice.len() as u8,
            bytes,
        })
    }

    /// The one that belongs to a public key (self-authenticating).
    #[must_use]
    pub fn of_key(key: &[u8]) -> Self {
        let mut bytes = [0; LONGEST];
        bytes[..28].copy_from_slice(&Sha224::digest(key));
        bytes[28] = 2;
        Self { length: 29, bytes }
    }

    /// The canister of this number.
    #[must_use]
    pub fn of_canister(number: u64) -> Self {
        let mut bytes = [0; LONGEST];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        bytes[8..10].copy_from_slice(&[1, 1]);
        Self { length: 10, bytes }
    }

    /// Its bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = crc32fast::hash(self.as_slice()).to_be_bytes();
        let bytes = sum.iter().chain(self.as_slice());
        let (mut bits, mut count, mut written) = (0_u32, 0, 0);
        let mut put = |digit: u32| {
            if written > 0 && written % 5 == 0 {
                formatter.write_str("-")?;
            }
            written += 1;
            let character = char::from(ALPHABET[digit as usize & 31]);
            write!(formatter, "{character}")
        };
        for byte in bytes {
            bits = bits << 8 | u32::from(*byte);
            count += 8;
            while count >= 5 {
                count -= 5;
                put(bits >> count)?;
            }
        }
        if count > 0 {
            put(bits << (5 - count))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Principal {
    type Err = PrincipalError;

    fn from_str(text: &str) -> Result<Self, PrincipalError> {
        let (mut bits, mut count) = (0_u32, 0);
        let mut bytes = Vec::new();
        for character in text.chars().filter(|character| *character != '-') {
            let lower = character.to_ascii_lowercase();
            let digit = ALPHABET
                .iter()
                .position(|known| char::from(*known) == lower);
            let digit = digit.ok_or(PrincipalError::Character(character))?;
            bits = (bits << 5 | digit as u32) & 0xfff;
            count += 5;
            if count >= 8 {
                count -= 8;
                bytes.push((bits >> count) as u8);
            }
            if bytes.len() > LONGEST + 4 {
                return Err(PrincipalError::TooLong(bytes.len()));
            }
        }
        let Some((sum, rest)) = bytes.split_at_checked(4) else {
            return Err(PrincipalError::Checksum(text.to_owned()));
        };
        if crc32fast::hash(rest).to_be_bytes() != sum {
            return Err(PrincipalError::Checksum(text.to_owned()));
        }
        let principal = Self::new(rest)?;
        let expected = principal.to_string();
        match expected == text {
            true => Ok(principal),
            false => Err(PrincipalError::Form {
                found: text.to_owned(),
                expected,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_texts() {
        assert_eq!(Principal::MANAGEMENT.to_string(), "aaaaa-aa");
        assert_eq!(Principal::ANONYMOUS.to_string(), "2vxsx-fae");
        assert_eq!(
            Principal::of_canister(0).to_string(),
            "rwlgt-iiaaa-aaaaa-aaaaa-cai"
        );
        assert_eq!("aaaaa-aa".parse(), Ok(Principal::MANAGEMENT));
        assert_eq!(
            "rwlgt-iiaaa-aaaaa-aaaaa-cai".parse(),
            Ok(Principal::of_canister(0))
        );
    }

    #[test]
    fn every_length_comes_back() {
        for length in 0..=LONGEST {
            let bytes: Vec<u8> = (0..length as u8).map(|i| i.wrapping_mul(37)).collect();
            let principal = Principal::new(&bytes).unwrap();
            assert_eq!(principal.as_slice(), bytes);
            assert_eq!(principal.to_string().parse(), Ok(principal));
        }
        assert_eq!(Principal::new(&[0; 30]), Err(PrincipalError::TooLong(30)));
    }

    #[test]
    fn what_is_none_says_why() {
        let error = |text: &str| text.parse::<Principal>().unwrap_err();
        assert_eq!(error("2vxsx-fa1"), PrincipalError::Character('1'));
        assert!(matches!(error("2vxsx-fab"), PrincipalError::Checksum(_)));
        assert!(matches!(error(""), PrincipalError::Checksum(_)));
        assert!(matches!(error("2vxsxfae"), PrincipalError::Form { .. }));
        assert!(matches!(error("2VXSX-fae"), PrincipalError::Form { .. }));
        let long = "a".repeat(100);
        assert!(matches!(error(&long), PrincipalError::TooLong(_)));
    }
}
