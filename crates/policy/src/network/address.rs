//! Addresses and networks of `allowed_ips`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// What no policy opens: the machine itself, its links, and no address at all.
const BLOCKED: [IpNet; 6] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16)),
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 32)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 128)),
    IpNet::V6(Ipv6Net::new_assert(
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0),
        10,
    )),
];

/// All IPv4 addresses as IPv6 writes them.
const MAPPED: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96);

/// The address itself, also where IPv6 wraps an IPv4 one.
pub(super) fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// A network, or an address as a network of one.
pub(super) fn network(text: &str) -> Option<IpNet> {
    let network = match text.parse::<IpNet>() {
        Ok(network) => network,
        Err(_) => IpNet::from(text.parse::<IpAddr>().ok()?),
    };
    Some(match network {
        IpNet::V6(v6) if MAPPED.contains(&v6) => {
            let IpAddr::V4(address) = canonical(IpAddr::V6(v6.addr())) else {
                return Some(network);
            };
            IpNet::V4(Ipv4Net::new(address, v6.prefix_len() - 96).ok()?)
        }
        network => network,
    })
}

/// The always blocked range that the network has an address of.
pub(super) fn blocked(network: &IpNet) -> Option<IpNet> {
    let overlaps = |blocked: &&IpNet| network.contains(*blocked) || blocked.contains(network);
    if let Some(found) = BLOCKED.iter().find(overlaps) {
        return Some(*found);
    }
    // A network around all the wrapped IPv4 addresses has the wrapped blocked ones too.
    matches!(network, IpNet::V6(v6) if v6.contains(&MAPPED)).then_some(BLOCKED[0])
}

/// Whether a network is so large that listing it says little: larger than a site usually has.
pub(super) fn is_broad(network: &IpNet) -> bool {
    match network {
        IpNet::V4(v4) => v4.prefix_len() < 16,
        IpNet::V6(v6) => v6.prefix_len() < 32,
    }
}

#[cfg(test)]
mod tests {
    use super::{blocked, network};

    #[test]
    fn networks() {
        for (text, canonical) in [
            ("10.0.0.0/8", Some("10.0.0.0/8")),
            ("10.1.2.3", Some("10.1.2.3/32")),
            ("fd00::/8", Some("fd00::/8")),
            ("::ffff:10.0.0.0/104", Some("10.0.0.0/8")),
            ("not-an-ip", None),
            ("10.0.0.0/33", None),
            ("10.0.0/8", None),
            ("", None),
        ] {
            let network = network(text).map(|network| network.to_string());
            assert_eq!(network.as_deref(), canonical, "{text}");
        }
    }

    #[test]
    fn blocked_ranges() {
        for (text, range) in [
            ("10.0.0.0/8", None),
            ("fd00::/8", None),
            ("127.0.0.1", Some("127.0.0.0/8")),
            ("126.0.0.0/7", Some("127.0.0.0/8")),
            ("0.0.0.0/0", Some("127.0.0.0/8")),
            ("169.254.169.254/32", Some("169.254.0.0/16")),
            ("0.0.0.0", Some("0.0.0.0/32")),
            ("::1", Some("::1/128")),
            ("::", Some("::/128")),
            ("::/0", Some("::1/128")),
            ("fe80::1", Some("fe80::/10")),
            ("::ffff:127.0.0.1", Some("127.0.0.0/8")),
            ("::ffff:0:0/95", Some("127.0.0.0/8")),
        ] {
            let found = blocked(&network(text).expect("a network"));
            assert_eq!(
                found.map(|range| range.to_string()).as_deref(),
                range,
                "{text}"
            );
        }
    }
}
