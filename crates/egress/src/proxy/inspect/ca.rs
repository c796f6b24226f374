//! The certificates that a sandbox is shown.
//!
//! The authority exists in memory only and ends with the process: whoever trusts it trusts this
//! process, and nobody can use it afterwards. It may sign for hosts and for no further authority.

use casemate_core::error::{Error, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::server::ProducesTickets;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use crate::host::Host;

/// Hosts whose certificates are kept.
const MOST: usize = 1024;
/// A clock in the sandbox's image may be off by a little.
const BACKDATED: Duration = Duration::from_secs(24 * 60 * 60);
/// Some clients refuse certificates that are good for longer than about a year.
const LIFETIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// The longest common name (RFC 5280, appendix A.1).
const MOST_NAME_BYTES: usize = 64;

/// See the module.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
    /// All hosts have the same key: it never leaves this process.
    key: KeyPair,
    tickets: Arc<dyn ProducesTickets>,
    leaves: Mutex<Leaves>,
}

#[derive(Default)]
struct Leaves {
    by_host: HashMap<(Host, bool), (Slot, u64)>,
    /// Counts uses, so that the least recent one is known.
    clock: u64,
}

/// Filled once, by the first of those who ask at the same time; None if it can't be made.
type Slot = Arc<OnceLock<Option<Arc<ServerConfig>>>>;

impl Authority {
    /// Makes a new authority.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn new() -> Result<Self> {
        let fail = |error: &dyn std::fmt::Display| {
            Error::rule("make a certificate authority", error.to_string())
        };
        let key = KeyPair::generate().map_err(|error| fail(&error))?;
        let mut params = CertificateParams::default();
        params.distinguished_name = named("Casemate sandbox authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = (SystemTime::now() - BACKDATED).into();
        params.not_after = (SystemTime::now() + 2 * LIFETIME).into();
        let certificate = params.self_signed(&key).map_err(|error| fail(&error))?;
        Ok(Self {
            pem: certificate.pem(),
            certificate: certificate.der().clone(),
            issuer: Issuer::new(params, key),
            key: KeyPair::generate().map_err(|error| fail(&error))?,
            tickets: Ticketer::new().map_err(|error| fail(&error))?,
            leaves: Mutex::default(),
        })
    }

    /// The certificate, to be put among those that the sandbox trusts.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The same as DER.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// How to be this host in a TLS handshake. It's made once, and the same for all who ask, so
    /// that a client's second connection resumes the session of its first.
    pub(super) fn server(&self, host: &Host, h2: bool) -> Option<Arc<ServerConfig>> {
        let slot = self.slot(host, h2);
        slot.get_or_init(|| self.make(host, h2)).clone()
    }

    fn slot(&self, host: &Host, h2: bool) -> Slot {
        let mut leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        leaves.clock += 1;
        let (now, key) = (leaves.clock, (host.clone(), h2));
        if leaves.by_host.len() >= MOST && !leaves.by_host.contains_key(&key) {
            let least = leaves.by_host.iter().min_by_key(|(_, (_, used))| *used);
            if let Some(key) = least.map(|(key, _)| key.clone()) {
                leaves.by_host.remove(&key);
            }
        }
        let (slot, used) = leaves.by_host.entry(key).or_default();
        *used = now;
        Arc::clone(slot)
    }

    fn make(&self, host: &Host, h2: bool) -> Option<Arc<ServerConfig>> {
        let host = host.to_string();
        let mut params = CertificateParams::new([host.clone()]).ok()?;
        params.distinguished_name = named(match host.len() {
            ..=MOST_NAME_BYTES => &host,
            _ => "Casemate",
        });
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.not_before = (SystemTime::now() - BACKDATED).into();
        params.not_after = (SystemTime::now() + LIFETIME).into();
        let leaf = params.signed_by(&self.key, &self.issuer).ok()?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .ok()?
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone(), self.certificate.clone()], key)
            .ok()?;
        config.ticketer = Arc::clone(&self.tickets);
        config.alpn_protocols = protocols(h2);
        Some(Arc::new(config))
    }
}

/// What is offered in ALPN (RFC 7301).
pub(super) fn protocols(h2: bool) -> Vec<Vec<u8>> {
    let h2 = h2.then(|| b"h2".to_vec());
    h2.into_iter().chain([b"http/1.1".to_vec()]).collect()
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

#[cfg(test)]
mod tests {
    use super::{Authority, MOST};
    use crate::host::Host;
    use std::sync::Arc;

    #[test]
    fn all_who_ask_for_a_host_at_once_get_one_certificate() {
        let authority = Authority::new().unwrap();
        let host = Host::parse("api.example.com").unwrap();
        let asked = || authority.server(&host, true).unwrap();
        let made: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(asked)).collect();
            threads.into_iter().map(|own| own.join().unwrap()).collect()
        });
        assert!(made.iter().all(|own| Arc::ptr_eq(own, &made[0])));
        assert!(!Arc::ptr_eq(
            &made[0],
            &authority.server(&host, false).unwrap()
        ));
    }

    #[test]
    fn what_was_used_least_is_forgotten_first() {
        let authority = Authority::new().unwrap();
        let host = |number: usize| Host::parse(&format!("h{number}.example.com")).unwrap();
        let slot = |number| authority.slot(&host(number), false);
        let first = slot(0);
        let second = slot(1);
        (2..MOST).for_each(|number| drop(slot(number)));
        assert!(Arc::ptr_eq(&first, &slot(0)));
        slot(MOST);
        assert!(Arc::ptr_eq(&first, &slot(0)));
        assert!(!Arc::ptr_eq(&second, &slot(1)));
        assert_eq!(authority.leaves.lock().unwrap().by_host.len(), MOST);
    }
}
