//! The way out that the clients of a platform ask for: everything public but what is denied, or
//! nothing but what is allowed.
//!
//! A policy lists who may go where and can't say "everything"; this can say little else. It knows
//! no programs, so it stands beside the policy, in its place, and never adds to one.
//!
//! ```text
//!   host, addresses ── all in `allow`? ───── yes ─▶ Basis::Address
//!           │ no
//!           ├── the name is in `allow`? ──── yes ─▶ Basis::Name
//!           ├── an address is in `deny`? ─── yes ─▶ refused
//!           └── internet? ── yes ─▶ Basis::Internet        no ─▶ refused
//! ```
//!
//! What is allowed wins over what is denied. Neither reaches further than the [guard](crate::address)
//! lets it: private ranges, the host and the services of clouds stay out of reach even of
//! `0.0.0.0/0`.
//!
//! - [`blocks`]: sets of addresses; [`names`]: things by name or pattern
//! - [`headers`]: what is set in requests, by host

mod blocks;
mod headers;
mod names;
#[cfg(test)]
mod tests;

pub use headers::Setting;

use crate::address::{Class, Guard, Target, canonical, carried, classify};
use crate::host::Host;
use blocks::Blocks;
use casemate_core::sandbox::Outward;
use headers::Headers;
use ipnet::IpNet;
use names::{Names, Pattern};
use std::fmt;
use std::net::IpAddr;

/// Entries of one list.
const MOST: usize = 1024;
/// Name servers.
const MOST_SERVERS: usize = 8;
/// Where name servers listen.
const DNS: u16 = 53;

/// What is asked for, ready to decide. See the module.
pub struct Open {
    internet: bool,
    names: Names<()>,
    allow: Blocks,
    deny: Blocks,
    headers: Headers,
    servers: Vec<IpAddr>,
    reach: Vec<IpNet>,
}

/// By what of it a connection is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// Nothing denies it.
    Internet,
    /// Its name is allowed.
    Name,
    /// Its addresses are.
    Address,
}

impl Basis {
    /// What logs call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Internet => "internet",
            Self::Name | Self::Address => "allowOut",
        }
    }
}

/// What isn't well-formed, by the name that clients have for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// `network.allowOut[3]`.
    pub field: String,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.why)
    }
}

impl std::error::Error for Invalid {}

impl Invalid {
    fn new(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            why: why.into(),
        }
    }
}

impl Open {
    /// Reads what is asked for. `reach` are addresses that are no public ones, and that whoever
    /// runs the platform lets every sandbox reach that is allowed to.
    ///
    /// # Errors
    /// A value isn't well-formed, or there are too many.
    pub fn new(outward: &Outward, reach: Vec<IpNet>) -> Result<Self, Invalid> {
        let (mut names, mut allow) = (Names::default(), Vec::new());
        for (field, text) in listed("network.allowOut", &outward.allow)? {
            match block(text) {
                Some(block) => allow.push(block),
                None => {
                    let pattern = Pattern::parse(text).map_err(|_| {
                        let why = format!("'{text}' is no address, CIDR block or domain");
                        Invalid::new(field, why)
                    })?;
                    *names.at(pattern) = ();
                }
            }
        }
        let denied = listed("network.denyOut", &outward.deny)?.map(|(field, text)| {
            let why = || format!("'{text}' is neither an address nor a CIDR block");
            block(text).ok_or_else(|| Invalid::new(field, why()))
        });
        let deny = denied.collect::<Result<Vec<_>, _>>()?;
        // Who says all of IPv4 means IPv6, too.
        let all = |blocks: &[IpNet]| blocks.contains(&IpNet::V4(ipnet::Ipv4Net::default()));
        let open = Self {
            internet: all(&allow) || outward.internet && !all(&deny),
            names,
            allow: Blocks::new(allow),
            deny: Blocks::new(deny),
            headers: Headers::new(&outward.headers)?,
            servers: Vec::new(),
            reach,
        };
        open.with_servers(&outward.dns)
    }

    fn with_servers(mut self, servers: &[IpAddr]) -> Result<Self, Invalid> {
        const FIELD: &str = "network.dnsServers";
        if servers.len() > MOST_SERVERS {
            let why = format!("more than {MOST_SERVERS} entries");
            return Err(Invalid::new(FIELD, why));
        }
        for (index, server) in servers.iter().map(|own| canonical(*own)).enumerate() {
            if !self.is_reached(server) {
                let why = format!("no sandbox may reach {server}");
                return Err(Invalid::new(format!("{FIELD}[{index}]"), why));
            }
            self.servers.push(server);
        }
        Ok(self)
    }

    fn is_reached(&self, address: IpAddr) -> bool {
        match classify(address) {
            Class::Public => true,
            Class::Internal(_) => self.reach.iter().any(|block| block.contains(&address)),
            Class::Blocked(_) => false,
        }
    }

    /// Decides about a host and the addresses that it leads to, as far as they are known: a
    /// connection is decided about again when they are.
    ///
    /// # Errors
    /// Why not, in one line.
    pub fn decide(&self, host: &Host, reached: &[IpAddr]) -> Result<Basis, String> {
        let known = reached.iter().copied().chain(host.address());
        let mut known = known.map(canonical).peekable();
        if known.peek().is_some() && known.clone().all(|own| self.allows(own)) {
            return Ok(Basis::Address);
        }
        if matches!(host, Host::Name(_)) && self.names.has(host) {
            return Ok(Basis::Name);
        }
        if let Some(denied) = known.find(|own| ways(*own).any(|way| self.deny.has(way))) {
            return Err(format!("{denied} is in what network.denyOut has"));
        }
        match self.internet {
            true => Ok(Basis::Internet),
            false => Err(format!(
                "{host} isn't in network.allowOut, and all else is denied"
            )),
        }
    }

    /// Whether an address is allowed, and what it carries isn't denied.
    fn allows(&self, address: IpAddr) -> bool {
        let fine = |way| self.allow.has(way) || !self.deny.has(way);
        self.allow.has(address) && ways(address).all(fine)
    }

    /// Whether a name may be asked of name servers: whether it could be connected to, before it is
    /// known where it leads.
    pub fn resolves(&self, name: &Host) -> bool {
        self.internet || self.names.has(name)
    }

    /// Whether a name can make a difference where the address alone is refused.
    pub fn asks_for_names(&self) -> bool {
        !self.names.is_empty()
    }

    /// The name servers to ask, of those that the guard lets a sandbox reach; `None` if the host's
    /// own are to be asked.
    pub fn servers(&self, guard: &Guard) -> Option<Vec<IpAddr>> {
        let fine = |server: &IpAddr| self.judge(guard, &Host::from(*server), DNS, &[*server]);
        let fine = |server: &&IpAddr| fine(server).is_ok();
        let own = || self.servers.iter().filter(fine).copied().collect();
        (!self.servers.is_empty()).then(own)
    }

    /// Judges the addresses of a host by the guard; what comes back is what to dial.
    ///
    /// # Errors
    /// Why they aren't reached.
    pub fn judge(
        &self,
        guard: &Guard,
        host: &Host,
        port: u16,
        addresses: &[IpAddr],
    ) -> Result<Vec<IpAddr>, crate::address::Refused> {
        let target = Target {
            host,
            port,
            declared: false,
            allowed_ips: &[],
        };
        let judged = guard.check_all(&target, addresses);
        if judged.is_ok() || self.reach.is_empty() {
            return judged;
        }
        let target = Target {
            allowed_ips: &self.reach,
            ..target
        };
        guard.check_all(&target, addresses).or(judged)
    }

    /// What is set in requests to a host.
    pub fn headers(&self, host: &Host) -> Vec<Setting<'_>> {
        self.headers.of(host)
    }

    /// Whether anything is set in requests to a host.
    pub fn sets_headers(&self, host: &Host) -> bool {
        self.headers.has(host)
    }

    /// Whether there is a host in whose requests something is set.
    pub fn sets_any_headers(&self) -> bool {
        !self.headers.is_empty()
    }

    /// Whether both set the same.
    pub fn sets_like(&self, other: &Self) -> bool {
        self.headers == other.headers
    }
}

/// Whether what is asked for is well-formed.
///
/// # Errors
/// The first value that isn't.
pub fn check(outward: &Outward, reach: &[IpNet]) -> Result<(), Invalid> {
    Open::new(outward, reach.to_vec()).map(drop)
}

/// An address and those that it carries: what is sent to it ends up there.
fn ways(address: IpAddr) -> impl Iterator<Item = IpAddr> {
    std::iter::once(address).chain(carried(address))
}

fn listed<'a>(
    field: &'a str,
    list: &'a [String],
) -> Result<impl Iterator<Item = (String, &'a str)>, Invalid> {
    if list.len() > MOST {
        return Err(Invalid::new(field, format!("more than {MOST} entries")));
    }
    let numbered = list.iter().enumerate();
    Ok(numbered.map(move |(index, text)| (format!("{field}[{index}]"), text.as_str())))
}

/// An address or a CIDR block.
fn block(text: &str) -> Option<IpNet> {
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse().ok().or_else(address)
}
