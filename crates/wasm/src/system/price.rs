//! What things would cost on the network, for canisters that ask (`ic0.cost_*`).
//!
//! Nothing of it is charged here. A canister attaches what it was told to its calls, so it is told
//! what an application subnet of [`NODES`] nodes would say.
//!
//! Source: the Internet Computer's documentation, "Cycles costs" and "Cycles cost formulas"; the
//! interface specification, "Cycle cost calculation".

/// Nodes of the subnet that prices are for.
const NODES: u128 = 13;
/// Nodes of the subnet that holds the production keys.
const NODES_OF_KEYS: u128 = 34;

/// A call of another canister, and each byte of it.
const CALL: u128 = 260_000;
const CALL_BYTE: u128 = 1_000;
/// The longest response, bytes.
const LONGEST_RESPONSE: u128 = 2 << 20;
/// Running a message, and ten of its instructions; instructions are twice that with 64 bits.
const MESSAGE: u128 = 5_000_000;
const TEN_INSTRUCTIONS: u128 = 10;
const WIDE: u128 = 2;
/// Instructions that the callback of a response may take.
const MOST_INSTRUCTIONS: u128 = 40_000_000_000;

const CREATION: u128 = 500_000_000_000;
/// A signature or a derived key, by a subnet of [`NODES`] nodes.
const KEY: u128 = 10_000_000_000;

/// What a call of another canister takes: the request, the longest response, and the longest
/// callback for it.
pub(crate) fn call(name: u64, argument: u64, is64: bool) -> u128 {
    let bytes = u128::from(name) + u128::from(argument);
    let width = if is64 { WIDE } else { 1 };
    let callback = MESSAGE + MOST_INSTRUCTIONS / 10 * TEN_INSTRUCTIONS * width;
    CALL + CALL_BYTE * (bytes + LONGEST_RESPONSE) + callback
}

/// What a new canister takes.
pub(crate) fn creation() -> u128 {
    CREATION
}

/// What an HTTP request takes whose longest response is paid for, whatever comes.
pub(crate) fn http_request(request: u64, longest_response: u64) -> u128 {
    let bytes = 400 * u128::from(request) + 800 * u128::from(longest_response);
    NODES * (3_000_000 + 60_000 * NODES + bytes)
}

/// What a key signs with, or derives from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Ecdsa,
    Schnorr,
    VetKd,
}

/// Why there is no price for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoKey {
    /// The scheme has no such curve or algorithm.
    Curve = 1,
    /// There is no key of this name for it.
    Name = 2,
}

/// What the use of a key takes, by its curve's number and its name.
pub(crate) fn key(scheme: Scheme, curve: u32, name: &[u8]) -> Result<u128, NoKey> {
    let curves = match scheme {
        Scheme::Ecdsa | Scheme::VetKd => 1,
        Scheme::Schnorr => 2,
    };
    if curve >= curves {
        return Err(NoKey::Curve);
    }
    match name {
        b"key_1" => Ok(KEY * NODES_OF_KEYS / NODES),
        b"test_key_1" | b"dfx_test_key" => Ok(KEY),
        _ => Err(NoKey::Name),
    }
}

/// An HTTP request that is paid for by what it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcall {
    pub(crate) request_bytes: u64,
    pub(crate) milliseconds: u64,
    pub(crate) response_bytes: u64,
    pub(crate) transformed_bytes: u64,
    pub(crate) instructions: u64,
    pub(crate) nodes: Nodes,
}

/// Which nodes make an HTTP request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nodes {
    /// All, and they have to agree.
    All,
    /// One.
    One,
    /// So many, of whose responses so many are wanted.
    Some { least: u32, most: u32, asked: u32 },
}

impl Nodes {
    /// A number of nodes that wasn't said.
    pub(crate) const UNSAID: Self = Self::Some {
        least: (NODES * 2 / 3) as u32 + 1,
        most: NODES as u32,
        asked: NODES as u32,
    };
}

/// What it takes: for being asked, for what each node does, and for agreeing on the response.
pub(crate) fn outcall(outcall: &Outcall) -> u128 {
    let bytes = u128::from(outcall.transformed_bytes);
    let (asked, least, most) = match outcall.nodes {
        Nodes::All => (NODES, None, 1),
        Nodes::One => (1, Some(1), 1),
        Nodes::Some { least, most, asked } => {
            (u128::from(asked), Some(u128::from(least)), u128::from(most))
        }
    };
    let request = 1_000_000 + 50 * u128::from(outcall.request_bytes);
    // A response that is wanted by itself is agreed upon by itself.
    let response = 2_000 * NODES + 100_000;
    let of_kind = match least {
        None => 140_000 * NODES + 800 * NODES * NODES,
        Some(least) => 90_000 * NODES + response * least,
    };
    let spread = match least {
        None => 0,
        Some(_) => 50 * bytes * NODES,
    };
    let each = 50 * u128::from(outcall.response_bytes)
        + 300 * u128::from(outcall.milliseconds)
        + u128::from(outcall.instructions) / 13
        + spread;
    let (form, beyond) = match outcall.nodes {
        Nodes::Some { .. } => (181, most.saturating_sub(least.unwrap_or(0))),
        Nodes::All | Nodes::One => (0, 0),
    };
    let agreement = (10 * NODES + 600) * NODES * most * (form + bytes) + response * NODES * beyond;
    NODES * (request + of_kind) + asked * each + agreement
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The prices that are published for a subnet of 13 nodes.
    #[test]
    fn published_prices() {
        assert_eq!(http_request(0, 0), 49_140_000);
        assert_eq!(http_request(1, 0) - http_request(0, 0), 5_200);
        assert_eq!(http_request(0, 1) - http_request(0, 0), 10_400);
        assert_eq!(creation(), 500_000_000_000);
        assert_eq!(key(Scheme::Ecdsa, 0, b"key_1"), Ok(26_153_846_153));
        assert_eq!(key(Scheme::Schnorr, 1, b"test_key_1"), Ok(10_000_000_000));
        assert_eq!(key(Scheme::VetKd, 0, b"test_key_1"), Ok(10_000_000_000));
        let (narrow, wide) = (call(3, 4, false), call(3, 4, true));
        let least = 260_000 + 1_000 * (7 + 2_097_152) + 5_000_000;
        assert_eq!(narrow, least + 40_000_000_000);
        assert_eq!(wide, least + 80_000_000_000);
    }

    #[test]
    fn what_there_is_no_key_of() {
        assert_eq!(key(Scheme::Ecdsa, 1, b"key_1"), Err(NoKey::Curve));
        assert_eq!(key(Scheme::Schnorr, 2, b"nobody's"), Err(NoKey::Curve));
        assert_eq!(key(Scheme::VetKd, 0, b"key_2"), Err(NoKey::Name));
    }

    #[test]
    fn requests_by_what_they_take() {
        let of = |nodes| {
            outcall(&Outcall {
                request_bytes: 100,
                milliseconds: 2_000,
                response_bytes: 1_000,
                transformed_bytes: 500,
                instructions: 26,
                nodes,
            })
        };
        // 13 × (1,000,000 + 5,000 + 1,820,000 + 135,200) + 13 × 650,002 + 9,490 × 500
        assert_eq!(of(Nodes::All), 38_482_600 + 8_450_026 + 4_745_000);
        // 13 × (1,005,000 + 1,170,000 + 126,000) + 650,002 + 325,000 + 9,490 × 500
        assert_eq!(of(Nodes::One), 29_913_000 + 975_002 + 4_745_000);
        // 13 × (1,005,000 + 1,170,000 + 1,134,000) + 13 × 975,002 + 13 × 9,490 × 681 + 4 × 1,638,000
        let some = 43_017_000 + 12_675_026 + 84_014_970 + 6_552_000;
        assert_eq!(of(Nodes::UNSAID), some);
        // Numbers that no memory could hold don't wrap.
        let most = u64::MAX;
        let sum = outcall(&Outcall {
            request_bytes: most,
            milliseconds: most,
            response_bytes: most,
            transformed_bytes: most,
            instructions: most,
            nodes: Nodes::Some {
                least: u32::MAX,
                most: u32::MAX,
                asked: u32::MAX,
            },
        });
        assert!(sum > u128::from(u64::MAX));
    }
}
