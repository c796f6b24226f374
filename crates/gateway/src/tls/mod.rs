//! TLS on the way in.
//!
//! With a certificate that was [given](given), or with one of an [`Authority`] that is made at the
//! start and forgotten at the end.

mod authority;

pub use authority::Authority;

use casemate_core::error::{Error, Result};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use std::sync::Arc;

/// TLS with a certificate of somebody else's: its chain, the server's first, and its key, as PEM.
///
/// # Errors
/// A file can't be read, has nothing of the kind in it, or the two don't belong together.
pub fn given(chain: &Path, key: &Path) -> Result<Arc<ServerConfig>> {
    let fail = |file: &Path, error: &dyn std::fmt::Display| {
        Error::rule("read the certificate", error.to_string())
            .on(file.display())
            .hint("a PEM file with the whole chain, and one with its key, are needed")
    };
    let certificates = CertificateDer::pem_file_iter(chain)
        .and_then(Iterator::collect)
        .map_err(|error| fail(chain, &error))?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| fail(key, &error))?;
    server(certificates, secret).map_err(|error| fail(chain, &error))
}

fn server(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> std::result::Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.ticketer = Ticketer::new()?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
