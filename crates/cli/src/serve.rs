//! `casemate serve`: control plane, node and gateway in one process.

use crate::platform::ClientFile;
use crate::{printer, state};
use casemate_control::{Control, SystemClock};
use casemate_core::error::{Error, Result};
use casemate_core::layer::Layer;
use casemate_core::node::{Node, Refusal};
use casemate_core::sandbox::SandboxId;
use casemate_gateway::{Gateway, Sandbox, Sandboxes, Signed, Soon, Traffic};
use casemate_node::{Handle, Local, Wall};
use clap::Args;
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

// The flags; a doc comment would take the place of what is said of the command.
#[derive(Args)]
pub(crate) struct ServeArgs {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:3000")]
    listen: SocketAddr,
    /// Keep everything here [default: casemate in XDG_STATE_HOME]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The domain that sandboxes are subdomains of
    #[arg(long, value_name = "NAME")]
    domain: Option<String>,
    /// The root file system of the template `base` [default: a view of this machine's]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
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
    /// Listen elsewhere than on loopback without TLS
    #[arg(long)]
    insecure: bool,
    /// Keep no file with the first key for the commands of this user
    #[arg(long)]
    no_client_file: bool,
}

/// Serves until a signal comes. Sandboxes go on without it.
pub(crate) fn run(args: ServeArgs) -> anyhow::Result<ExitCode> {
    if !args.listen.ip().is_loopback() && !args.insecure {
        let why = "keys and files would cross the network in the clear";
        return Err(Error::rule("listen elsewhere than on loopback", why)
            .on(args.listen)
            .hint("--insecure accepts that, behind a proxy that speaks TLS for instance")
            .into());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::io("start the runtime", &error))?;
    runtime.block_on(serve(args))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(args: ServeArgs) -> Result<()> {
    let data = args.data.or_else(state::folder).ok_or_else(|| {
        Error::rule("find where to keep things", "HOME is not an absolute path")
            .hint("give --data DIR, or set HOME or XDG_STATE_HOME")
    })?;
    let program =
        std::env::current_exe().map_err(|error| Error::io("find this program", &error))?;
    let listener = TcpListener::bind(args.listen)
        .await
        .map_err(|error| Error::io("listen", &error).on(args.listen))?;
    let wall = Wall::open(casemate_node::Settings {
        folder: data.join("sandboxes"),
        program,
        root: args.root,
        allow_missing: args.allow_missing.into_iter().collect(),
        reach: args.allow_ip,
        check: crate::keep::check,
    })?;
    let node = Local::open(wall, args.warm).await;
    let local = Arc::clone(&node);
    let node: Arc<dyn Node> = Arc::new(Handle(node));
    let mut settings = casemate_control::Settings::new(data.join("platform.sqlite"));
    settings.domain.clone_from(&args.domain);
    let control = Control::open(settings, Arc::clone(&node), Arc::new(SystemClock)).await?;
    let address = near(listener.local_addr().unwrap_or(args.listen));
    let url = format!("http://{address}");
    let key = control.first_key();
    if !args.no_client_file {
        introduce(&data, &url, key.as_deref())?;
    }
    greet(&url, key.as_deref());
    let gateway = Gateway::new(
        casemate_gateway::Settings {
            domain: args.domain,
            ..casemate_gateway::Settings::default()
        },
        node,
        Arc::new(Ways(Arc::clone(&control))),
        control.router(),
    );
    let stop = CancellationToken::new();
    let timers = tokio::spawn({
        let (control, stop) = (Arc::clone(&control), stop.clone());
        async move { control.run(stop).await }
    });
    gateway.serve(listener, None, until_told()).await;
    stop.cancel();
    let _ = timers.await;
    local.close().await;
    Ok(())
}

/// Where a client on this machine finds a listener.
fn near(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Keeps the first key for the commands of this user, and later the URL up to date. The first key
/// is never known again, so a file that is gone stays gone.
fn introduce(data: &Path, url: &str, first: Option<&str>) -> Result<()> {
    let url = url.to_owned();
    match (first, ClientFile::read(data)?) {
        (Some(first), _) => {
            let key = first.to_owned();
            ClientFile { url, key }.write(data)
        }
        (None, Some(file)) if file.url != url => {
            let key = file.key.clone();
            ClientFile { url, key }.write(data)
        }
        (None, _) => Ok(()),
    }
}

/// Says where it listens, and the first time, the key.
fn greet(url: &str, key: Option<&str>) {
    println!("casemate: serving on {url}");
    let key = key.map(|key| format!("E2B_API_KEY={key} "));
    println!(
        "export {}E2B_API_URL={url} E2B_SANDBOX_URL={url}",
        key.unwrap_or_default()
    );
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

/// The control plane, as the gateway asks it.
struct Ways(Arc<Control>);

impl Sandboxes for Ways {
    fn find<'a>(&'a self, id: &'a SandboxId) -> Soon<'a, Option<Sandbox>> {
        Box::pin(async move {
            let way = self.0.look_up(id).await?;
            Some(Sandbox {
                state: way.state,
                resumes: way.wakes,
                access_token: way.access_token,
                traffic: way.traffic_token.map_or(Traffic::Public, Traffic::Private),
                mask_host: way.mask_host,
            })
        })
    }

    fn find_by_signature<'a>(&'a self, signed: &'a Signed) -> Soon<'a, Option<SandboxId>> {
        Box::pin(async move {
            // What isn't a number was signed by nobody.
            let expiration = signed.expiration.as_deref().map(str::parse).transpose();
            let signed = casemate_control::Signed {
                signature: &signed.signature,
                path: &signed.path,
                operation: signed.operation.as_str(),
                user: &signed.user,
                expiration: expiration.ok()?,
            };
            self.0.find_by_signature(signed).await
        })
    }

    fn wake<'a>(&'a self, id: &'a SandboxId) -> Soon<'a, std::result::Result<(), Refusal>> {
        Box::pin(async move {
            let woken = self.0.wake(id).await;
            woken.map(|_| ()).map_err(|problem| {
                Error::rule("resume a sandbox", problem.to_string())
                    .on(id)
                    .into()
            })
        })
    }

    fn touch(&self, id: &SandboxId) {
        self.0.touch(id);
    }

    fn ended<'a>(&'a self, id: &'a SandboxId) -> Soon<'a, ()> {
        Box::pin(self.0.until_ended(id))
    }
}
