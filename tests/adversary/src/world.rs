//! A network of our own, in which every address is served by the harness: what is where.
//!
//! | address | who may reach it from inside, by the stage's policy |
//! |---|---|
//! | [`PERMITTED`], also as `permitted.test` | the attempt, at [`PORT`] and [`TLS_PORT`] |
//! | names below `wild.test`, where they lead to public addresses | the attempt, at [`PORT`] |
//! | [`HELPED`] | `shared/program`, at [`PORT`] and [`QUIET_PORT`] |
//! | [`VAULT`] and [`ECHO`], where HTTP is spoken | the attempt, at [`VAULT_PORT`] |
//! | everything else, such as [`FORBIDDEN`] or `forbidden.test` | nobody |
//!
//! Servers greet with the token, but for [`PERMITTED`]'s: it says [`WELCOME`], and gives the token
//! to those who ask it for `forbidden.test`, as a server in front of many sites would.

//!
//! A credential may go to [`VAULT`] below `/home`, and to nobody else. All who listen at
//! [`VAULT_PORT`] say back what they heard, but for the vault at home.

#![allow(dead_code, reason = "the attempts use one part, the harness another")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(crate) const PERMITTED: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
pub(crate) const HELPED: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 20);
pub(crate) const FORBIDDEN: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 66);
pub(crate) const FORBIDDEN6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x66);
pub(crate) const VAULT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 30);
pub(crate) const ECHO: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 40);
pub(crate) const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
pub(crate) const INTERNAL: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 5);
/// The name server that programs are told, and that the host asks.
pub(crate) const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 53);

/// Servers at every address.
pub(crate) const PORT: u16 = 7000;
pub(crate) const TLS_PORT: u16 = 443;
pub(crate) const OTHER_PORT: u16 = 7002;
pub(crate) const VAULT_PORT: u16 = 7003;
/// Nobody listens there.
pub(crate) const QUIET_PORT: u16 = 7100;
/// Where the sandbox's proxy is, and where there is none of ours, one that allows everything.
pub(crate) const PROXY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 1);

/// What `casemate:credential:VAULTED` stands for.
pub(crate) const CREDENTIAL: &str = "the-vault-was-opened-77ab";

pub(crate) const WELCOME: &str = "permitted";
pub(crate) const FRONTED: &str = "forbidden.test";

/// What the name server says. Names that it doesn't know are absent.
pub(crate) fn lookup(name: &str) -> Option<IpAddr> {
    let address = match name.trim_end_matches('.').to_ascii_lowercase().as_str() {
        "permitted.test" => PERMITTED,
        "helped.test" => HELPED,
        "inner.wild.test" => INTERNAL,
        "loop.wild.test" => Ipv4Addr::LOCALHOST,
        "metadata.wild.test" => METADATA,
        "proxy.wild.test" => Ipv4Addr::UNSPECIFIED,
        name if name.ends_with("forbidden.test") => FORBIDDEN,
        _ => return None,
    };
    Some(address.into())
}
