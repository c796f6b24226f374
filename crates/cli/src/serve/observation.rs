//! What is seen of the server at work: the log, numbers and spans.

use super::log::Log;
use super::spans::Exported;
use crate::observe;
use casemate_core::error::{Error, Result};
use casemate_egress::proxy::{Numbers, Scrape, Spans, scrape};
use clap::{Args, ValueEnum};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use std::sync::Arc;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;

/// The beginning of the names of our own crates.
const OURS: &str = "casemate";

// The flags about what is seen of it.
#[derive(Args)]
pub(crate) struct ObservationArgs {
    /// How the log on standard error is written
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    log_format: Format,
    /// How much is in the log
    #[arg(long, value_name = "LEVEL", value_enum, default_value = "info")]
    log_level: Level,
    /// Serve metrics for Prometheus at a loopback address or a Unix socket
    #[arg(long, value_name = "ADDR:PORT|PATH")]
    metrics: Option<String>,
    /// Send spans of requests to an OpenTelemetry collector (OTLP/HTTP, JSON)
    #[arg(long, value_name = "URL")]
    otlp_endpoint: Option<String>,
}

/// How a line is written.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// What is written.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Level {
    Off,
    /// What is broken here
    Error,
    /// What may be
    Warn,
    /// What changes
    Info,
    /// Every request
    Debug,
    Trace,
}

impl Level {
    fn filter(self) -> LevelFilter {
        match self {
            Self::Off => LevelFilter::OFF,
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }
}

/// See the module.
pub(super) struct Observation {
    log: Log,
    spans: Option<Spans>,
    scrape: Option<Scrape>,
}

impl ObservationArgs {
    /// Begins to watch. Once in a process.
    pub(super) fn open(&self) -> Result<Observation> {
        let scrape = self.metrics.as_deref().map(observe::place).transpose()?;
        let url = self.otlp_endpoint.as_deref();
        let spans = url.map(|url| Spans::of("casemate.serve", url, None));
        let spans = spans.transpose()?;
        let fail = |error| Error::io("start a thread that writes the log", &error);
        let log = Log::to(std::io::stderr()).map_err(fail)?;
        let level = self.log_level.filter();
        // Of libraries, what is wrong; the rest is about their own insides.
        let others = level.min(LevelFilter::WARN);
        let wanted = Targets::new().with_default(others).with_target(OURS, level);
        let lines = tracing_subscriber::fmt::layer().with_writer(log.clone());
        let lines = match self.log_format {
            Format::Text => lines.boxed(),
            Format::Json => lines.json().flatten_event(true).boxed(),
        };
        let exported = spans.clone().map(|spans| {
            let requests = Targets::new().with_target(OURS, LevelFilter::INFO);
            Exported(spans).with_filter(requests)
        });
        let all = tracing_subscriber::registry()
            .with(lines.with_filter(wanted))
            .with(exported);
        tracing::subscriber::set_global_default(all)
            .map_err(|error| Error::rule("start the log", error.to_string()))?;
        Ok(Observation { log, spans, scrape })
    }
}

impl Observation {
    /// Lets numbers be fetched, on the current runtime.
    pub(super) fn serve(&mut self, registry: Registry) -> Result<()> {
        let Some(place) = self.scrape.take() else {
            return Ok(());
        };
        let numbers: Numbers = Arc::new(move || {
            let mut text = String::new();
            encode(&mut text, &registry).ok().map(|()| text)
        });
        scrape(place, &numbers).map_err(|error| Error::io("serve the metrics", &error))
    }

    /// Waits for a little until all is said.
    pub(super) fn finish(&self) {
        let lost = self.spans.as_ref().map_or(0, Spans::flush);
        if lost > 0 {
            tracing::warn!(lost, "spans never reached the collector");
        }
        self.log.flush();
    }
}
