//! `casemate serve`: control plane, node and gateway in one process.
//!
//! ```text
//!  front (port, names, TLS) ──▶ gateway ──▶ ways ──▶ control ──▶ node
//!     └──▶ greeting: what clients set   │         └── watched ──┘
//!                                      └──▶ canisters
//! ```
//!
//! What is seen of all that is in [`observation`]: the [`log`], numbers, and [`spans`].

mod canisters;
mod front;
mod greeting;
mod log;
mod observation;
mod spans;
mod watched;
mod ways;

use crate::vm::{ImageArgs, Wall};
use crate::{printer, state};
use canisters::CanisterArgs;
use casemate_control::{Control, SystemClock};
use casemate_core::error::{Error, Result};
use casemate_core::layer::Layer;
use casemate_core::limits::ByteSize;
use casemate_core::node::Node;
use casemate_gateway::{Gateway, Metrics};
use casemate_node::{Handle, Local};
use clap::{Args, ValueEnum};
use front::{Front, FrontArgs};
use ipnet::IpNet;
use observation::{Observation, ObservationArgs};
use prometheus_client::registry::Registry;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use watched::Watched;
use ways::Ways;

// The flags; a doc comment would take the place of what is said of the command.
#[derive(Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    front: FrontArgs,
    #[command(flatten)]
    observation: ObservationArgs,
    #[command(flatten)]
    canisters: CanisterArgs,
    /// Keep everything here [default: casemate in XDG_STATE_HOME]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The root file system of the template `base` [default: a view of this machine's]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// What sandboxes are
    #[arg(long, value_name = "WALL", value_enum, default_value_t = Wall::Process)]
    wall: Wall,
    #[command(flatten)]
    images: ImageArgs,
    /// Keep up to so many sandboxes ready, as they are used
    #[arg(long, value_name = "N", default_value_t = 8)]
    warm: usize,
    /// Also let sandboxes reach this address or network, which isn't public, if their clients allow
    /// it
    #[arg(long, value_name = "ADDR|CIDR", value_parser = crate::policy::net)]
    allow_ip: Vec<IpNet>,
    /// Let sandboxes do without a layer of the wall that this machine lacks
    #[arg(long, value_name = "LAYER")]
    allow_missing: Vec<Layer>,
    /// Connections out of a sandbox at one time
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = clap::value_parser!(u16).range(1..=4096))]
    connections: u16,
    /// Bytes a second out of a sandbox and as many into it, such as 10M; to its ports, too
    #[arg(long, value_name = "SIZE")]
    bandwidth: Option<ByteSize>,
    /// What becomes of the sandboxes when the server is told to stop
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = Drain::Keep)]
    drain: Drain,
    /// Print a unit for systemd that serves with these flags, and exit
    #[arg(long)]
    print_unit: bool,
    /// Keep no file with the first key for the commands of this user
    #[arg(long)]
    no_client_file: bool,
}

/// See [`ServeArgs::drain`].
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Drain {
    /// They go on, and the next server finds them
    Keep,
    /// They are ended
    Kill,
}

/// How long threads may take to end that nobody waits for.
const PARTING: Duration = Duration::from_secs(2);

/// Serves until a signal comes. Sandboxes go on without it, unless they are not to.
pub(crate) fn run(args: ServeArgs) -> anyhow::Result<ExitCode> {
    if args.print_unit {
        print!("{}", crate::unit::own()?);
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::io("start the runtime", &error))?;
    let mut observation = args.observation.open()?;
    let served = runtime.block_on(serve(args, &mut observation));
    // A call of a canister that still runs isn't waited for: nobody was told that it was done.
    runtime.shutdown_timeout(PARTING);
    observation.finish();
    served?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(args: ServeArgs, observation: &mut Observation) -> Result<()> {
    let data = args.data.clone().or_else(state::folder).ok_or_else(|| {
        Error::rule("find where to keep things", "HOME is not an absolute path")
            .hint("give --data DIR, or set HOME or XDG_STATE_HOME")
    })?;
    let mut front = args.front.open().await?;
    let local = node(&args, &data).await?;
    let node: Arc<dyn Node> = Arc::new(Watched(Arc::new(Handle(Arc::clone(&local)))));
    // Before the first key is made: it can be shown only once.
    let variables = front.variables(&data)?;
    let canisters = args.canisters.open(&data, args.front.domain.as_deref());
    let canisters = canisters.await?;
    let control = control(&front, &data, Arc::clone(&node)).await?;
    let metrics = Metrics::default();
    let mut registry = Registry::default();
    control.register(&mut registry);
    metrics.register(&mut registry);
    canisters.register(&mut registry);
    observation.serve(registry)?;
    greeting::greet(&front, &variables, &control, &data, !args.no_client_file)?;
    let gateway = Gateway::new(
        casemate_gateway::Settings {
            domain: args.front.domain.clone(),
            behind_proxy: args.front.behind_proxy,
            bandwidth: args.bandwidth.map(|size| size.0),
            metrics,
            ..casemate_gateway::Settings::default()
        },
        node,
        Arc::new(Ways(Arc::clone(&control))),
        canisters.beside(&control),
    );
    let stop = CancellationToken::new();
    let names = front.names.take();
    let beside = async {
        let names = async {
            if let Some(names) = names {
                names.serve(stop.cancelled()).await;
            }
        };
        tokio::join!(
            control.run(stop.clone()),
            names,
            canisters.run(stop.clone())
        );
    };
    let serving = async {
        gateway.serve(front.listener, front.tls, until_told()).await;
        stop.cancel();
    };
    tokio::join!(serving, beside);
    local.close().await;
    if args.drain == Drain::Kill {
        local.end_all().await;
    }
    Ok(())
}

async fn node(args: &ServeArgs, data: &Path) -> Result<Arc<Local>> {
    let program =
        std::env::current_exe().map_err(|error| Error::io("find this program", &error))?;
    let machines = match args.wall {
        Wall::Process => None,
        Wall::Vm => Some(args.images.machines()?),
    };
    let wall = casemate_node::Wall::open(casemate_node::Settings {
        folder: data.join("sandboxes"),
        // A service's home may be one that it can't write to.
        skeletons: crate::state::cache()
            .into_iter()
            .chain([data.to_owned()])
            .map(|place| place.join("skeletons"))
            .collect(),
        program,
        root: args.root.clone(),
        allow_missing: args.allow_missing.iter().copied().collect(),
        connections: Some(args.connections.into()),
        bandwidth: args.bandwidth.map(|size| size.0),
        reach: args.allow_ip.clone(),
        check: crate::keep::check,
        machines,
        attached: false,
    })?;
    Ok(Local::open(wall, args.warm).await)
}

async fn control(front: &Front, data: &Path, node: Arc<dyn Node>) -> Result<Arc<Control>> {
    let mut settings = casemate_control::Settings::new(data.join("platform.sqlite"));
    settings.domain = front.told();
    Control::open(settings, node, Arc::new(SystemClock)).await
}

/// Answers at SIGINT or SIGTERM.
async fn until_told() {
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        printer::error("signals can't be waited for; only kill -9 ends this process");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
