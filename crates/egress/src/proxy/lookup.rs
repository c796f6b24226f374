//! Names to addresses, by the host's resolver or by name servers that somebody asked for.

use crate::host::Host;
use casemate_core::error::{Error, Result};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
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

/// See the module.
pub(super) struct Lookup {
    /// The host's: /etc/hosts and the servers of /etc/resolv.conf.
    system: TokioResolver,
    /// Of these servers and nothing else.
    other: Mutex<Option<(Vec<IpAddr>, TokioResolver)>>,
}

impl Lookup {
    pub(super) fn from_system() -> Result<Self> {
        let fail = |error: &dyn std::fmt::Display| {
            Error::rule("read how this host resolves names", error.to_string())
                .on("/etc/resolv.conf")
                .hint("without a name server, only addresses in the policy can be reached")
        };
        let builder = TokioResolver::builder_tokio().map_err(|error| fail(&error))?;
        let resolver = builder.build().map_err(|error| fail(&error))?;
        Ok(Self {
            system: resolver,
            other: Mutex::default(),
        })
    }

    /// What asks these servers; kept until others are asked.
    fn of(&self, servers: Vec<IpAddr>) -> Option<TokioResolver> {
        let mut other = self.other.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, resolver)) = &*other
            && *known == servers
        {
            return Some(resolver.clone());
        }
        let configs = servers.iter().copied().map(NameServerConfig::udp_and_tcp);
        let config = ResolverConfig::from_name_servers(configs.collect());
        let provider = TokioRuntimeProvider::default();
        let mut builder = TokioResolver::builder_with_config(config, provider);
        // The host's names are none of theirs.
        builder.options_mut().use_hosts_file = ResolveHosts::Never;
        let resolver = builder.build().ok()?;
        *other = Some((servers, resolver.clone()));
        Some(resolver)
    }

    /// All addresses of a name, of both versions; by the host's resolver if no `servers` are given.
    pub(super) async fn find(
        &self,
        host: &Host,
        servers: Option<Vec<IpAddr>>,
    ) -> std::result::Result<Found, Lost> {
        if let Some(address) = host.address() {
            return Ok(Found {
                addresses: vec![address],
                ttl: 60,
            });
        }
        // With the final dot, no search domain of the host is tried.
        let name = format!("{host}.");
        let resolver = match servers {
            None => self.system.clone(),
            Some(servers) if servers.is_empty() => return Err(Lost::Failed),
            Some(servers) => self.of(servers).ok_or(Lost::Failed)?,
        };
        match timeout(PATIENCE, resolver.lookup_ip(name)).await {
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
