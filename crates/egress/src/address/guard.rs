//! Whether an address may be dialled for a target of the policy.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::class::{Class, canonical, classify};
use crate::host::Host;

/// Names by which a sandbox reaches its host, if the operator gave it an address there.
pub const GATEWAY_NAMES: [&str; 4] = [
    "host.casemate.internal",
    "host.openshell.internal",
    "host.containers.internal",
    "host.docker.internal",
];

/// Where etcd, the Kubernetes API and kubelets listen: never reached on an internal address.
pub const CONTROL_PLANE_PORTS: [u16; 5] = [2379, 2380, 6443, 10250, 10255];

/// The most addresses of one name that are looked at.
pub const MAX_ADDRESSES: usize = 64;

/// Where a connection wants to go, and what the policy says of that place.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The host that was asked for.
    pub host: &'a Host,
    /// The port that was asked for.
    pub port: u16,
    /// Whether an endpoint names exactly this host, rather than a pattern that matches it.
    pub declared: bool,
    /// The endpoint's `allowed_ips`.
    pub allowed_ips: &'a [IpNet],
}

/// Why an address isn't dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// In one line, fit for a log and for the sandbox.
    pub reason: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Refused {}

/// What is known of this host when an address is judged.
///
/// The first of these that applies decides:
/// 1. a name of the host itself: exactly the address that the operator gave it;
/// 2. `allowed_ips`: within one of them;
/// 3. a literal address that the policy declares: internal is allowed;
/// 4. a name that the policy declares exactly: internal is allowed;
/// 5. anything else: public addresses only.
///
/// In 1 to 4 the ports of control planes are refused. Blocked addresses are refused in 2 to 5. The
/// host's own addresses are refused unless the policy names exactly them.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    own: Vec<IpAddr>,
    gateway: Option<IpAddr>,
}

impl Guard {
    /// A guard on a host that has these addresses on its interfaces.
    pub fn new(own: impl IntoIterator<Item = IpAddr>) -> Self {
        Self {
            own: own.into_iter().map(canonical).collect(),
            gateway: None,
        }
    }

    /// Lets [`GATEWAY_NAMES`] lead to this address, of whatever class it is.
    pub fn with_gateway(mut self, address: IpAddr) -> Self {
        self.gateway = Some(canonical(address));
        self
    }

    /// The address that [`GATEWAY_NAMES`] lead to, if they lead anywhere.
    pub fn gateway(&self) -> Option<IpAddr> {
        self.gateway
    }

    /// Judges all the addresses of a name; one that is refused refuses them all, since a resolver
    /// that mixes them is trying something. What comes back is what to dial.
    pub fn check_all(
        &self,
        target: &Target<'_>,
        addresses: &[IpAddr],
    ) -> Result<Vec<IpAddr>, Refused> {
        if addresses.is_empty() {
            return refuse(format!("{} has no address", target.host));
        }
        if addresses.len() > MAX_ADDRESSES {
            return refuse(format!(
                "{} has more than {MAX_ADDRESSES} addresses",
                target.host
            ));
        }
        addresses
            .iter()
            .map(|address| self.check(target, *address).map(|()| canonical(*address)))
            .collect()
    }

    /// Judges one address.
    pub fn check(&self, target: &Target<'_>, address: IpAddr) -> Result<(), Refused> {
        let address = canonical(address);
        if let Host::Name(name) = target.host
            && GATEWAY_NAMES.contains(&name.as_str())
        {
            return self.check_gateway(target, address);
        }
        if let Class::Blocked(kind) = classify(address) {
            return refuse(format!("{address} is a {kind} address, always blocked"));
        }
        let literal = target.host.address();
        if literal.is_some_and(|literal| literal != address) {
            return refuse(format!("{address} isn't the address {}", target.host));
        }
        if !target.allowed_ips.is_empty() {
            self.check_allowed(target, address)?;
        } else if !target.declared {
            return self.check_public(address);
        }
        check_port(target.port, address)
    }

    fn check_gateway(&self, target: &Target<'_>, address: IpAddr) -> Result<(), Refused> {
        match self.gateway {
            None => refuse(format!("{} leads nowhere here", target.host)),
            Some(gateway) if gateway != address => refuse(format!(
                "{address} isn't the address of {}, which is {gateway}",
                target.host
            )),
            Some(_) => check_port(target.port, address),
        }
    }

    fn check_allowed(&self, target: &Target<'_>, address: IpAddr) -> Result<(), Refused> {
        let containing: Vec<_> = target
            .allowed_ips
            .iter()
            .filter(|net| net.contains(&address))
            .collect();
        if containing.is_empty() {
            return refuse(format!("{address} isn't within the endpoint's allowed_ips"));
        }
        let exact = target.declared
            || containing
                .iter()
                .any(|net| net.prefix_len() == net.max_prefix_len());
        if !exact && self.own.contains(&address) {
            return refuse(own(address));
        }
        Ok(())
    }

    fn check_public(&self, address: IpAddr) -> Result<(), Refused> {
        if let Class::Internal(kind) = classify(address) {
            return refuse(format!(
                "{address} is an internal address ({kind}) and the policy doesn't name its host exactly"
            ));
        }
        if self.own.contains(&address) {
            return refuse(own(address));
        }
        Ok(())
    }
}

fn check_port(port: u16, address: IpAddr) -> Result<(), Refused> {
    if CONTROL_PLANE_PORTS.contains(&port) {
        return refuse(format!(
            "port {port} of {address} is one of a cluster's control plane"
        ));
    }
    Ok(())
}

fn own(address: IpAddr) -> String {
    format!("{address} is an address of the host itself")
}

fn refuse<T>(reason: String) -> Result<T, Refused> {
    Err(Refused { reason })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|t| t.parse().expect("a net")).collect()
    }

    fn check(host: &str, port: u16, declared: bool, allowed: &[&str], address: &str) -> bool {
        let guard = Guard::new([ip("192.168.7.7"), ip("198.41.0.4")]).with_gateway(ip("127.0.0.1"));
        let host = Host::parse(host).expect("a host");
        let allowed_ips = nets(allowed);
        let target = Target {
            host: &host,
            port,
            declared,
            allowed_ips: &allowed_ips,
        };
        guard.check(&target, ip(address)).is_ok()
    }

    #[test]
    fn by_default_only_public_addresses_are_reached() {
        assert!(check("a.example.com", 443, false, &[], "1.1.1.1"));
        assert!(check("a.example.com", 6443, false, &[], "1.1.1.1"));
        assert!(!check("a.example.com", 443, false, &[], "10.0.0.1"));
        assert!(!check("a.example.com", 443, false, &[], "::ffff:10.0.0.1"));
        assert!(!check("a.example.com", 443, false, &[], "64:ff9b::a00:1"));
        // The host's own public address.
        assert!(!check("a.example.com", 443, false, &[], "198.41.0.4"));
    }

    #[test]
    fn an_exactly_declared_host_may_be_internal_but_never_blocked() {
        assert!(check("db.example.com", 5432, true, &[], "10.0.0.1"));
        assert!(check("db.example.com", 5432, true, &[], "192.168.7.7"));
        assert!(!check("db.example.com", 10250, true, &[], "10.0.0.1"));
        for blocked in ["127.0.0.1", "169.254.169.254", "::1", "0.0.0.0", "fe80::1"] {
            assert!(!check("db.example.com", 80, true, &[], blocked));
        }
    }

    #[test]
    fn allowed_ips_are_a_fence_and_not_a_pass() {
        let allowed = ["10.0.0.0/8"];
        assert!(check("db.example.com", 5432, false, &allowed, "10.9.9.9"));
        assert!(!check("db.example.com", 5432, true, &allowed, "11.0.0.1"));
        assert!(!check("db.example.com", 2379, true, &allowed, "10.9.9.9"));
        let all = ["0.0.0.0/0", "::/0"];
        assert!(!check("a.example.com", 80, true, &all, "169.254.169.254"));
        assert!(!check("a.example.com", 80, false, &all, "192.168.7.7"));
        let own = ["192.168.7.7/32"];
        assert!(check("a.example.com", 80, false, &own, "192.168.7.7"));
    }

    #[test]
    fn a_literal_is_reached_only_as_itself() {
        assert!(check("10.0.0.1", 80, true, &[], "10.0.0.1"));
        assert!(!check("10.0.0.1", 80, false, &[], "10.0.0.1"));
        assert!(!check("10.0.0.1", 80, true, &[], "10.0.0.2"));
        assert!(check("9.9.9.9", 80, false, &[], "9.9.9.9"));
    }

    #[test]
    fn the_hosts_names_lead_to_the_operators_address_only() {
        assert!(check("host.docker.internal", 80, false, &[], "127.0.0.1"));
        assert!(!check("host.docker.internal", 80, true, &[], "127.0.0.2"));
        assert!(!check("host.docker.internal", 80, true, &[], "1.1.1.1"));
        assert!(!check("host.docker.internal", 2380, true, &[], "127.0.0.1"));
        let host = Host::parse("host.docker.internal").expect("a host");
        let target = Target {
            host: &host,
            port: 80,
            declared: true,
            allowed_ips: &[],
        };
        assert!(Guard::default().check(&target, ip("10.0.0.1")).is_err());
    }

    #[test]
    fn one_refused_address_refuses_the_name() {
        let host = Host::parse("a.example.com").expect("a host");
        let target = Target {
            host: &host,
            port: 443,
            declared: false,
            allowed_ips: &[],
        };
        let guard = Guard::default();
        let dial = guard.check_all(&target, &[ip("::ffff:1.1.1.1"), ip("2606:4700::1")]);
        assert_eq!(dial, Ok(vec![ip("1.1.1.1"), ip("2606:4700::1")]));
        let mixed = guard.check_all(&target, &[ip("1.1.1.1"), ip("127.0.0.1")]);
        assert!(mixed.is_err());
        assert!(guard.check_all(&target, &[]).is_err());
        assert!(guard.check_all(&target, &[ip("1.1.1.1"); 65]).is_err());
    }

    proptest! {
        #[test]
        fn a_blocked_address_is_never_dialled(bits: u128, v4: bool, declared: bool, port: u16) {
            let address = if v4 { IpAddr::from((bits as u32).to_be_bytes()) } else { IpAddr::from(bits.to_be_bytes()) };
            let all = nets(&["0.0.0.0/0", "::/0"]);
            let host = Host::parse("a.example.com").expect("a host");
            for allowed_ips in [&all[..], &[]] {
                let target = Target { host: &host, port, declared, allowed_ips };
                if Guard::default().check(&target, address).is_ok() {
                    prop_assert!(!matches!(classify(address), Class::Blocked(_)));
                }
            }
        }
    }
}
