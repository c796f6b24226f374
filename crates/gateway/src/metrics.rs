//! Numbers for Prometheus.

use crate::class::Class;
use http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::time::Duration;

/// From a call over a local socket to a page that a slow program makes.
const SECONDS: [f64; 13] = [
    0.000_25, 0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfClass {
    class: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfStatus {
    class: &'static str,
    /// `2xx` and so on.
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfWay {
    class: &'static str,
    /// `in` to the sandbox, or `out` of it.
    direction: &'static str,
}

type Histograms = Family<OfClass, Histogram, fn() -> Histogram>;

/// What the gateway counts. Copies count together.
#[derive(Clone)]
pub struct Metrics {
    first_byte: Histograms,
    exec: Histogram,
    dial: Histograms,
    wake: Histogram,
    responses: Family<OfStatus, Counter>,
    bytes: Family<OfWay, Counter>,
    reused: Family<OfClass, Counter>,
    open: Family<OfClass, Gauge>,
    idle: Family<OfClass, Gauge>,
    clients: Gauge,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn histogram() -> Histogram {
    Histogram::new(SECONDS)
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            first_byte: Family::new_with_constructor(histogram as fn() -> Histogram),
            exec: histogram(),
            dial: Family::new_with_constructor(histogram as fn() -> Histogram),
            wake: histogram(),
            responses: Family::default(),
            bytes: Family::default(),
            reused: Family::default(),
            open: Family::default(),
            idle: Family::default(),
            clients: Gauge::default(),
        };
        // A class that never had anything is 0, not unknown.
        for class in Class::ALL {
            drop(metrics.first_byte.get_or_create(&of(class)));
            drop(metrics.dial.get_or_create(&of(class)));
            drop(metrics.reused.get_or_create(&of(class)));
            drop(metrics.open.get_or_create(&of(class)));
            drop(metrics.idle.get_or_create(&of(class)));
        }
        metrics
    }
}

fn of(class: Class) -> OfClass {
    OfClass {
        class: class.as_str(),
    }
}

impl Metrics {
    /// Puts everything into a registry, under `gateway_…`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("gateway");
        let seconds = Unit::Seconds;
        registry.register_with_unit(
            "first_byte",
            "From a request's head to its response's",
            seconds.clone(),
            self.first_byte.clone(),
        );
        registry.register_with_unit(
            "exec",
            "From a request for a new process to its stream's head",
            seconds.clone(),
            self.exec.clone(),
        );
        registry.register_with_unit(
            "dial",
            "Making a connection to a sandbox",
            seconds.clone(),
            self.dial.clone(),
        );
        registry.register_with_unit(
            "wake",
            "How long requests were held until their sandbox ran",
            seconds,
            self.wake.clone(),
        );
        let responses = self.responses.clone();
        registry.register("responses", "Responses, by class and status", responses);
        let bytes = self.bytes.clone();
        registry.register("body_bytes", "Bytes of bodies and upgraded streams", bytes);
        let reused = self.reused.clone();
        registry.register("pool_reused", "Requests that found a connection", reused);
        let open = self.open.clone();
        registry.register("pool_open", "Connections to sandboxes in use now", open);
        let idle = self.idle.clone();
        registry.register("pool_idle", "Connections to sandboxes that wait", idle);
        let clients = self.clients.clone();
        registry.register("clients", "Connections of clients now", clients);
    }

    pub(crate) fn answered(&self, class: Class, status: StatusCode, after: Duration) {
        let first_byte = self.first_byte.get_or_create(&of(class));
        first_byte.observe(after.as_secs_f64());
        let status = match status.as_u16() / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        };
        let class = class.as_str();
        self.responses
            .get_or_create(&OfStatus { class, status })
            .inc();
    }

    pub(crate) fn began(&self, after: Duration) {
        self.exec.observe(after.as_secs_f64());
    }

    pub(crate) fn dialled(&self, class: Class, after: Duration) {
        self.dial
            .get_or_create(&of(class))
            .observe(after.as_secs_f64());
    }

    pub(crate) fn woke(&self, after: Duration) {
        self.wake.observe(after.as_secs_f64());
    }

    pub(crate) fn reused(&self, class: Class) {
        self.reused.get_or_create(&of(class)).inc();
    }

    /// The counters of bytes to a sandbox and out of it: bodies keep them.
    pub(crate) fn bytes(&self, class: Class) -> (Counter, Counter) {
        let class = class.as_str();
        let counter = |direction| {
            let way = OfWay { class, direction };
            self.bytes.get_or_create(&way).clone()
        };
        (counter("in"), counter("out"))
    }

    pub(crate) fn open(&self, class: Class) -> Counted {
        Counted::new(self.open.get_or_create(&of(class)).clone())
    }

    pub(crate) fn idle(&self, class: Class) -> Counted {
        Counted::new(self.idle.get_or_create(&of(class)).clone())
    }

    pub(crate) fn client(&self) -> Counted {
        Counted::new(self.clients.clone())
    }
}

/// One more, as long as it lives.
pub(crate) struct Counted(Gauge);

impl Counted {
    fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
