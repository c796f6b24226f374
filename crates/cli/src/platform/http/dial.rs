//! A socket to a server.

use super::Site;
use casemate_core::error::{Error, Result};
use casemate_sys::inetdiag::InetDiag;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long it may take to connect.
const PATIENCE: Duration = Duration::from_secs(10);

/// See the module.
pub(super) enum Socket {
    Plain(TcpStream),
    Secure(Box<TlsStream<TcpStream>>),
    Direct(UnixStream),
}

impl Socket {
    pub(super) async fn open(site: &Site) -> Result<Self> {
        let late = |_| io::Error::from(io::ErrorKind::TimedOut);
        let opened = tokio::time::timeout(PATIENCE, Self::try_open(site)).await;
        opened
            .map_err(late)
            .and_then(|opened| opened)
            .map_err(|error| {
                let text = Error::io("connect to the server", &error).on(site);
                match error.kind() {
                    io::ErrorKind::ConnectionRefused => {
                        text.hint("start it with `casemate serve`, or name another one with --url")
                    }
                    _ => text,
                }
            })
    }

    async fn try_open(site: &Site) -> io::Result<Self> {
        if let Some(direct) = &site.direct {
            let stream = std::os::unix::net::UnixStream::from(direct.0().await?);
            stream.set_nonblocking(true)?;
            return UnixStream::from_std(stream).map(Self::Direct);
        }
        let address = site.own.as_ref().and_then(|own| own.address);
        let stream = match address {
            Some(address) => TcpStream::connect(address).await?,
            None => TcpStream::connect((site.host.as_str(), site.port)).await?,
        };
        stream.set_nodelay(true)?;
        if site.own.is_some() {
            guard(&stream)?;
        }
        if !site.secure {
            return Ok(Self::Plain(stream));
        }
        let name = ServerName::try_from(site.host.clone()).map_err(io::Error::other)?;
        let connector = TlsConnector::from(Arc::new(configuration(site)?));
        let stream = connector.connect(name, stream).await?;
        Ok(Self::Secure(Box::new(stream)))
    }
}

/// Whether this user's own server is at the other end: on a machine with several users, another one
/// may have bound the port after the server had ended.
fn guard(stream: &TcpStream) -> io::Result<()> {
    let (own, server) = (stream.local_addr()?, stream.peer_addr()?);
    let refuse = |why: &str| {
        io::Error::other(format!(
            "{why}, so it isn't shown the key\nhint: set E2B_API_KEY to show it all the same"
        ))
    };
    let diag = InetDiag::open()?;
    let ours = rustix::process::geteuid().as_raw();
    // Until it is accepted a connection is nobody's, and the listener decides.
    let found = match diag.tcp(server, own)? {
        Some(accepted) => Some(accepted),
        None => diag.listener(server)?,
    };
    match found {
        Some(found) if found.uid == ours => Ok(()),
        Some(_) => Err(refuse("another user's program listens there")),
        None => Err(refuse("it can't be told whose program listens there")),
    }
}

/// Trusts what the machine trusts, or what SSL_CERT_FILE and SSL_CERT_DIR name; of a server with an
/// authority of its own, that alone.
fn configuration(site: &Site) -> io::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    match site.own.as_ref().and_then(|own| own.authority.as_ref()) {
        Some(file) => {
            let own = CertificateDer::from_pem_file(file).map_err(io::Error::other)?;
            roots.add(own).map_err(io::Error::other)?;
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Secure(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Direct(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Secure(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Direct(stream) => Pin::new(stream).poll_write(cx, bytes),
        };
        written.map(|written| match written {
            // A server that refuses a file answers before it has read all, and closes: that is to be
            // read. If there is no answer, reading says so.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                ) =>
            {
                Ok(bytes.len())
            }
            written => written,
        })
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Secure(stream) => Pin::new(stream).poll_flush(cx),
            Self::Direct(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Secure(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Direct(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
