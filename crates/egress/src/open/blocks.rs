//! Sets of addresses, made of CIDR blocks: sorted, disjoint ranges. A look-up is a binary search.

use ipnet::{IpNet, Ipv4Net};
use std::net::IpAddr;

/// Bits of a v4-mapped address that are no part of the IPv4 address.
const MAPPED: u8 = 96;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Blocks(Vec<(IpAddr, IpAddr)>);

impl Blocks {
    pub(super) fn new(blocks: Vec<IpNet>) -> Self {
        let blocks = blocks.into_iter().map(plain).collect();
        let whole = IpNet::aggregate(&blocks);
        let mut ranges: Vec<_> = whole
            .iter()
            .map(|own| (own.network(), own.broadcast()))
            .collect();
        ranges.sort_unstable();
        Self(ranges)
    }

    /// Whether an address is in one of them. It must not be a v4-mapped one.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= address);
        let before = after.checked_sub(1).and_then(|index| self.0.get(index));
        before.is_some_and(|(_, last)| address <= *last)
    }
}

/// A block of v4-mapped addresses is one of IPv4.
fn plain(block: IpNet) -> IpNet {
    let IpNet::V6(mapped) = block else {
        return block;
    };
    let length = mapped.prefix_len().checked_sub(MAPPED);
    match (mapped.network().to_ipv4_mapped(), length) {
        (Some(address), Some(length)) => {
            Ipv4Net::new(address, length).map_or(block, |own| IpNet::V4(own.trunc()))
        }
        _ => block,
    }
}
