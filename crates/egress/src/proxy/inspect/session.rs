//! One inspected connection: whose it is, where it goes, and what it has used.

use super::account::Account;
use super::ca::Authority;
use super::upstream::{Upstream, Upstreams};
use crate::credentials::Credentials;
use crate::host::Authority as Place;
use crate::proxy::decide::Permit;
use crate::proxy::dial::{Failed, Way};
use crate::proxy::shared::Shared;
use rustls_pki_types::CertificateDer;
use std::sync::Arc;
use std::time::Duration;

/// What inspection is made of.
pub struct Inspection {
    /// Signs what the sandbox is shown; its certificate has to be among those that it trusts.
    pub authority: Arc<Authority>,
    /// Roots that servers may have besides the host's.
    pub extra_roots: Vec<CertificateDer<'static>>,
    /// What placeholders stand for.
    pub credentials: Arc<Credentials>,
    /// How long others are waited for.
    pub patience: Patience,
}

/// How long others are waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For a whole head, and for a TLS handshake.
    pub head: Duration,
    /// For the next piece of a request's body.
    pub body: Duration,
    /// For the next request.
    pub idle: Duration,
    /// For the next piece of an answer, and for others to take what is written.
    pub answer: Duration,
    /// For somebody who wants a connection to a server that nobody uses any more.
    pub spare: Duration,
    /// The same, where what is to be asked can't be repeated: servers hang up on idle
    /// connections, some after five seconds.
    pub recent: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(30),
            body: Duration::from_secs(60),
            idle: Duration::from_secs(120),
            // Answers that are thought about, and streams of events, have long pauses.
            answer: Duration::from_secs(15 * 60),
            spare: Duration::from_secs(30),
            recent: Duration::from_secs(2),
        }
    }
}

impl Inspection {
    /// With the host's roots, no credentials and the usual patience.
    pub fn new(authority: Arc<Authority>) -> Self {
        Self {
            authority,
            extra_roots: Vec::new(),
            credentials: Arc::default(),
            patience: Patience::default(),
        }
    }
}

/// What all inspected connections of a sandbox share.
pub(in crate::proxy) struct Inspector {
    pub(super) authority: Arc<Authority>,
    pub(super) upstreams: Upstreams,
    pub(super) credentials: Arc<Credentials>,
    pub(super) patience: Patience,
}

impl Inspector {
    /// Ends what another policy might not allow to be used again.
    pub(in crate::proxy) fn forget(&self) {
        self.upstreams.clear();
    }
}

impl From<Inspection> for Inspector {
    fn from(inspection: Inspection) -> Self {
        Self {
            authority: inspection.authority,
            upstreams: Upstreams::new(inspection.extra_roots),
            credentials: inspection.credentials,
            patience: inspection.patience,
        }
    }
}

/// See the module.
pub(super) struct Session {
    pub(super) shared: Arc<Shared>,
    pub(super) permit: Permit,
    pub(super) way: Way,
    /// The client speaks TLS, so the server has to.
    pub(super) secure: bool,
    pub(super) account: Arc<Account>,
}

impl Session {
    pub(super) fn default_port(&self) -> u16 {
        if self.secure { 443 } else { 80 }
    }

    /// The place as requests to it name it.
    pub(super) fn place_of(&self, permit: &Permit) -> Place {
        Place {
            host: permit.host.clone(),
            port: (permit.port != self.default_port()).then_some(permit.port),
        }
    }

    pub(super) fn patience(&self) -> Patience {
        self.shared.inspection.patience
    }

    /// Connects to the server.
    pub(super) async fn connect(&self, h2: bool) -> Result<Upstream, Failed> {
        let upstreams = &self.shared.inspection.upstreams;
        let connected = upstreams
            .connect(
                &self.shared,
                (&self.permit, &self.way),
                &self.account,
                (self.secure, h2),
            )
            .await;
        if let Err(failed) = &connected {
            crate::proxy::accept::fail(&self.shared, &self.permit, failed);
        }
        connected
    }
}
