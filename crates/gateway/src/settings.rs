//! How a gateway is set up.

use crate::metrics::Metrics;
use std::time::Duration;

/// See the module.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The domain that sandboxes are subdomains of. Without one, every name of the form
    /// `{port}-{id}.…` is a sandbox's; with one, the headers that name a sandbox count under it only
    /// at `sandbox.`, as the API's own names are there too.
    pub domain: Option<String>,
    /// Client connections at a time; more wait to be accepted.
    pub connections: usize,
    /// Connections to one sandbox at a time in one class of traffic; more are answered with 503.
    pub per_sandbox: usize,
    /// Bytes a second to a sandbox's ports, and as many from them, if they may not go as fast as
    /// they can.
    pub bandwidth: Option<u64>,
    /// True behind a reverse proxy: what it says of the client in `X-Forwarded-*` is passed on and
    /// added to. Otherwise that is what the client says of itself, and is dropped.
    pub behind_proxy: bool,
    /// How long things may take.
    pub patience: Patience,
    /// Where numbers go.
    pub metrics: Metrics,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            domain: None,
            connections: 16_384,
            per_sandbox: 1024,
            bandwidth: None,
            behind_proxy: false,
            patience: Patience::default(),
            metrics: Metrics::default(),
        }
    }
}

/// How long things may take. There is no limit for a message's body.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// From a request's first byte to the end of its head; also for a TLS handshake.
    pub head: Duration,
    /// Between requests.
    pub idle: Duration,
    /// Until a program inside accepts.
    pub dial: Duration,
    /// What a refused dial is repeated after, times the number of the try.
    pub backoff: Duration,
    /// Until a client that expects `100 Continue` gets its way although the program said nothing.
    pub expect: Duration,
    /// After a broken connection, until it's known whether the whole sandbox has ended.
    pub grief: Duration,
    /// What an unused connection to an agent is kept for.
    pub parked: Duration,
    /// The same to a port. Servers of the usual frameworks give up after two to five seconds.
    pub parked_port: Duration,
    /// What requests may take to end when the gateway stops.
    pub drain: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            idle: Duration::from_secs(620),
            dial: Duration::from_secs(10),
            backoff: Duration::from_millis(100),
            expect: Duration::from_secs(1),
            grief: Duration::from_millis(500),
            parked: Duration::from_secs(90),
            parked_port: Duration::from_secs(2),
            drain: Duration::from_secs(10),
        }
    }
}
