//! `casemate vm`: what virtual machines are made from, and whether this machine can run them.
//!
//! - [`machine`]: one that is made and met
//! - [`once`]: one command in a machine of its own
//! - [`pages`]: the server of a machine's pages
//! - [`vmm`]: who runs a machine, behind the wall

mod machine;
mod once;
mod pages;
mod vmm;

pub(crate) use once::Once;
pub(crate) use pages::{PagesArgs, pages};
pub(crate) use vmm::{VmmArgs, vmm};

use crate::{printer, state};
use casemate_core::error::{Error, Result};
use casemate_core::limits::ByteSize;
use casemate_core::sandbox::Resources;
use casemate_node::Machines;
use casemate_sys::probe::kvm;
use casemate_vm::accelerator;
use casemate_vm::choose::{Given, choose};
use casemate_vm::driver::Accelerator;
use casemate_vm::guest::kernel::{DEBIAN, Source};
use casemate_vm::guest::setup::{Plan, Root, Setup};
use casemate_vm::qemu::Qemu;
use clap::{Args, Subcommand, ValueEnum};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What sandboxes are behind.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wall {
    /// Processes of this machine's kernel
    Process,
    /// Virtual machines, each with a kernel of its own
    Vm,
}

// The arguments of `casemate vm`.
#[derive(Args)]
pub(crate) struct VmArgs {
    #[command(subcommand)]
    command: VmCommand,
}

#[derive(Subcommand)]
enum VmCommand {
    /// Prepare a kernel and the image of the template `base`
    Setup(SetupArgs),
}

#[derive(Args)]
struct SetupArgs {
    #[command(flatten)]
    place: Place,
    /// A kernel, as QEMU boots it [default: Debian's cloud kernel]
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// The folder of that kernel's modules, such as /lib/modules/6.1.0, if it needs any to start
    #[arg(long, value_name = "DIR", requires = "kernel")]
    modules: Option<PathBuf>,
    /// The root file system of the template `base` [default: Debian's smallest, by debootstrap]
    #[arg(long, value_name = "DIR|TAR")]
    root: Option<PathBuf>,
    /// Debian packages besides the smallest system
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        conflicts_with = "root"
    )]
    packages: Vec<String>,
    /// The size of a machine's root disk, of which it takes what is used
    #[arg(long, value_name = "SIZE", default_value = "4G")]
    disk: ByteSize,
    /// Make no machine that others begin as: each starts its kernel
    #[arg(long)]
    cold: bool,
    /// Run machines where processors must be emulated: for development and tests, no wall
    #[arg(long)]
    allow_emulation: bool,
}

#[derive(Args)]
struct Place {
    /// Where kernel and images are [default: vm in the folder of casemate's state]
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
}

impl Place {
    fn folder(&self) -> Result<PathBuf> {
        let folder = self.images.clone();
        folder
            .or_else(|| Some(state::folder()?.join("vm")))
            .ok_or_else(|| {
                Error::rule(
                    "find the images of machines",
                    "HOME is not an absolute path",
                )
                .hint("give --images DIR, or set HOME or XDG_STATE_HOME")
            })
    }
}

// What a command takes that runs machines.
#[derive(Args)]
pub(crate) struct ImageArgs {
    #[command(flatten)]
    place: Place,
    /// What runs virtual machines
    #[arg(long, value_name = "DRIVER", value_enum, default_value_t = Driver::Auto)]
    driver: Driver,
    /// Run machines where processors must be emulated: for development and tests, no wall
    #[arg(long)]
    allow_emulation: bool,
}

/// What runs machines.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Driver {
    /// Which one `casemate doctor` would take
    Auto,
    /// QEMU
    Qemu,
    /// Firecracker: its driver isn't that of sandboxes yet
    Firecracker,
}

/// See the module.
pub(crate) fn run(args: VmArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        VmCommand::Setup(args) => setup_images(args)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn setup_images(args: SetupArgs) -> Result<()> {
    let folder = real(&args.place.folder()?)?;
    let kernel = match args.kernel {
        Some(image) => Source::Given {
            image,
            modules: args.modules,
        },
        None => Source::Debian {
            package: DEBIAN.to_owned(),
            cache: state::cache()
                .map_or_else(|| folder.join("kernels"), |cache| cache.join("kernels")),
        },
    };
    let root = match args.root {
        Some(path) if path.is_dir() => Root::Folder(path),
        Some(path) => Root::Tarball(path),
        None => Root::Debian {
            suite: None,
            packages: args.packages,
            mirror: None,
        },
    };
    let plan = Plan {
        kernel,
        agent: std::env::current_exe().map_err(|error| Error::io("find this program", &error))?,
        root,
        root_size: args.disk.0,
    };
    // Before what takes minutes.
    let accelerator = match args.cold {
        true => None,
        false => Some(accelerator(args.allow_emulation)?),
    };
    let made = Setup::make(&plan, &folder)?;
    if let Some(accelerator) = accelerator {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::io("start the runtime", &error))?;
        let maker = machine::Maker {
            setup: made.clone(),
            images: &folder,
            resources: Resources::default(),
            accelerator,
        };
        runtime.block_on(maker.prepare())?;
    }
    let release = made.manifest.kernel_release.as_deref().unwrap_or("unknown");
    let text = format!(
        "{}: kernel {release}, {}\n",
        folder.display(),
        made.manifest.root.from
    );
    printer::say(&text).map_err(|error| Error::rule("print the result", format!("{error:#}")))
}

/// The folder by a path without links, which is the one that a wall brings in. Those above it are made:
/// what else is kept beside it is nobody else's.
fn real(folder: &Path) -> Result<PathBuf> {
    let fail = |error: std::io::Error| Error::io("make a folder for", &error).on(folder.display());
    let folder = std::path::absolute(folder).map_err(fail)?;
    let (Some(above), Some(name)) = (folder.parent(), folder.file_name()) else {
        return Ok(folder);
    };
    let made = DirBuilder::new().recursive(true).mode(0o700).create(above);
    let above = made
        .and_then(|()| std::fs::canonicalize(above))
        .map_err(fail)?;
    Ok(above.join(name))
}

impl ImageArgs {
    /// What machines are made from, and on which processor they run.
    pub(crate) fn machines(&self) -> Result<Machines> {
        let images = self.place.folder()?;
        let images = std::fs::canonicalize(&images).unwrap_or(images);
        let setup = Setup::open(&images)?;
        if self.driver == Driver::Firecracker {
            let why = "its driver has no network for sandboxes, and no disks in layers";
            return Err(Error::rule("run sandboxes with Firecracker", why)
                .hint("--driver qemu, which `auto` takes"));
        }
        Ok(Machines {
            root: setup.root(),
            images,
            accelerator: match accelerator(self.allow_emulation)? {
                Accelerator::Kvm => casemate_node::Accelerator::Kvm,
                Accelerator::Tcg => casemate_node::Accelerator::Emulation,
            },
        })
    }
}

/// What processors machines have here.
fn accelerator(allow_emulation: bool) -> Result<Accelerator> {
    let given = Given {
        kvm: kvm::probe(),
        firecracker: false,
        qemu: Qemu::find().is_ok(),
        allow_emulation,
        wish: None,
    };
    let chosen = choose(&given)?.accelerator;
    if chosen == Accelerator::Tcg {
        printer::note(&format!("processors are emulated: {}", accelerator::LABEL));
    }
    Ok(chosen)
}
