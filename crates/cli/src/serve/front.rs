//! What clients find the server by.
//!
//! | | they are told | they ask |
//! |---|---|---|
//! | no domain | `E2B_API_URL`, `E2B_SANDBOX_URL` | one URL, and headers say which sandbox is meant |
//! | a domain, by TLS | `E2B_DOMAIN` | `https://api.domain`, `https://{port}-{id}.domain` |
//!
//! They speak https alone to a domain. What they have to be told besides: where its names are
//! found, if `--dns` answers for them, and which authority signed its certificate, if it's ours.

use super::greeting::Variables;
use crate::egress::host_roots;
use casemate_core::error::{Error, Result};
use casemate_gateway::dns::Responder;
use casemate_gateway::tls::{self, Authority};
use clap::Args;
use rustls::ServerConfig;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::{TcpListener, UdpSocket};

/// The port that https has where none is named.
const HTTPS: u16 = 443;
/// Letters of a domain that has room for a port's and a sandbox's names below it.
const LONGEST: usize = 200;

// Where it listens, and under which names.
#[derive(Args)]
pub(crate) struct FrontArgs {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:3000")]
    pub(super) listen: SocketAddr,
    /// The domain that sandboxes are subdomains of
    #[arg(long, value_name = "NAME", value_parser = domain)]
    pub(super) domain: Option<String>,
    /// Speak TLS for the domain: with an authority of this run alone, or with a certificate's chain
    /// and its key (PEM)
    #[arg(long, value_name = "self|CERT,KEY", value_parser = certificate, conflicts_with = "insecure")]
    tls: Option<Certificate>,
    /// Answer DNS questions about the domain here, UDP and TCP
    #[arg(long, value_name = "ADDRESS")]
    dns: Option<SocketAddr>,
    /// A reverse proxy stands in front, which speaks TLS for the domain and says who asks
    #[arg(long)]
    pub(super) behind_proxy: bool,
    /// Listen elsewhere than on loopback without TLS
    #[arg(long)]
    insecure: bool,
}

/// Whose certificate is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Certificate {
    Own,
    Given { chain: PathBuf, key: PathBuf },
}

fn certificate(text: &str) -> Result<Certificate, String> {
    match text.split_once(',') {
        None if text == "self" => Ok(Certificate::Own),
        Some((chain, key)) if !chain.is_empty() && !key.is_empty() => Ok(Certificate::Given {
            chain: chain.into(),
            key: key.into(),
        }),
        _ => Err("expected `self`, or the files CERT,KEY".into()),
    }
}

fn domain(text: &str) -> Result<String, String> {
    let plain = text.trim_end_matches('.').to_ascii_lowercase();
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(letter)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let fine = plain.len() <= LONGEST && plain.split('.').all(label);
    // Numbers at the end are an address (WHATWG URL, "ends in a number").
    let last = plain.rsplit('.').next().unwrap_or_default();
    let is_address = last.bytes().all(|byte| byte.is_ascii_digit());
    match fine && !is_address {
        true => Ok(plain),
        false => Err("expected a name such as sbx.localhost, without a port".into()),
    }
}

impl FrontArgs {
    /// Refuses what makes no sense together, or would show keys to others.
    fn check(&self) -> Result<()> {
        let named = "add --domain NAME: --domain sbx.localhost for instance";
        if self.tls.is_some() && self.domain.is_none() {
            let why = "a certificate is for a name, and there is none";
            return Err(Error::rule("speak TLS", why).hint(named));
        }
        if self.dns.is_some() && self.domain.is_none() {
            let why = "there is no domain to answer for";
            return Err(Error::rule("answer DNS questions", why).hint(named));
        }
        if self.dns.is_some() && self.listen.ip().is_unspecified() {
            let why = "answers have to name one address, and this is all of them";
            return Err(Error::rule("answer DNS questions", why)
                .on(self.listen)
                .hint("give --listen the address that clients are to reach"));
        }
        if !self.listen.ip().is_loopback() && self.tls.is_none() && !self.insecure {
            let why = "keys and files would cross the network in the clear";
            return Err(Error::rule("listen elsewhere than on loopback", why)
                .on(self.listen)
                .hint(
                    "--domain NAME --tls CERT,KEY encrypts; --insecure accepts that, behind a \
                     proxy that speaks TLS for instance",
                ));
        }
        Ok(())
    }

    /// Takes the ports.
    pub(super) async fn open(&self) -> Result<Front> {
        self.check()?;
        let (tls, authority) = match (&self.tls, &self.domain) {
            (Some(Certificate::Own), Some(domain)) => {
                let authority = Authority::new(domain)?;
                (Some(authority.server()), Some(authority))
            }
            (Some(Certificate::Given { chain, key }), _) => (Some(tls::given(chain, key)?), None),
            _ => (None, None),
        };
        let listener = TcpListener::bind(self.listen).await;
        let listener = listener.map_err(|error| busy("listen", self.listen, &error))?;
        let address = near(listener.local_addr().unwrap_or(self.listen));
        let names = match (self.dns, &self.domain) {
            (Some(at), Some(domain)) => Some(Names::open(at, domain, address.ip()).await?),
            _ => None,
        };
        Ok(Front {
            listener,
            address,
            domain: self.domain.clone(),
            behind_proxy: self.behind_proxy,
            tls,
            authority,
            names,
        })
    }
}

fn busy(step: &str, at: SocketAddr, error: &std::io::Error) -> Error {
    let text = Error::io(step, error).on(at);
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => text.hint(
            "ports below 1024 are for root, unless the sysctl net.ipv4.ip_unprivileged_port_start \
             says otherwise",
        ),
        std::io::ErrorKind::AddrInUse => {
            text.hint("another program listens there: take another port")
        }
        _ => text,
    }
}

/// Where a client on this machine finds a listener.
fn near(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// See the module. The ports are taken.
pub(super) struct Front {
    pub(super) listener: TcpListener,
    /// Where it's found from this machine.
    pub(super) address: SocketAddr,
    domain: Option<String>,
    behind_proxy: bool,
    pub(super) tls: Option<Arc<ServerConfig>>,
    authority: Option<Authority>,
    pub(super) names: Option<Names>,
}

impl Front {
    /// The URL of the port itself.
    pub(super) fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The domain as clients are told it: with the port, where https has another.
    pub(super) fn told(&self) -> Option<String> {
        let domain = self.domain.as_ref()?;
        Some(
            match self.tls.is_some() && !self.behind_proxy && self.address.port() != HTTPS {
                true => format!("{domain}:{}", self.address.port()),
                false => domain.clone(),
            },
        )
    }

    pub(super) fn domain(&self) -> Option<&str> {
        self.domain.as_deref()
    }

    /// The domain, if clients reach it by https.
    pub(super) fn secure_domain(&self) -> Option<String> {
        let secure = self.tls.is_some() || self.behind_proxy;
        self.told().filter(|_| secure)
    }

    /// Where the certificate of an authority of our own is to be found.
    pub(super) fn authority(&self, data: &Path) -> Option<PathBuf> {
        self.authority.as_ref().map(|_| data.join("authority.pem"))
    }

    /// What clients have to have in their environment; writes the files that are named there.
    pub(super) fn variables(&self, data: &Path) -> Result<Variables> {
        let Some(domain) = self.secure_domain() else {
            let url = self.url();
            return Ok(vec![("E2B_API_URL", url.clone()), ("E2B_SANDBOX_URL", url)]);
        };
        let mut variables = vec![("E2B_DOMAIN", domain)];
        if let (Some(authority), Some(own)) = (&self.authority, self.authority(data)) {
            authority.write(&own)?;
            // The variable takes the place of what the machine trusts, so that is in there, too.
            let all = data.join("roots.pem");
            let text = format!("{}\n{}", host_roots(), authority.pem());
            let fail = |error| Error::io("write the roots for clients", &error).on(all.display());
            std::fs::write(&all, text).map_err(fail)?;
            variables.push(("SSL_CERT_FILE", all.display().to_string()));
            variables.push(("NODE_EXTRA_CA_CERTS", own.display().to_string()));
        }
        Ok(variables)
    }
}

/// Who answers for the domain's names.
pub(super) struct Names {
    responder: Responder,
    udp: UdpSocket,
    tcp: TcpListener,
    /// Where.
    pub(super) at: SocketAddr,
}

impl Names {
    async fn open(at: SocketAddr, domain: &str, address: IpAddr) -> Result<Self> {
        const STEP: &str = "answer DNS questions";
        let fail = |error: std::io::Error| busy(STEP, at, &error);
        let udp = UdpSocket::bind(at).await.map_err(fail)?;
        let at = udp.local_addr().map_err(fail)?;
        Ok(Self {
            responder: Responder::new(domain, vec![address])?,
            udp,
            tcp: TcpListener::bind(at).await.map_err(fail)?,
            at,
        })
    }

    pub(super) async fn serve(self, stop: impl Future<Output = ()>) {
        self.responder.serve(self.udp, self.tcp, stop).await;
    }
}

#[cfg(test)]
mod tests {
    use super::{Certificate, certificate, domain};

    #[test]
    fn a_domain_is_a_name_without_anything_else() {
        assert_eq!(domain("Sbx.localhost.").unwrap(), "sbx.localhost");
        assert_eq!(domain("a-1").unwrap(), "a-1");
        for bad in [
            "", ".", "a..b", "a:3000", "-a", "a-", "*.a", "10.0.0.1", "a_b", "[::1]",
        ] {
            assert!(domain(bad).is_err(), "{bad}");
        }
        assert!(domain(&"a.".repeat(120)).is_err());
    }

    #[test]
    fn a_certificate_is_ours_or_two_files() {
        assert_eq!(certificate("self").unwrap(), Certificate::Own);
        assert!(matches!(
            certificate("a.pem,b.pem"),
            Ok(Certificate::Given { .. })
        ));
        for bad in ["", "a.pem", ",", "a,", ",b"] {
            assert!(certificate(bad).is_err(), "{bad}");
        }
    }
}
