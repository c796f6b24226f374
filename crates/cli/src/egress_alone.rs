//! `casemate egress`: the proxy by itself, for containers and virtual machines that exist already.
//!
//! Nothing forces a program there through the proxy; that is up to whoever made its network.

use crate::egress::{compile, identifier, is_inspecting};
use crate::observe::{self, ObserveArgs};
use crate::printer;
use crate::reload::{Files, Watch};
use anyhow::Context as _;
use casemate_core::error::Error;
use casemate_egress::proxy::{Authority, Config, Entrance, Inspection, Proxy};
use casemate_policy::Document;
use casemate_sys::signal::Signals;
use clap::Args;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::Signal;
use std::collections::HashMap;
use std::fs::{OpenOptions, Permissions};
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// The longest name of a client.
const MOST_NAME: usize = 64;

// The arguments of `casemate egress`.
#[derive(Args)]
pub(crate) struct EgressArgs {
    /// The policy; its network_policies are applied
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Where clients connect: a Unix socket, or a port
    #[arg(long, value_name = "PATH|ADDR:PORT", required = true)]
    listen: Vec<String>,
    /// Write the certificate here that clients of inspected endpoints have to trust
    #[arg(long, value_name = "FILE")]
    ca_out: Option<PathBuf>,
    /// Who a client at a port is, by its address
    #[arg(long, value_name = "ADDR=NAME", value_parser = client)]
    client: Vec<(IpAddr, String)>,
    #[command(flatten)]
    observe: ObserveArgs,
    /// A name for the audit log
    #[arg(long, value_name = "N")]
    name: Option<String>,
    /// Don't print notes
    #[arg(short, long)]
    quiet: bool,
}

/// Serves until a signal ends it.
///
/// # Errors
/// The policy is invalid, or something can't be listened at.
pub(crate) fn run(args: EgressArgs) -> anyhow::Result<ExitCode> {
    // Before there are threads, so that all of them have these blocked.
    let ends = [Signal::INT, Signal::TERM, Signal::HUP].map(Signal::as_raw);
    let ends = Signals::block(&ends).context("wait for signals")?;
    let document = Document::load(&args.policy)
        .map_err(|error| Error::rule("apply the policy", format!("\n{error}")))?;
    let files = Files::of(&document);
    let policy = Arc::new(compile(&document, true)?);
    let clients: HashMap<_, _> = args.client.iter().cloned().collect();
    let entrances: Vec<_> = args
        .listen
        .iter()
        .map(|place| entrance(place, &clients))
        .collect::<Result<_, _>>()?;
    let (phases, scrape) = args.observe.phases(args.name.as_deref())?;
    // All processes of this host are below the first one.
    let identifier = phases.timing(identifier(1, true, Vec::new())?);
    let mut journal = args.observe.journal(args.name)?;
    if !args.quiet {
        journal = journal.aloud();
    }
    let authority = Arc::new(Authority::new()?);
    match &args.ca_out {
        Some(path) => export(&authority, path)?,
        None if is_inspecting(&document) && !args.quiet => printer::note(
            "the policy inspects, and clients can't trust who does: give it to them with --ca-out",
        ),
        None => {}
    }
    let config = Config {
        policy,
        identifier: Arc::new(identifier),
        journal,
        inspection: Inspection::new(authority),
        gateway: None,
        lends: false,
        connections: None,
        bandwidth: None,
        phases,
        scrape,
    };
    let places: Vec<_> = entrances.iter().map(shown).collect();
    let mut proxy = Proxy::alone(config, entrances)?;
    let watch = Watch {
        path: args.policy,
        // Nothing of what clients may write to is known here.
        writable: Vec::new(),
        reloading: proxy.reloading(),
        compile: Box::new(|document| compile(document, true)),
        on_invalid: args.observe.on_invalid(),
        notes: !args.quiet,
    };
    let _watching = watch.start(&document, files)?;
    for place in places.iter().filter(|_| !args.quiet) {
        printer::note(&format!("listening at {place}"));
    }
    let mut fds = [PollFd::new(&ends, PollFlags::IN)];
    while ends.next().is_none() {
        let _ = poll(&mut fds, None);
    }
    proxy.finish();
    Ok(ExitCode::SUCCESS)
}

/// Writes the certificate, which is public. Whoever reads the file sees the old one or this one.
fn export(authority: &Authority, path: &Path) -> Result<(), Error> {
    let fail = |error| Error::io("write the authority's certificate", &error).on(path.display());
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let new = path.with_file_name(name);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&new)
        .and_then(|mut file| {
            file.set_permissions(Permissions::from_mode(0o644))?;
            file.write_all(authority.pem().as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, path)
        });
    written.map_err(|error| {
        let _ = std::fs::remove_file(&new);
        fail(error)
    })
}

fn entrance(place: &str, clients: &HashMap<IpAddr, String>) -> Result<Entrance, Error> {
    if place.starts_with(['/', '.']) {
        return observe::unix(Path::new(place)).map(Entrance::Unix);
    }
    let refuse = |why: &str, hint: &str| Error::rule("listen", why).on(place).hint(hint);
    let address: SocketAddr = place.parse().map_err(|_| {
        let hint = "give ADDR:PORT, or the path of a Unix socket";
        refuse("this is no address", hint)
    })?;
    if clients.is_empty() {
        let hint = "name each with --client ADDR=NAME, or listen at a Unix socket";
        return Err(refuse(
            "no client at a port could be told from others",
            hint,
        ));
    }
    let listener = TcpListener::bind(address);
    let listener = listener.map_err(|error| Error::io("listen", &error).on(place))?;
    Ok(Entrance::Tcp(listener, clients.clone()))
}

fn shown(entrance: &Entrance) -> String {
    match entrance {
        Entrance::Unix(listener) => listener
            .local_addr()
            .ok()
            .and_then(|address| Some(address.as_pathname()?.display().to_string())),
        Entrance::Tcp(listener, _) => listener.local_addr().ok().map(|own| own.to_string()),
    }
    .unwrap_or_default()
}

fn client(text: &str) -> Result<(IpAddr, String), String> {
    const FORM: &str = "expected ADDR=NAME, such as 172.17.0.2=builder";
    let (address, name) = text.split_once('=').ok_or(FORM)?;
    let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    if name.is_empty() || name.len() > MOST_NAME || !name.chars().all(plain) {
        return Err(format!(
            "a name has up to {MOST_NAME} letters, digits, hyphens, dots and underscores"
        ));
    }
    let address = address.parse().map_err(|_| FORM)?;
    Ok((address, name.to_owned()))
}
