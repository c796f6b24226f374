//! `casemate vmm`: who runs a machine. A keeper has it inside the wall, in an agent's place; nobody
//! types it.
//!
//! ```text
//!  daemon ══ hatch: "agent", "port 80" ══▶ vmm ══ mux over virtio-serial ══▶ process 1 of the guest
//!                                           │ QMP
//!                                           └────▶ QEMU, in the same wall
//! ```
//!
//! It is behind the wall with its VMM: who takes the VMM over has the machine's files, and a network
//! on which every connection is decided, as a program in a sandbox of processes has.

use super::machine::{self, Size};
use anyhow::Context as _;
use casemate_core::error::{Error, Result};
use casemate_mux::{Code, Door, Session};
use casemate_node::hatch;
use casemate_vm::driver::Accelerator;
use casemate_vm::guest::setup::Setup;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::{UnixListener, UnixStream};

/// How long whoever connects may take to say where to.
const MANNERS: Duration = Duration::from_secs(10);
/// After a connection that couldn't be taken.
const PAUSE: Duration = Duration::from_millis(50);

// The flags; a doc comment would take the place of what is said of the command.
#[derive(Args)]
pub(crate) struct VmmArgs {
    /// A listening socket that is open as this descriptor
    #[arg(long, value_name = "N")]
    listener_fd: i32,
    /// Bytes of memory
    #[arg(long, value_name = "BYTES")]
    memory: u64,
    /// Processors
    #[arg(long, value_name = "N")]
    cpus: u32,
    /// The folder of kernel and images
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// The folder of its own files
    #[arg(long, value_name = "DIR")]
    own: PathBuf,
    /// Emulate processors
    #[arg(long)]
    emulate: bool,
}

/// Runs a machine until it ends.
pub(crate) fn vmm(args: VmmArgs) -> anyhow::Result<ExitCode> {
    let raw = args.listener_fd;
    let socket = casemate_sys::descriptor::inherited(raw)
        .map_err(|errno| Error::errno("take over descriptor", errno.raw_os_error()).on(raw))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    runtime.block_on(async {
        let listener = std::os::unix::net::UnixListener::from(socket);
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        attend(&args, listener).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Who comes before the guest is there waits in the listener's queue.
async fn attend(args: &VmmArgs, listener: UnixListener) -> Result<()> {
    let size = Size {
        memory: args.memory,
        processors: args.cpus,
    };
    let accelerator = match args.emulate {
        true => Accelerator::Tcg,
        false => Accelerator::Kvm,
    };
    let setup = Setup::open(&args.images)?;
    let life = machine::begin(&setup, &args.images, &args.own, size, accelerator).await?;
    let admitting = async {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(admit(stream, life.session.clone()))),
                // Out of descriptors or memory: whoever asks waits.
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    };
    let why = tokio::select! {
        () = admitting => return Ok(()),
        ended = life.running.ended() => ended.to_string(),
        why = life.session.closed() => format!("its guest can't be reached: {why}"),
    };
    Err(Error::rule("keep a virtual machine", why))
}

/// Lets somebody in, to where they want.
async fn admit(mut client: UnixStream, session: Session) {
    let Ok(Some(door)) = tokio::time::timeout(MANNERS, asked(&mut client)).await else {
        return;
    };
    let opened = async {
        let mut stream = session.open(door).map_err(|why| why.to_string())?;
        stream
            .opened()
            .await
            .map_err(|error| match Code::of(&error) {
                Some(Code::Closed) => hatch::CLOSED.to_owned(),
                _ => error.to_string(),
            })?;
        Ok::<_, String>(stream)
    };
    let (answer, stream) = match opened.await {
        Ok(stream) => (hatch::OPEN.to_owned(), Some(stream)),
        Err(why) => (why.replace('\n', " "), None),
    };
    let mut line: String = answer.chars().take(hatch::LONGEST / 4).collect();
    line.push('\n');
    if client.write_all(line.as_bytes()).await.is_ok()
        && let Some(mut stream) = stream
    {
        // Whoever breaks off knows why.
        let _ = copy_bidirectional(&mut client, &mut stream).await;
    }
}

async fn asked(client: &mut UnixStream) -> Option<Door> {
    let line = hatch::line_of(client).await.ok()?;
    match line.split_once(' ') {
        None if line == "agent" => Some(Door::Agent),
        Some(("port", port)) => port.parse().ok().map(Door::Port),
        _ => None,
    }
}
