//! The credentials of a sandbox, found by name and given out by destination.

use std::collections::BTreeMap;
use std::fmt;

use super::binding::{Binding, Destination};
use super::secret::Secret;

/// A secret and where it belongs. Without a binding it's sent nowhere.
#[derive(Clone, Debug)]
pub struct Credential {
    /// What is put in place of the placeholder.
    pub secret: Secret,
    /// Where it may be sent.
    pub bindings: Vec<Binding>,
}

/// All credentials of a sandbox. Replaced as a whole when one of them is renewed or revoked.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    by_name: BTreeMap<String, Credential>,
}

/// Why a placeholder isn't replaced, and the request not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no credential of this name.
    Unknown {
        /// As in the placeholder.
        name: String,
    },
    /// It doesn't belong there.
    NotBound {
        /// As in the placeholder.
        name: String,
        /// Where the request goes: `host:port`.
        destination: String,
    },
    /// The placeholder isn't well-formed, or not where one can be replaced.
    Malformed(&'static str),
    /// The secret can't be written there.
    Unusable(&'static str),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { name } => write!(f, "there is no credential `{name}`"),
            Self::NotBound { name, destination } => {
                write!(f, "the credential `{name}` isn't bound to {destination}")
            }
            Self::Malformed(why) => write!(f, "a malformed placeholder of a credential: {why}"),
            Self::Unusable(why) => write!(f, "a credential can't be filled in: {why}"),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<crate::http1::Malformed> for Refusal {
    fn from(error: crate::http1::Malformed) -> Self {
        Self::Unusable(error.why())
    }
}

impl Credentials {
    /// Adds a credential, or replaces the one of this name.
    pub fn insert(&mut self, name: impl Into<String>, credential: Credential) {
        self.by_name.insert(name.into(), credential);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The secret that a placeholder's name stands for, if it may be sent there.
    pub fn resolve(&self, name: &str, to: &Destination<'_>) -> Result<&Secret, Refusal> {
        let credential = self.find(name).ok_or_else(|| Refusal::Unknown {
            name: name.to_owned(),
        })?;
        if credential.bindings.iter().any(|binding| binding.covers(to)) {
            return Ok(&credential.secret);
        }
        Err(Refusal::NotBound {
            name: name.to_owned(),
            destination: format!("{}:{}", to.host, to.port),
        })
    }

    /// By its name, or by what follows a revision. All revisions of a credential are the current one.
    fn find(&self, name: &str) -> Option<&Credential> {
        let exact = self.by_name.get(name);
        exact.or_else(|| self.by_name.get(without_revision(name)?))
    }
}

/// `v<N>_KEY` and `s<64 hex>_KEY`.
fn without_revision(name: &str) -> Option<&str> {
    let (revision, key) = name.split_once('_')?;
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let digest = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let known = revision.strip_prefix('v').is_some_and(number)
        || revision.strip_prefix('s').is_some_and(digest);
    known.then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Host;

    #[test]
    fn secrets_go_where_they_are_bound_and_nowhere_else() {
        let mut credentials = Credentials::default();
        let binding = Binding::new("api.example.com", 443, "/v1").expect("a binding");
        let token = Credential {
            secret: Secret::new("s3cr3t"),
            bindings: vec![binding],
        };
        let loose = Credential {
            secret: Secret::new("loose"),
            bindings: vec![],
        };
        credentials.insert("TOKEN", token);
        credentials.insert("LOOSE", loose);
        let host = Host::parse("api.example.com").expect("a host");
        let other = Host::parse("evil.example").expect("a host");
        let to = |host, path| Destination {
            host,
            port: 443,
            path,
        };
        let hex = "0f".repeat(32);
        for name in ["TOKEN", "v12_TOKEN", &format!("s{hex}_TOKEN")] {
            let secret = credentials.resolve(name, &to(&host, "/v1/x"));
            assert_eq!(secret.map(Secret::expose), Ok(&b"s3cr3t"[..]), "{name}");
            assert!(credentials.resolve(name, &to(&other, "/v1/x")).is_err());
            assert!(credentials.resolve(name, &to(&host, "/v2")).is_err());
        }
        for name in ["token", "v_TOKEN", "v1x_TOKEN", "s12_TOKEN", "x1_TOKEN", ""] {
            let unknown = Refusal::Unknown {
                name: name.to_owned(),
            };
            assert_eq!(
                credentials.resolve(name, &to(&host, "/v1")).err(),
                Some(unknown)
            );
        }
        let refused = credentials.resolve("LOOSE", &to(&host, "/")).err();
        assert!(matches!(refused, Some(Refusal::NotBound { .. })));
        assert!(!format!("{credentials:?}").contains("s3cr3t"));
    }
}
