//! The credentials of a sandbox, found by name and given out by destination.

use std::collections::BTreeMap;
use std::fmt;

use super::binding::{Binding, Destination};
use super::inject::Injection;
use super::secret::Secret;
use super::sigv4::AwsCredentials;
use crate::host::Host;

/// A secret and where it belongs. Without a binding it's sent nowhere.
#[derive(Clone, Debug)]
pub struct Credential {
    /// Whose it is: what endpoints name in `credential_binding`.
    pub provider: String,
    /// What is put in place of the placeholder.
    pub secret: Secret,
    /// Where it may be sent.
    pub bindings: Vec<Binding>,
    /// The header that it's put in, whatever the sandbox sends.
    pub injection: Option<Injection>,
}

/// Keys that requests are signed with.
#[derive(Clone, Debug)]
pub struct SigningKeys {
    /// Whose they are.
    pub provider: String,
    /// The keys.
    pub keys: AwsCredentials,
    /// Where what they sign may be sent.
    pub bindings: Vec<Binding>,
}

/// All credentials of a sandbox. Replaced as a whole when one of them is renewed or revoked.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    all: Vec<Credential>,
    /// By what stands in a placeholder.
    by_name: BTreeMap<String, usize>,
    signing: Vec<SigningKeys>,
}

impl Credential {
    /// A credential that is only put in place of its placeholder.
    pub fn new(provider: impl Into<String>, secret: Secret, bindings: Vec<Binding>) -> Self {
        Self {
            provider: provider.into(),
            secret,
            bindings,
            injection: None,
        }
    }
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
    /// Requests are signed there, and there are no keys for that.
    NoKeys {
        /// Where the request goes: `host:port`.
        destination: String,
    },
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
            Self::NoKeys { destination } => write!(f, "no AWS keys are bound to {destination}"),
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
    /// Adds a credential without a placeholder.
    pub fn add(&mut self, credential: Credential) {
        self.all.push(credential);
    }

    /// Adds a credential, or replaces the one that placeholders of this name stand for.
    pub fn insert(&mut self, name: impl Into<String>, credential: Credential) {
        self.by_name.insert(name.into(), self.all.len());
        self.add(credential);
    }

    /// Adds keys to sign with.
    pub fn sign_with(&mut self, keys: SigningKeys) {
        self.signing.push(keys);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty() && self.signing.is_empty()
    }

    /// Whether any of them may be sent to some path of a place.
    pub fn reach(&self, host: &Host, port: u16) -> bool {
        let secrets = self.all.iter().flat_map(|own| &own.bindings);
        let keys = self.signing.iter().flat_map(|own| &own.bindings);
        secrets
            .chain(keys)
            .any(|binding| binding.reaches(host, port))
    }

    /// The secret that a placeholder's name stands for, if it may be sent there.
    pub fn resolve(&self, name: &str, to: &Destination<'_>) -> Result<&Secret, Refusal> {
        let credential = self.find(name).ok_or_else(|| Refusal::Unknown {
            name: name.to_owned(),
        })?;
        if belongs(&credential.provider, &credential.bindings, to) {
            return Ok(&credential.secret);
        }
        Err(Refusal::NotBound {
            name: name.to_owned(),
            destination: to.to_string(),
        })
    }

    /// The headers that requests get there, each with its secret.
    pub(super) fn injections(
        &self,
        to: Destination<'_>,
    ) -> impl Iterator<Item = (&Injection, &Secret)> {
        self.all.iter().filter_map(move |own| {
            let injection = own.injection.as_ref()?;
            belongs(&own.provider, &own.bindings, &to).then_some((injection, &own.secret))
        })
    }

    /// The keys that requests are signed with there.
    pub fn signing_keys(&self, to: &Destination<'_>) -> Result<&AwsCredentials, Refusal> {
        let mut signing = self.signing.iter();
        let found = signing.find(|own| belongs(&own.provider, &own.bindings, to));
        found.map(|own| &own.keys).ok_or_else(|| Refusal::NoKeys {
            destination: to.to_string(),
        })
    }

    /// By its name, or by what follows a revision. All revisions of a credential are the current one.
    fn find(&self, name: &str) -> Option<&Credential> {
        let exact = self.by_name.get(name);
        let index = exact.or_else(|| self.by_name.get(without_revision(name)?))?;
        self.all.get(*index)
    }
}

fn belongs(provider: &str, bindings: &[Binding], to: &Destination<'_>) -> bool {
    to.provider.is_none_or(|only| only == provider) && bindings.iter().any(|own| own.covers(to))
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

    #[test]
    fn secrets_go_where_they_are_bound_and_nowhere_else() {
        let mut credentials = Credentials::default();
        let binding = Binding::new("api.example.com", 443, "/v1").expect("a binding");
        let secret = |text| Secret::new(text).expect("memory");
        let token = Credential::new("it", secret("s3cr3t"), vec![binding]);
        let loose = Credential::new("loose", secret("loose"), vec![]);
        credentials.insert("TOKEN", token);
        credentials.insert("LOOSE", loose);
        let host = Host::parse("api.example.com").expect("a host");
        let other = Host::parse("evil.example").expect("a host");
        fn to<'a>(host: &'a Host, path: &'a str) -> Destination<'a> {
            Destination::new(host, 443, path)
        }
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
        for (provider, allowed) in [("it", true), ("other", false)] {
            let only = Destination {
                provider: Some(provider),
                ..to(&host, "/v1")
            };
            assert_eq!(credentials.resolve("TOKEN", &only).is_ok(), allowed);
        }
        let refused = credentials.resolve("LOOSE", &to(&host, "/")).err();
        assert!(matches!(refused, Some(Refusal::NotBound { .. })));
        assert!(!format!("{credentials:?}").contains("s3cr3t"));
    }
}
