//! An authority of one run, for one domain.
//!
//! Its key never leaves the process. Its certificate says of itself that it counts for the domain
//! and this machine only: a client that trusts it is in no danger elsewhere (RFC 5280 §4.2.1.10).

use super::server;
use casemate_core::error::{Error, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints,
};
use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A client's clock may be off by a little.
const BACKDATED: Duration = Duration::from_secs(24 * 60 * 60);
/// Some clients refuse certificates that are good for longer than about a year.
const LIFETIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// See the module.
pub struct Authority {
    pem: String,
    server: Arc<ServerConfig>,
}

impl Authority {
    /// Makes one for a domain and the names right below it, `localhost` and the loopback addresses.
    ///
    /// # Errors
    /// The domain is no name, or the system gives no randomness.
    pub fn new(domain: &str) -> Result<Self> {
        let fail = |error: &dyn std::fmt::Display| {
            Error::rule("make a certificate authority for", error.to_string()).on(domain)
        };
        let key = KeyPair::generate().map_err(|error| fail(&error))?;
        let params = authority(domain);
        let own = params.self_signed(&key).map_err(|error| fail(&error))?;
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().map_err(|error| fail(&error))?;
        let leaf = leaf(domain).map_err(|error| fail(&error))?;
        let leaf = leaf
            .signed_by(&key, &issuer)
            .map_err(|error| fail(&error))?;
        let secret = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let chain = vec![leaf.der().clone(), own.der().clone()];
        Ok(Self {
            pem: own.pem(),
            server: server(chain, secret).map_err(|error| fail(&error))?,
        })
    }

    /// The certificate for clients to trust.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Writes the certificate where clients are told to find it. It appears whole or not at all.
    ///
    /// # Errors
    /// The folder can't be written to.
    pub fn write(&self, to: &Path) -> Result<()> {
        let fail = |error: std::io::Error| {
            Error::io("write the authority's certificate", &error).on(to.display())
        };
        let mut name = to.as_os_str().to_owned();
        name.push(format!(".{}", std::process::id()));
        let new = Path::new(&name);
        let mut file = std::fs::File::create(new).map_err(fail)?;
        file.write_all(self.pem.as_bytes()).map_err(fail)?;
        std::fs::rename(new, to).map_err(fail)
    }

    /// How to be the domain in a TLS handshake.
    pub fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }
}

fn authority(domain: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named("Casemate gateway authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let (v4, v6) = (Ipv4Addr::LOCALHOST.octets(), Ipv6Addr::LOCALHOST.octets());
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![
            GeneralSubtree::DnsName(domain.into()),
            GeneralSubtree::DnsName("localhost".into()),
            GeneralSubtree::IpAddress(CidrSubnet::V4(v4, [255; 4])),
            GeneralSubtree::IpAddress(CidrSubnet::V6(v6, [255; 16])),
        ],
        excluded_subtrees: Vec::new(),
    });
    dated(&mut params);
    params
}

fn leaf(domain: &str) -> std::result::Result<CertificateParams, rcgen::Error> {
    let names = [
        domain.into(),
        format!("*.{domain}"),
        "localhost".into(),
        IpAddr::from(Ipv4Addr::LOCALHOST).to_string(),
        IpAddr::from(Ipv6Addr::LOCALHOST).to_string(),
    ];
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = named("Casemate gateway");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    dated(&mut params);
    Ok(params)
}

fn dated(params: &mut CertificateParams) {
    params.not_before = (SystemTime::now() - BACKDATED).into();
    params.not_after = (SystemTime::now() + LIFETIME).into();
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}
