//! `casemate vmm`: who runs a machine. A keeper has it inside the wall, in an agent's place; nobody
//! types it.
//!
//! ```text
//!  daemon ══ hatch: "agent", "sleep" ══▶ vmm ══ mux over virtio-serial ══▶ process 1 of the guest
//!                                           │ QMP
//!                                           └────▶ QEMU, in the same wall
//! ```
//!
//! It is behind the wall with its VMM: who takes the VMM over has the machine's files, and a network
//! on which every connection is decided, as a program in a sandbox of processes has.

use super::machine::{self, Life, Maker};
use anyhow::Context as _;
use casemate_core::error::{Error, Result};
use casemate_core::guest::Request;
use casemate_core::sandbox::{Keep, Resources};
use casemate_mux::{Code, Door, Session};
use casemate_node::hatch;
use casemate_vm::driver::Accelerator;
use casemate_vm::guest::setup::Setup;
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

/// How long whoever connects may take to say where to.
const MANNERS: Duration = Duration::from_secs(10);
/// How long a guest may take to switch itself off.
const OFF: Duration = Duration::from_secs(10);
/// How long a machine may take to end whose channel has.
const GRIEF: Duration = Duration::from_millis(500);
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
    /// What it begins as
    #[arg(long, value_name = "DIR")]
    base: PathBuf,
    /// Go on as what is kept of it among its own files
    #[arg(long, value_name = "WHAT")]
    asleep: Option<Kept>,
}

/// See [`Keep`].
#[derive(Clone, Copy, ValueEnum)]
enum Kept {
    /// All of it
    Memory,
    /// Its files
    Files,
}

/// What somebody wants of the machine as a whole, and where that is answered.
struct Order {
    what: What,
    client: UnixStream,
}

enum What {
    Write(Keep),
    Sleep(Keep),
}

/// Orders that wait.
const QUEUE: usize = 4;

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
    let resources = Resources {
        memory: args.memory,
        cpus: args.cpus,
        ..Resources::default()
    };
    let accelerator = match args.emulate {
        true => Accelerator::Tcg,
        false => Accelerator::Kvm,
    };
    let maker = Maker {
        setup: Setup::open(&args.images)?,
        images: &args.images,
        resources,
        accelerator,
    };
    let asleep = args.asleep.map(|kept| match kept {
        Kept::Memory => Keep::Memory,
        Kept::Files => Keep::Files,
    });
    let life = maker.begin(&args.base, &args.own, asleep).await?;
    let (orders, mut ordered) = mpsc::channel(QUEUE);
    let session = life.session.clone();
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    drop(tokio::spawn(admit(stream, session.clone(), orders.clone())));
                }
                // Out of descriptors or memory: whoever asks waits.
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    });
    loop {
        let why = tokio::select! {
            Some(order) = ordered.recv() => match order.carry_out(&life, &args.own).await {
                Done::GoesOn => continue,
                Done::Ends => return Ok(()),
            },
            ended = life.running.ended() => ended.to_string(),
            why = life.session.closed() => lost(&life, &why.to_string()).await,
        };
        return Err(Error::rule("keep a virtual machine", why));
    }
}

/// Why a guest can't be reached: its channel often ends a moment before the machine does.
async fn lost(life: &Life, why: &str) -> String {
    match tokio::time::timeout(GRIEF, life.running.ended()).await {
        Ok(ended) => ended.to_string(),
        Err(_) => {
            let mut text = format!("its guest can't be reached: {why}");
            for line in life.running.console() {
                text.push_str("\n  console: ");
                text.push_str(&line);
            }
            text
        }
    }
}

/// What becomes of a machine.
enum Done {
    GoesOn,
    Ends,
}

impl Order {
    async fn carry_out(mut self, life: &Life, own: &Path) -> Done {
        let done = match self.what {
            What::Write(keep) => written(life, own, keep).await.map(|()| hatch::IS_WRITTEN),
            What::Sleep(Keep::Memory) => life.running.sleep().await.map(|()| hatch::IS_ASLEEP),
            What::Sleep(Keep::Files) => machine::tell(&life.session, &[Request::Sync])
                .await
                .map(|()| hatch::IS_ASLEEP),
        };
        let is_asleep = done == Ok(hatch::IS_ASLEEP);
        let answer = done.map_or_else(|error| error.to_string(), str::to_owned);
        let told = say(&mut self.client, &answer).await;
        let (What::Sleep(keep), true) = (self.what, is_asleep) else {
            return Done::GoesOn;
        };
        let is_to_end = match told {
            Ok(()) => hatch::line_of(&mut self.client).await,
            Err(error) => Err(error),
        };
        match (is_to_end.as_deref(), keep) {
            (Ok(hatch::END), Keep::Memory) => Done::Ends,
            (Ok(hatch::END), Keep::Files) => {
                switch_off(life, own).await;
                Done::Ends
            }
            // Whoever wanted it has gone. What can't go on is found dead.
            _ => {
                if let Err(error) = life.running.resume().await {
                    eprintln!("{error}");
                }
                Done::GoesOn
            }
        }
    }
}

/// Writes the machine where the daemon finds it.
async fn written(life: &Life, own: &Path, keep: Keep) -> Result<()> {
    let folder = own.join(hatch::WRITTEN);
    // One that nobody has fetched.
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::io("remove", &error).on(folder.display()));
        }
        _ => {}
    }
    match keep {
        Keep::Memory => life.running.snapshot(&folder).await,
        Keep::Files => machine::write_files(life, own, &folder).await,
    }
}

/// Ends a machine of which the files are kept. All that had to be written was, a moment ago.
async fn switch_off(life: &Life, own: &Path) {
    let off = async {
        machine::tell(&life.session, &[Request::PowerOff]).await?;
        life.running.ended().await;
        Ok::<_, Error>(())
    };
    if !matches!(tokio::time::timeout(OFF, off).await, Ok(Ok(()))) {
        life.running.end();
        life.running.ended().await;
    }
    if let Err(error) = machine::keep_files(own) {
        eprintln!("{error}");
    }
}

async fn say(client: &mut UnixStream, answer: &str) -> std::io::Result<()> {
    let answer = answer.replace('\n', " ");
    let mut line: String = answer.chars().take(hatch::LONGEST / 4).collect();
    line.push('\n');
    client.write_all(line.as_bytes()).await
}

/// Lets somebody in, to where they want, or takes their order.
async fn admit(mut client: UnixStream, session: Session, orders: mpsc::Sender<Order>) {
    let Ok(Some(asked)) = tokio::time::timeout(MANNERS, asked(&mut client)).await else {
        return;
    };
    let door = match asked {
        Asked::For(door) => door,
        Asked::To(what) => {
            // If nobody takes it any more, the machine has ended.
            let _ = orders.send(Order { what, client }).await;
            return;
        }
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
        Err(why) => (why, None),
    };
    if say(&mut client, &answer).await.is_ok()
        && let Some(mut stream) = stream
    {
        // Whoever breaks off knows why.
        let _ = copy_bidirectional(&mut client, &mut stream).await;
    }
}

/// What somebody wants.
enum Asked {
    For(Door),
    To(What),
}

async fn asked(client: &mut UnixStream) -> Option<Asked> {
    let line = hatch::line_of(client).await.ok()?;
    match (line.split_once(' '), line.as_str()) {
        (Some(("port", port)), _) => Some(Asked::For(Door::Port(port.parse().ok()?))),
        (_, "agent") => Some(Asked::For(Door::Agent)),
        (_, "write memory") => Some(Asked::To(What::Write(Keep::Memory))),
        (_, "write files") => Some(Asked::To(What::Write(Keep::Files))),
        (_, "sleep memory") => Some(Asked::To(What::Sleep(Keep::Memory))),
        (_, "sleep files") => Some(Asked::To(What::Sleep(Keep::Files))),
        _ => None,
    }
}
