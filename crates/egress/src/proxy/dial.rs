//! The connection out: to addresses that were judged, and to no others.

use super::decide::Permit;
use super::phases::Phase;
use super::shared::Shared;
use crate::address::{GATEWAY_NAMES, Guard, Refused, Target};
use crate::denial::ErrorCode;
use crate::host::Host;
use casemate_policy::compiled::Grant;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// For one address.
const PATIENCE: Duration = Duration::from_secs(10);
/// Addresses of one name that are tried.
const MOST: usize = 4;

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum Failed {
    /// An address is not one that a sandbox may reach.
    Guarded(Refused),
    /// The name has no address.
    Unresolved(&'static str),
    /// Nobody answered.
    Unreachable(std::io::Error),
    /// What is said there would have to be seen, and isn't.
    Unseen(ErrorCode, &'static str),
}

/// Addresses that were judged.
#[derive(Debug, Clone)]
pub(super) enum Way {
    /// The one that a program chose.
    Address(SocketAddr),
    /// Those of a host that a program named.
    Judged(Vec<IpAddr>),
}

/// See the module.
pub(super) struct Dialer {
    guard: Guard,
}

impl Dialer {
    pub(super) fn new(guard: Guard) -> Self {
        Self { guard }
    }

    /// Judges addresses for what a permit grants; what comes back is what to dial.
    pub(super) fn judge(
        &self,
        permit: &Permit,
        addresses: &[IpAddr],
    ) -> Result<Vec<IpAddr>, Refused> {
        if let Some(open) = permit.open() {
            let decided = open.decide(&permit.host, addresses);
            decided.map_err(|reason| Refused { reason })?;
            return open.judge(&self.guard, &permit.host, permit.port, addresses);
        }
        match permit.grant() {
            Some(grant) => self.judge_granted(permit, &grant, addresses),
            None => Err(Refused {
                reason: "the policy no longer allows it".into(),
            }),
        }
    }

    /// The same for what is known to be granted.
    pub(super) fn judge_granted(
        &self,
        permit: &Permit,
        grant: &Grant<'_>,
        addresses: &[IpAddr],
    ) -> Result<Vec<IpAddr>, Refused> {
        let allowed_ips: Vec<IpNet> = grant.allowed_ips().copied().collect();
        let target = Target {
            host: &permit.host,
            port: permit.port,
            declared: grant.exact_host(),
            allowed_ips: &allowed_ips,
        };
        let judged = self.guard.check_all(&target, addresses);
        match permit.learning().map(|own| &*own.reach) {
            None | Some([]) => judged,
            // A connection that is only learnt has no addresses of its own.
            Some(reach) => judged.or_else(|_| {
                let allowed_ips = reach;
                let target = Target {
                    allowed_ips,
                    ..target
                };
                self.guard.check_all(&target, addresses)
            }),
        }
    }

    /// The way to the one address that a program chose.
    pub(super) fn to_address(&self, permit: &Permit, to: SocketAddr) -> Result<Way, Failed> {
        self.judge(permit, &[to.ip()]).map_err(Failed::Guarded)?;
        Ok(Way::Address(to))
    }

    /// The way to a host by its name.
    pub(super) async fn to_host(&self, shared: &Shared, permit: &Permit) -> Result<Way, Failed> {
        let addresses = match self.gateway(&permit.host) {
            Some(gateway) => vec![gateway],
            None => {
                let begun = shared.phases.begin();
                let found = shared.find(&permit.host).await;
                shared.phases.end(Phase::Dns, begun);
                let found = found.map_err(|lost| Failed::Unresolved(lost.reason()))?;
                found.addresses
            }
        };
        let judged = self.judge(permit, &addresses).map_err(Failed::Guarded)?;
        Ok(Way::Judged(judged))
    }

    /// What it judges by.
    pub(super) fn guard(&self) -> &Guard {
        &self.guard
    }

    /// The host's own address, if this is one of its names: no name server knows those.
    fn gateway(&self, host: &Host) -> Option<IpAddr> {
        match host {
            Host::Name(name) if GATEWAY_NAMES.contains(&name.as_str()) => self.guard.gateway(),
            _ => None,
        }
    }
}

impl Way {
    /// Whether this address was judged.
    pub(super) fn leads_to(&self, address: IpAddr) -> bool {
        match self {
            Self::Address(to) => to.ip() == address,
            Self::Judged(judged) => judged.contains(&address),
        }
    }

    /// Connects; of several addresses, to the first that answers.
    pub(super) async fn connect(&self, shared: &Shared, port: u16) -> Result<TcpStream, Failed> {
        let judged = match self {
            Self::Address(to) => return connect(shared, *to).await.map_err(Failed::Unreachable),
            Self::Judged(judged) => judged,
        };
        let mut last = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
        for address in judged.iter().take(MOST) {
            match connect(shared, SocketAddr::new(*address, port)).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(Failed::Unreachable(last))
    }
}

impl Failed {
    /// In one line.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Guarded(refused) => refused.reason.clone(),
            Self::Unresolved(why) => (*why).to_owned(),
            Self::Unreachable(error) => error.to_string(),
            Self::Unseen(code, why) => format!("{}: {why}", code.as_str()),
        }
    }

    /// As which a client of HTTP is told of it.
    pub(super) fn code(&self) -> ErrorCode {
        match self {
            Self::Guarded(_) => ErrorCode::SsrfDenied,
            Self::Unresolved(_) | Self::Unreachable(_) => ErrorCode::UpstreamUnreachable,
            Self::Unseen(code, _) => *code,
        }
    }
}

async fn connect(shared: &Shared, to: SocketAddr) -> std::io::Result<TcpStream> {
    let begun = shared.phases.begin();
    let connected = timeout(PATIENCE, TcpStream::connect(to)).await;
    shared.phases.end(Phase::Connect, begun);
    let stream = connected??;
    // Small messages must not wait for acknowledgements of others (RFC 896).
    stream.set_nodelay(true)?;
    Ok(stream)
}
