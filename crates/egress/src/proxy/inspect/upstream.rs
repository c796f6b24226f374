//! The way on: TLS to the host that the policy allowed, verified as that host.

use super::account::{Account, Counted, Line};
use super::ca::protocols;
use super::link::Link;
use super::outbound::Outbound;
use super::pool::Pool;
use super::stream::Stream;
use crate::host::Host;
use crate::proxy::decide::Permit;
use crate::proxy::dial::{Failed, Way};
use crate::proxy::phases::Phase;
use crate::proxy::shared::Shared;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// For a server's side of a handshake.
const PATIENCE: Duration = Duration::from_secs(15);
/// Hosts of which it is known whether they speak HTTP/2.
const MOST: usize = 4096;

/// What connections to servers have in common.
pub(super) struct Upstreams {
    extra_roots: Vec<CertificateDer<'static>>,
    /// For HTTP/1.1 alone, and with HTTP/2.
    configs: OnceCell<[Arc<ClientConfig>; 2]>,
    speaks_h2: Mutex<HashMap<(Host, u16), bool>>,
    /// Those of HTTP/1.1 and of HTTP/2 that are between two programs' connections.
    pub(super) idle: (Pool<Link>, Pool<Outbound>),
}

/// A connection to a server.
pub(super) struct Upstream {
    pub(super) stream: Stream,
    pub(super) line: Arc<Line>,
    /// What was agreed on.
    pub(super) h2: bool,
}

impl Upstreams {
    pub(super) fn new(extra_roots: Vec<CertificateDer<'static>>) -> Self {
        Self {
            extra_roots,
            configs: OnceCell::new(),
            speaks_h2: Mutex::default(),
            idle: (Pool::default(), Pool::default()),
        }
    }

    /// Ends the connections that nobody uses.
    pub(super) fn clear(&self) {
        self.idle.0.clear();
        self.idle.1.clear();
    }

    /// Whether the host spoke HTTP/2 the last time; None if nobody asked it yet.
    pub(super) fn speaks_h2(&self, permit: &Permit) -> Option<bool> {
        let known = self
            .speaks_h2
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        known.get(&(permit.host.clone(), permit.port)).copied()
    }

    /// Connects; with TLS if `secure`, and then with HTTP/2 if the server wants to and `h2`.
    pub(super) async fn connect(
        &self,
        shared: &Shared,
        (permit, way): (&Permit, &Way),
        account: &Arc<Account>,
        (secure, h2): (bool, bool),
    ) -> Result<Upstream, Failed> {
        let socket = way.connect(shared, permit.port).await?;
        let socket = Counted::new(socket, account);
        let line = socket.line();
        if !secure {
            return Ok(Upstream {
                stream: Box::new(socket),
                line,
                h2: false,
            });
        }
        let config = self.config(h2).await.map_err(Failed::Unreachable)?;
        let handshake = TlsConnector::from(config).connect(server_name(&permit.host)?, socket);
        let begun = shared.phases.begin();
        let shaken = timeout(PATIENCE, handshake).await;
        shared.phases.end(Phase::Tls, begun);
        let stream = match shaken {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(Failed::Unreachable(error)),
            Err(late) => return Err(Failed::Unreachable(late.into())),
        };
        let agreed = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        if h2 {
            self.learn(permit, agreed);
        }
        Ok(Upstream {
            stream: Box::new(stream),
            line,
            h2: agreed,
        })
    }

    fn learn(&self, permit: &Permit, h2: bool) {
        let mut known = self
            .speaks_h2
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.clear();
        }
        known.insert((permit.host.clone(), permit.port), h2);
    }

    async fn config(&self, h2: bool) -> io::Result<Arc<ClientConfig>> {
        let made = self.configs.get_or_try_init(|| {
            let extra = self.extra_roots.clone();
            async move { tokio::task::spawn_blocking(move || configs(extra)).await? }
        });
        Ok(Arc::clone(&made.await?[usize::from(h2)]))
    }
}

/// Reads the host's roots: that takes milliseconds, so it's done when the first is needed.
fn configs(extra: Vec<CertificateDer<'static>>) -> io::Result<[Arc<ClientConfig>; 2]> {
    let mut roots = RootCertStore::empty();
    // A host without any can still reach servers of the extra ones.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots.add_parsable_certificates(extra);
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut with_h2 = config.clone();
    config.alpn_protocols = protocols(false);
    with_h2.alpn_protocols = protocols(true);
    Ok([Arc::new(config), Arc::new(with_h2)])
}

/// For a server that has nothing to do with a sandbox.
pub(in crate::proxy) fn client_config() -> io::Result<ClientConfig> {
    let [config, _] = configs(Vec::new())?;
    Ok(Arc::unwrap_or_clone(config))
}

fn server_name(host: &Host) -> Result<ServerName<'static>, Failed> {
    match host {
        Host::V4(address) => Ok(std::net::IpAddr::from(*address).into()),
        Host::V6(address) => Ok(std::net::IpAddr::from(*address).into()),
        Host::Name(name) => ServerName::try_from(name.clone())
            .map_err(|_| Failed::Unresolved("TLS can't verify a name of this form")),
    }
}
