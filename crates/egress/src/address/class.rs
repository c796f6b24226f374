//! What an address is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an address is. The order is that of severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Somewhere on the Internet.
    Public,
    /// Of some network of ours, or of no use: reached only if the policy says so itself.
    Internal(&'static str),
    /// Never reached, whatever the policy says.
    Blocked(&'static str),
}

/// Addresses where clouds answer with credentials, outside the link-local ranges too.
const METADATA_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200), // Alibaba Cloud
    Ipv4Addr::new(168, 63, 129, 16),   // Azure's WireServer, in a public range
    Ipv4Addr::new(192, 0, 0, 192),     // Oracle Cloud
];

const METADATA_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), // AWS
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),  // Google Cloud
];

/// Judges an address by itself, without regard to any policy.
pub fn classify(address: IpAddr) -> Class {
    match address {
        IpAddr::V4(address) => v4(address),
        IpAddr::V6(address) => v6(address),
    }
}

/// The address as it's dialled and compared: a v4-mapped address is the IPv4 address in it.
pub fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// The IPv4 addresses that an address carries inside it, if it is one of IPv6.
pub(crate) fn carried(address: IpAddr) -> impl Iterator<Item = IpAddr> {
    let carried = match address {
        IpAddr::V4(_) => Embedded::No,
        IpAddr::V6(address) => embedded(address),
    };
    let (first, second) = match carried {
        Embedded::No | Embedded::Unknown => (None, None),
        Embedded::Is(inner) | Embedded::Ends(inner) => (Some(inner), None),
        Embedded::Carries(first, second) => (Some(first), Some(second)),
    };
    first.into_iter().chain(second).map(IpAddr::V4)
}

fn v4(address: Ipv4Addr) -> Class {
    if METADATA_V4.contains(&address) {
        return Class::Blocked("cloud metadata");
    }
    match address.octets() {
        // 0.0.0.0 reaches loopback on Linux; the rest of the block is "this network" (RFC 791).
        [0, ..] => Class::Blocked("unspecified"),
        [127, ..] => Class::Blocked("loopback"),
        [169, 254, 169, 254] => Class::Blocked("cloud metadata"),
        [169, 254, ..] => Class::Blocked("link-local"),
        [255, 255, 255, 255] => Class::Blocked("broadcast"),
        [224..=239, ..] => Class::Blocked("multicast"),
        [240..=255, ..] => Class::Blocked("reserved"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Class::Internal("private"),
        [100, 64..=127, ..] => Class::Internal("carrier-grade NAT"),
        [192, 0, 0, _] => Class::Internal("IETF protocol assignments"),
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Class::Internal("documentation"),
        [192, 88, 99, _] => Class::Internal("6to4 relay anycast"),
        [198, 18..=19, ..] => Class::Internal("benchmarking"),
        _ => Class::Public,
    }
}

fn v6(address: Ipv6Addr) -> Class {
    if METADATA_V6.contains(&address) {
        return Class::Blocked("cloud metadata");
    }
    if address == Ipv6Addr::UNSPECIFIED {
        return Class::Blocked("unspecified");
    }
    if address == Ipv6Addr::LOCALHOST {
        return Class::Blocked("loopback");
    }
    match embedded(address) {
        Embedded::No => native(address),
        Embedded::Is(inner) => v4(inner),
        Embedded::Carries(first, second) => v4(first).max(v4(second)),
        Embedded::Ends(inner) => native(address).max(v4(inner)),
        Embedded::Unknown => Class::Blocked("local-use NAT64"),
    }
}

/// How an IPv6 address holds IPv4 addresses.
enum Embedded {
    No,
    /// It stands for this one.
    Is(Ipv4Addr),
    /// It's reached by way of both.
    Carries(Ipv4Addr, Ipv4Addr),
    /// An ordinary prefix, ending in this one.
    Ends(Ipv4Addr),
    /// Where the IPv4 address is in it is known to the network's operator only.
    Unknown,
}

fn embedded(address: Ipv6Addr) -> Embedded {
    let segments = address.segments();
    let at = |index: usize| pair(segments[index], segments[index + 1]);
    match segments {
        // v4-mapped, and v4-compatible (RFC 4291 §2.5.5).
        [0, 0, 0, 0, 0, 0xffff | 0, _, _] => Embedded::Is(at(6)),
        // IPv4-translated (RFC 7915's predecessors).
        [0, 0, 0, 0, 0xffff, 0, _, _] => Embedded::Is(at(6)),
        // NAT64's well-known prefix (RFC 6052) and its local-use one (RFC 8215).
        [0x64, 0xff9b, 0, 0, 0, 0, _, _] => Embedded::Is(at(6)),
        [0x64, 0xff9b, 1, ..] => Embedded::Unknown,
        // 6to4 (RFC 3056).
        [0x2002, ..] => Embedded::Is(at(1)),
        // Teredo: the server, and the client with its bits inverted (RFC 4380 §4).
        [0x2001, 0, ..] => Embedded::Carries(at(2), pair(!segments[6], !segments[7])),
        // ISATAP's interface identifiers (RFC 5214 §6.1).
        [_, _, _, _, 0 | 0x200, 0x5efe, _, _] => Embedded::Ends(at(6)),
        _ => Embedded::No,
    }
}

fn pair(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from((u32::from(high) << 16) | u32::from(low))
}

/// An IPv6 address with nothing inside it.
fn native(address: Ipv6Addr) -> Class {
    match address.segments() {
        [0xff00..=0xffff, ..] => Class::Blocked("multicast"),
        [0xfe80..=0xfebf, ..] => Class::Blocked("link-local"),
        [0xfec0..=0xfeff, ..] => Class::Internal("site-local"),
        [0xfc00..=0xfdff, ..] => Class::Internal("unique local"),
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Class::Internal("documentation"),
        [0x2001, 2, 0, ..] => Class::Internal("benchmarking"),
        [0x2001, 0..=0x1ff, ..] => Class::Internal("IETF protocol assignments"),
        [0x2000..=0x3fff, ..] => Class::Public,
        // Only 2000::/3 is given out as global unicast.
        _ => Class::Blocked("not global unicast"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn class(text: &str) -> Class {
        classify(text.parse().expect("an address"))
    }

    #[test]
    fn public_addresses_are_public() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "100.63.255.255",
            "100.128.0.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "2001:200::1",
            "3fff:1000::1",
        ] {
            assert_eq!(class(text), Class::Public, "{text}");
        }
    }

    #[test]
    fn special_addresses_are_what_the_registries_say() {
        for (text, expected) in [
            ("0.0.0.0", Class::Blocked("unspecified")),
            ("0.1.2.3", Class::Blocked("unspecified")),
            ("127.0.0.1", Class::Blocked("loopback")),
            ("127.255.255.255", Class::Blocked("loopback")),
            ("169.254.169.254", Class::Blocked("cloud metadata")),
            ("169.254.170.2", Class::Blocked("link-local")),
            ("100.100.100.200", Class::Blocked("cloud metadata")),
            ("168.63.129.16", Class::Blocked("cloud metadata")),
            ("224.0.0.1", Class::Blocked("multicast")),
            ("240.0.0.1", Class::Blocked("reserved")),
            ("255.255.255.255", Class::Blocked("broadcast")),
            ("10.0.0.1", Class::Internal("private")),
            ("172.31.255.255", Class::Internal("private")),
            ("192.168.1.1", Class::Internal("private")),
            ("100.64.0.1", Class::Internal("carrier-grade NAT")),
            ("192.0.0.8", Class::Internal("IETF protocol assignments")),
            ("203.0.113.9", Class::Internal("documentation")),
            ("198.19.0.1", Class::Internal("benchmarking")),
            ("::", Class::Blocked("unspecified")),
            ("::1", Class::Blocked("loopback")),
            ("fe80::1", Class::Blocked("link-local")),
            ("fec0::1", Class::Internal("site-local")),
            ("fd12::1", Class::Internal("unique local")),
            ("fd00:ec2::254", Class::Blocked("cloud metadata")),
            ("fd20:ce::254", Class::Blocked("cloud metadata")),
            ("ff02::1", Class::Blocked("multicast")),
            ("2001:db8::1", Class::Internal("documentation")),
            ("3fff:fff::1", Class::Internal("documentation")),
            ("2001:2::1", Class::Internal("benchmarking")),
            ("2001:20::1", Class::Internal("IETF protocol assignments")),
            ("100::1", Class::Blocked("not global unicast")),
            ("5f00::1", Class::Blocked("not global unicast")),
            ("64:ff9b:1::8.8.8.8", Class::Blocked("local-use NAT64")),
        ] {
            assert_eq!(class(text), expected, "{text}");
        }
    }

    #[test]
    fn a_metadata_address_is_found_in_every_disguise() {
        for text in [
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "::ffff:0:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "2002:a9fe:a9fe::1",
            "2001:0:a9fe:a9fe::",
            "2001:0:808:808:0:0:5601:5601",
            "2606:4700::5efe:169.254.169.254",
            "2606:4700::200:5efe:169.254.169.254",
        ] {
            assert_eq!(class(text), Class::Blocked("cloud metadata"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn wrapping_never_makes_an_address_milder(bits: u32) {
            let inner = Ipv4Addr::from(bits);
            let [a, b, c, d] = inner.octets();
            let high = u16::from_be_bytes([a, b]);
            let low = u16::from_be_bytes([c, d]);
            for wrapped in [
                inner.to_ipv6_mapped(),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
                Ipv6Addr::new(0x2001, 0, high, low, 0, 0, 0xf7f7, 0xf7f7),
                Ipv6Addr::new(0x2001, 0, 0x808, 0x808, 0, 0, !high, !low),
                Ipv6Addr::new(0x2606, 0, 0, 0, 0, 0x5efe, high, low),
            ] {
                prop_assert!(classify(wrapped.into()) >= v4(inner), "{wrapped}");
            }
        }

        #[test]
        fn nothing_outside_global_unicast_is_public_by_itself(bits: u128) {
            let address = Ipv6Addr::from(bits);
            if classify(address.into()) == Class::Public && matches!(embedded(address), Embedded::No) {
                prop_assert_eq!(address.segments()[0] >> 13, 1);
            }
        }
    }
}
