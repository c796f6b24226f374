//! Limits of what a device moves.

use serde::{Deserialize, Serialize};

/// Limits of bytes and of operations, each on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RateLimiter {
    /// Bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<TokenBucket>,
    /// Operations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ops: Option<TokenBucket>,
}

/// A bucket that fills at a constant rate, and that each byte or operation takes a token from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenBucket {
    /// How many it holds. Zero is no limit.
    pub size: u64,
    /// How long an empty one takes to fill, milliseconds.
    pub refill_time: u64,
    /// What may be taken besides, once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub one_time_burst: Option<u64>,
}

impl RateLimiter {
    /// What a machine's network has unless somebody wishes otherwise: 200 MB a second, and 100 MB
    /// more once.
    pub const NETWORK: Self = Self {
        bandwidth: Some(TokenBucket {
            size: 200_000_000,
            refill_time: 1000,
            one_time_burst: Some(100_000_000),
        }),
        ops: None,
    };
}
