//! A Firecracker that was started and answers: it has no machine yet.

use super::client::model::{InstanceState, Level, Logger, Metrics};
use super::client::{Client, Fresh};
use super::counters::Counters;
use super::place::Place;
use super::{API, Firecracker, LOG, METRICS};
use crate::driver::How;
use crate::monitor::fate::Fate;
use crate::monitor::process::{Process, Start, connect};
use casemate_core::error::{Error, Result};
use std::os::unix::net;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout};

/// It.
#[derive(Debug)]
pub(super) struct Bare {
    pub(super) place: Place,
    pub(super) hull: Hull,
    pub(super) client: Client<Fresh>,
    pub(super) version: String,
}

/// What there is of it besides its answers.
#[derive(Debug)]
pub(super) struct Hull {
    pub(super) process: Process,
    pub(super) fate: Arc<Fate>,
    pub(super) counters: Counters,
}

impl Bare {
    pub(super) async fn start(firecracker: &Firecracker, folder: &Path) -> Result<Self> {
        let jail = firecracker.settings.jail.as_ref();
        if jail.is_some_and(|jail| jail.new_pid_namespace) {
            let why = "nobody would be told how it ends";
            return Err(Error::rule(
                "have Firecracker in a process namespace of its own",
                why,
            ));
        }
        let place = Place::prepare(firecracker, folder)?;
        let (log, metrics) = (place.pipe(LOG)?, place.pipe(METRICS)?);
        let counters = Counters::of(metrics.read)
            .map_err(|error| Error::io("read what Firecracker counts", &error))?;
        let command = firecracker.command(folder)?;
        let fate = Arc::new(Fate::meaning(How::Off));
        let start = Start {
            name: "Firecracker",
            program: &command.program,
            args: command.args,
            folder: &place.root,
            dies_with_this: firecracker.dies_with_this,
            makes_no_holes: false,
            log: Some(log.read),
        };
        let process = Process::start(start, Arc::clone(&fate))?;
        if let Some(group) = jail.and_then(|jail| jail.group(&firecracker.program)) {
            let over = process.over();
            // It lives as long as the process.
            tokio::spawn(async move {
                over.await;
                let _ = std::fs::remove_dir(group);
            });
        }
        let hull = Hull {
            process,
            fate,
            counters,
        };
        let patience = firecracker.settings.patience;
        let met = async {
            let socket = answering(&place.root, &hull.process, patience).await?;
            let client = Client::connect(socket).await?.patient(patience);
            let version = greet(&client).await?;
            Ok((client, version))
        };
        let (client, version) = match met.await {
            Ok(met) => met,
            Err(error) => return Err(hull.explained(error).await),
        };
        // Firecracker has them now, and they end with it.
        drop((log.write, metrics.write));
        Ok(Self {
            place,
            hull,
            client,
            version,
        })
    }
}

impl Hull {
    /// An error, with what Firecracker said if it has ended: that says more.
    pub(super) async fn explained(&self, error: Error) -> Error {
        // Its end may be a moment behind its silence.
        match timeout(Duration::from_millis(200), self.process.ended()).await {
            Ok(ended) => Error::rule(error.step, ended.to_string()),
            Err(_) => error,
        }
    }

    /// Ends it if its client is over: nobody knows what it does.
    pub(super) fn settle(&self, over: Option<String>) {
        if let Some(why) = over {
            // What has ended by itself has a reason of its own.
            if self.process.grip().is_ok_and(|grip| !grip.has_ended()) {
                self.fate.note(How::Lost(why));
            }
            self.process.kill();
        }
    }
}

/// Its version, once it tells where it complains and counts.
async fn greet(client: &Client<Fresh>) -> Result<String> {
    let info = client.info().await?;
    if info.state != InstanceState::NotStarted {
        let why = "there is another Firecracker, which has a machine already";
        return Err(Error::rule("meet Firecracker", why));
    }
    let logger = Logger {
        log_path: Some(LOG.into()),
        level: Some(Level::Info),
        show_level: Some(true),
        ..Logger::default()
    };
    client.logger(&logger).await?;
    let metrics = Metrics {
        metrics_path: METRICS.into(),
        emit_id: None,
        properties: None,
    };
    client.metrics(&metrics).await?;
    client.version().await
}

/// Waits until Firecracker listens.
async fn answering(root: &Path, process: &Process, patience: Duration) -> Result<UnixStream> {
    let fail = |error: &std::io::Error| Error::io("reach Firecracker", error);
    let deadline = Instant::now() + patience;
    loop {
        match connect(root, API) {
            Ok(socket) => {
                let socket = UnixStream::from_std(net::UnixStream::from(socket));
                return socket.map_err(|error| fail(&error));
            }
            Err(error) if process.has_ended().is_some() || Instant::now() > deadline => {
                return Err(fail(&error));
            }
            Err(_) => sleep(Duration::from_millis(1)).await,
        }
    }
}
