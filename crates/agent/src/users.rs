//! Whom a command runs as and whose a path is: accounts as the sandbox writes them.
//!
//! `/etc/passwd` and `/etc/group` belong to the sandbox; whoever is root inside may put
//! anything there. They are read anew for each request (a template's build step adds users),
//! as regular files of bounded size, and a line that makes no sense is passed over.

mod accounts;

pub(crate) use accounts::Accounts;

use crate::Agent;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use casemate_proto::connectrpc::ConnectError;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use std::path::PathBuf;

/// An account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Supplementary groups, `gid` included.
    pub(crate) groups: Vec<u32>,
    pub(crate) home: PathBuf,
}

/// Whether a command runs as the user it is started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identities {
    /// It does: the agent is root of a sandbox that has all of its users.
    Real,
    /// The sandbox has one user, and whatever the accounts say, everything is its. Root is this
    /// user by another name.
    Alone,
}

/// What a command becomes before it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Credentials {
    /// This user, with these groups.
    Of {
        uid: u32,
        gid: u32,
        groups: Vec<u32>,
    },
    /// Whoever the agent is.
    Own,
    /// The same user, as root of a user namespace in which there is nobody else.
    Root,
}

impl Identities {
    /// What a command of this user becomes.
    pub(crate) fn credentials(self, user: &User) -> Credentials {
        match self {
            Self::Real => Credentials::Of {
                uid: user.uid,
                gid: user.gid,
                groups: user.groups.clone(),
            },
            Self::Alone if user.uid == 0 => Credentials::Root,
            Self::Alone => Credentials::Own,
        }
    }

    /// The owner and group of a file that is made for this user.
    pub(crate) fn owner(self, user: &User) -> (u32, u32) {
        match self {
            Self::Real => (user.uid, user.gid),
            Self::Alone => (
                rustix::process::geteuid().as_raw(),
                rustix::process::getegid().as_raw(),
            ),
        }
    }
}

impl User {
    /// The user that a request's Basic authorization names, without a password, or else the
    /// default one.
    pub(crate) fn of_request(agent: &Agent, headers: &HeaderMap) -> Result<Self, ConnectError> {
        let name = match named(headers)? {
            Some(name) if !name.is_empty() => name,
            _ => agent.given().user.clone(),
        };
        Self::named(&name)
    }

    /// The user with this name.
    pub(crate) fn named(name: &str) -> Result<Self, ConnectError> {
        Accounts::read()
            .ok()
            .and_then(|accounts| accounts.user(name))
            .ok_or_else(|| ConnectError::unauthenticated(format!("invalid username: '{name}'")))
    }
}

/// Whether execve(2) can carry this as a variable.
pub(crate) fn is_variable(name: &str, value: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0')
}

fn named(headers: &HeaderMap) -> Result<Option<String>, ConnectError> {
    let Some(value) = headers.get(AUTHORIZATION) else {
        return Ok(None);
    };
    // Another scheme is for somebody else on the way here.
    let Some((scheme, encoded)) = value.to_str().ok().and_then(|text| text.split_once(' ')) else {
        return Ok(None);
    };
    if !scheme.eq_ignore_ascii_case("basic") {
        return Ok(None);
    }
    let name = BASE64_STANDARD
        .decode(encoded.trim())
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|pair| pair.split_once(':').map(|(name, _)| name.to_owned()));
    name.map(Some).ok_or_else(|| {
        ConnectError::unauthenticated("authorization: expected Basic with base64 of 'user:'")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())])
    }

    #[test]
    fn basic_authorization_names_a_user() {
        for value in ["Basic dXNlcjo=", "basic dXNlcjo=", "Basic  dXNlcjpwYXNz"] {
            assert_eq!(
                named(&header(value)).unwrap().as_deref(),
                Some("user"),
                "{value}"
            );
        }
        assert_eq!(named(&HeaderMap::new()).unwrap(), None);
        assert_eq!(named(&header("Bearer dXNlcjo=")).unwrap(), None);
    }

    #[test]
    fn what_does_not_decode_is_refused() {
        for value in ["Basic !", "Basic dXNlcg==", "Basic /////w=="] {
            assert!(named(&header(value)).is_err(), "{value}");
        }
    }

    #[test]
    fn one_user_is_everybody_where_there_is_one() {
        let groups = vec![7, 8];
        let user = User {
            name: "a".into(),
            uid: 1,
            gid: 7,
            groups: groups.clone(),
            home: "/".into(),
        };
        assert_eq!(Identities::Alone.credentials(&user), Credentials::Own);
        let root = User {
            uid: 0,
            ..user.clone()
        };
        assert_eq!(Identities::Alone.credentials(&root), Credentials::Root);
        let real = Credentials::Of {
            uid: 1,
            gid: 7,
            groups,
        };
        assert_eq!(Identities::Real.credentials(&user), real);
    }

    #[test]
    fn variables_have_names_without_equal_signs() {
        assert!(is_variable("A", "") && is_variable("A b", "=\n"));
        for (name, value) in [("", "x"), ("A=", "x"), ("A\0", "x"), ("A", "\0")] {
            assert!(!is_variable(name, value));
        }
    }
}
