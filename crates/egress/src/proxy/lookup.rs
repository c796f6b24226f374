//! Names to addresses, by the host's resolver.

use crate::host::Host;
use casemate_core::error::{Error, Result};
use hickory_resolver::TokioResolver;
use std::net::IpAddr;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// A program that waits for longer has given up.
const PATIENCE: Duration = Duration::from_secs(8);

/// The addresses of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) addresses: Vec<IpAddr>,
    /// For how many seconds they are good.
    pub(super) ttl: u32,
}

/// Why there are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    /// There is no such name.
    Absent,
    /// Nobody could say.
    Failed,
}

/// The host's resolver: /etc/hosts and the servers of /etc/resolv.conf.
pub(super) struct Lookup(TokioResolver);

impl Lookup {
    pub(super) fn from_system() -> Result<Self> {
        let fail = |error: &dyn std::fmt::Display| {
            Error::rule("read how this host resolves names", error.to_string())
                .on("/etc/resolv.conf")
                .hint("without a name server, only addresses in the policy can be reached")
        };
        let builder = TokioResolver::builder_tokio().map_err(|error| fail(&error))?;
        let resolver = builder.build().map_err(|error| fail(&error))?;
        Ok(Self(resolver))
    }

    /// All addresses of a name, of both versions.
    pub(super) async fn find(&self, host: &Host) -> std::result::Result<Found, Lost> {
        if let Some(address) = host.address() {
            return Ok(Found {
                addresses: vec![address],
                ttl: 60,
            });
        }
        // With the final dot, no search domain of the host is tried.
        let name = format!("{host}.");
        match timeout(PATIENCE, self.0.lookup_ip(name)).await {
            Ok(Ok(found)) => {
                let left = found
                    .valid_until()
                    .saturating_duration_since(Instant::now());
                Ok(Found {
                    addresses: found.iter().collect(),
                    ttl: u32::try_from(left.as_secs()).unwrap_or(u32::MAX),
                })
            }
            Ok(Err(error)) if error.is_nx_domain() || error.is_no_records_found() => {
                Err(Lost::Absent)
            }
            Ok(Err(_)) | Err(_) => Err(Lost::Failed),
        }
    }
}

impl Lost {
    /// In one line.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Absent => "there is no such name",
            Self::Failed => "the name could not be resolved",
        }
    }
}
