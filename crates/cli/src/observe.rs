//! Flags about what is seen of a proxy at work: `run` and `egress` have them both.

use crate::state;
use casemate_core::error::{Error, Result};
use casemate_egress::proxy::{Journal, Metrics, PerfLog, Phases, Scrape, Spans};
use clap::{Args, ValueEnum};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

// The flags; a doc comment would take the place of what is said of the command.
#[derive(Args, Clone, Default)]
pub(crate) struct ObserveArgs {
    /// Write the audit log here [default: casemate/audit.jsonl in XDG_STATE_HOME]
    #[arg(long, value_name = "FILE")]
    audit: Option<PathBuf>,
    /// Write how long each phase of a connection takes, as JSON lines
    #[arg(long, value_name = "FILE")]
    perf_log: Option<PathBuf>,
    /// Serve metrics for Prometheus at a loopback address or a Unix socket
    #[arg(long, value_name = "ADDR:PORT|PATH")]
    metrics: Option<String>,
    /// Send spans of connections to an OpenTelemetry collector (OTLP/HTTP, JSON)
    #[arg(long, value_name = "URL")]
    otlp_endpoint: Option<String>,
    /// What to do when the policy file becomes invalid
    #[arg(long, value_name = "WHAT", value_enum, default_value = "keep")]
    on_invalid: OnInvalid,
}

/// What an invalid policy does to a proxy that has a valid one.
#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnInvalid {
    /// Leave the old one in force
    #[default]
    Keep,
    /// Deny everything until it is valid
    DenyAll,
}

impl ObserveArgs {
    /// True if a flag is given that means nothing without a proxy.
    pub(crate) fn asks(&self) -> Option<&'static str> {
        let given = [
            ("--audit", self.audit.is_some()),
            ("--perf-log", self.perf_log.is_some()),
            ("--metrics", self.metrics.is_some()),
            ("--otlp-endpoint", self.otlp_endpoint.is_some()),
        ];
        given
            .into_iter()
            .find(|(_, given)| *given)
            .map(|(flag, _)| flag)
    }

    pub(crate) fn on_invalid(&self) -> OnInvalid {
        self.on_invalid
    }

    /// Where the audit log is: none if there is no home for it.
    pub(crate) fn audit(&self) -> Option<PathBuf> {
        let usual = || Some(state::folder()?.join("audit.jsonl"));
        self.audit.clone().or_else(usual)
    }

    /// Opens the audit log.
    pub(crate) fn journal(&self, name: Option<String>) -> Result<Journal> {
        match self.audit() {
            Some(path) => Journal::to_file(&path, name),
            None => Ok(Journal::default()),
        }
    }

    /// Opens what is told how long things take, and where that is fetched.
    pub(crate) fn phases(&self, name: Option<&str>) -> Result<(Phases, Option<Scrape>)> {
        let log = self.perf_log.as_deref().map(PerfLog::to_file).transpose()?;
        let scrape = self.metrics.as_deref().map(place).transpose()?;
        let metrics = scrape.is_some().then(Metrics::default);
        let spans = self.otlp_endpoint.as_deref();
        let spans = spans.map(|url| Spans::to_collector(url, name.map(str::to_owned)));
        Ok((Phases::new(log, metrics, spans.transpose()?), scrape))
    }
}

/// Where numbers are to be fetched.
pub(crate) fn place(text: &str) -> Result<Scrape> {
    if text.starts_with(['/', '.']) {
        return unix(Path::new(text)).map(Scrape::Unix);
    }
    let refuse = |why: &str| {
        Error::rule("serve metrics", why)
            .on(text)
            .hint("give 127.0.0.1:PORT, [::1]:PORT or the path of a socket")
    };
    let address: SocketAddr = text.parse().map_err(|_| refuse("this is no address"))?;
    if !address.ip().is_loopback() {
        return Err(refuse("others than this host could read them there"));
    }
    let listener = TcpListener::bind(address);
    listener
        .map(Scrape::Tcp)
        .map_err(|error| Error::io("serve metrics", &error).on(text))
}

/// Listens at a socket that only this user may connect to. One that nobody listens at any more is
/// replaced.
pub(crate) fn unix(path: &Path) -> Result<UnixListener> {
    let fail = |error| Error::io("listen", &error).on(path.display());
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    let refused = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionRefused;
    if is_socket && UnixStream::connect(path).is_err_and(|error| refused(&error)) {
        std::fs::remove_file(path).map_err(fail)?;
    }
    // The socket is made with its mode, so that nobody else can ever connect.
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    listener.map_err(fail)
}
