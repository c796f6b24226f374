//! Links to one file that work without the sandbox's token.
//!
//! `v1_` and the unpadded base64 of SHA-256 over `path:operation:user:token`, with `:expiration`
//! (Unix seconds) at the end if the link has one. The path and the user are as they stand in the
//! query: an absent user is empty, whoever the default is.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use sha2::{Digest, Sha256};
use std::fmt;
use subtle::ConstantTimeEq;

/// What a link allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Downloading.
    Read,
    /// Uploading.
    Write,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// What a request for a file says about itself, and how it says that it may.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim<'a> {
    /// What it wants to do.
    pub(crate) operation: Operation,
    /// `path` of the query, as the client wrote it.
    pub(crate) path: &'a str,
    /// `username` of the query.
    pub(crate) user: Option<&'a str>,
    /// `signature` of the query.
    pub(crate) signature: Option<&'a str>,
    /// `signature_expiration` of the query, in Unix seconds.
    pub(crate) expiration: Option<i64>,
    /// The header with the sandbox's token.
    pub(crate) header: Option<&'a [u8]>,
}

/// Why a request for a file is turned away; published clients match on the texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    /// The header has another token.
    Token,
    /// Neither token nor signature.
    Missing,
    /// The signature is another one.
    Invalid,
    /// The signature was right until its time.
    Expired,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token => "access token present in header but does not match",
            Self::Missing => "missing signature query parameter",
            Self::Invalid => "invalid signature",
            Self::Expired => "signature is already expired",
        })
    }
}

impl Claim<'_> {
    /// The signature that allows this claim in a sandbox with this token.
    pub(crate) fn sign(&self, token: &str) -> String {
        let mut hash = Sha256::new();
        let parts = [
            self.path,
            self.operation.name(),
            self.user.unwrap_or(""),
            token,
        ];
        hash.update(parts.join(":"));
        if let Some(expiration) = self.expiration {
            hash.update(format!(":{expiration}"));
        }
        format!("v1_{}", STANDARD_NO_PAD.encode(hash.finalize()))
    }

    /// Whether the claim is allowed at `now` (Unix seconds). Without a token, everything is.
    pub(crate) fn check(&self, token: Option<&str>, now: i64) -> Result<(), Denied> {
        let Some(token) = token else { return Ok(()) };
        if let Some(header) = self.header.filter(|header| !header.is_empty()) {
            return match same(header, token.as_bytes()) {
                true => Ok(()),
                false => Err(Denied::Token),
            };
        }
        let signature = self.signature.ok_or(Denied::Missing)?;
        if !same(signature.as_bytes(), self.sign(token).as_bytes()) {
            return Err(Denied::Invalid);
        }
        match self.expiration {
            Some(expiration) if expiration < now => Err(Denied::Expired),
            _ => Ok(()),
        }
    }
}

fn same(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}

#[cfg(test)]
mod tests {
    use super::{Claim, Denied, Operation};

    fn read(path: &str) -> Claim<'_> {
        Claim {
            operation: Operation::Read,
            path,
            user: Some("user"),
            signature: None,
            expiration: None,
            header: None,
        }
    }

    #[test]
    fn a_signature_is_the_digest_of_its_parts() {
        // printf 'test.txt:read:user:secret' | openssl dgst -sha256 -binary | base64
        assert_eq!(
            read("test.txt").sign("secret"),
            "v1_2dFjJHc1jEWvOz0u95Jwfle9o0hUykmu4yMW1GNd2Vc"
        );
        let until = Claim {
            expiration: Some(1_700_000_000),
            ..read("test.txt")
        };
        // … and ':1700000000' at the end.
        assert_eq!(
            until.sign("secret"),
            "v1_Bg0/Aa7C/Oq0wRpWm6btyD1ltxO5wme+13yLw3hAJHU"
        );
    }

    #[test]
    fn each_part_counts() {
        let signature = read("a").sign("secret");
        let good = Claim {
            signature: Some(&signature),
            ..read("a")
        };
        assert_eq!(good.check(Some("secret"), 0), Ok(()));
        let others = [
            Claim { path: "b", ..good },
            Claim {
                operation: Operation::Write,
                ..good
            },
            Claim { user: None, ..good },
            Claim {
                expiration: Some(9),
                ..good
            },
            Claim {
                signature: Some("v1_"),
                ..good
            },
        ];
        for other in others {
            assert_eq!(
                other.check(Some("secret"), 0),
                Err(Denied::Invalid),
                "{other:?}"
            );
        }
        assert_eq!(good.check(Some("other"), 0), Err(Denied::Invalid));
    }

    #[test]
    fn a_signature_ends_with_its_second() {
        let until = Claim {
            expiration: Some(100),
            ..read("a")
        };
        let signature = until.sign("secret");
        let until = Claim {
            signature: Some(&signature),
            ..until
        };
        assert_eq!(until.check(Some("secret"), 100), Ok(()));
        assert_eq!(until.check(Some("secret"), 101), Err(Denied::Expired));
        // The wrong signature isn't told that it would be too late as well.
        assert_eq!(until.check(Some("other"), 101), Err(Denied::Invalid));
    }

    #[test]
    fn a_token_in_the_header_is_enough_and_a_wrong_one_is_final() {
        let signature = read("a").sign("secret");
        let signed = Claim {
            signature: Some(&signature),
            ..read("a")
        };
        let with = |header| Claim {
            header: Some(header),
            ..signed
        };
        assert_eq!(with(b"secret").check(Some("secret"), 0), Ok(()));
        assert_eq!(with(b"secre").check(Some("secret"), 0), Err(Denied::Token));
        assert_eq!(with(b"").check(Some("secret"), 0), Ok(()));
        assert_eq!(read("a").check(Some("secret"), 0), Err(Denied::Missing));
        assert_eq!(read("a").check(None, 0), Ok(()));
    }
}
