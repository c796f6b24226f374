//! `kernels`: the wall on an older kernel, Debian 12's 6.1, in an emulator.
//!
//! ```text
//!   debian      the distribution's kernel, its modules, a static busybox
//!   image       an initramfs with them and our programs     (archive: its format)
//!   machine     QEMU without KVM: console into a file, steps on the first serial line
//!      │  STEP name status "detail"                          (protocol)
//!   guest       first process of the guest: mounts, modules, then the steps
//!     steps       what is run there and what is expected    (doctor, attempts)
//!     stage       what the attempts go for                   (host)
//! ```
//!
//! The same program is on both ends. Nothing here waits without a limit: each step has
//! one, and so has the whole machine.

mod archive;
mod attempts;
mod debian;
mod doctor;
mod guest;
mod host;
mod image;
mod machine;
mod protocol;
mod stage;
mod steps;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use crate::artifacts::{self, Program};
use crate::table::Table;
pub(crate) use guest::guest_init;
use protocol::{Status, Step};

/// What the caller chose.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Forbid user namespaces in the guest and look at the error
    #[arg(long)]
    userns_off: bool,
    /// Attempts to make, by name [default: all that need no special setting]
    #[arg(long = "attempt", value_name = "NAME", value_delimiter = ',')]
    attempts: Vec<String>,
    /// Make no attempts
    #[arg(long, conflicts_with = "attempts")]
    no_attempts: bool,
    /// Package of the kernel, or one that depends on it
    #[arg(
        long,
        value_name = "PACKAGE",
        default_value = "linux-image-cloud-amd64"
    )]
    package: String,
    /// Seconds that the guest may take
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
}

/// What the guest has to do; it finds this in its initramfs.
#[derive(Serialize, Deserialize)]
struct Orders {
    userns_off: bool,
    attempts: Attempts,
}

#[derive(Serialize, Deserialize)]
enum Attempts {
    None,
    Plain,
    Named(Vec<String>),
}

/// Boots the guest, prints what its steps came to, and fails if one of them failed.
pub(crate) fn run(options: &Options) -> Result<()> {
    let folder = artifacts::folder("kernels")?;
    let [casemate, attempt, xtask] =
        artifacts::built([Program::Casemate, Program::Attempt, Program::Xtask])?;
    let kernel = debian::Kernel::obtain(&options.package, &folder)?;
    let contents = image::Contents {
        init: &xtask,
        programs: &[("casemate", &casemate), ("attempt", &attempt)],
        busybox: &debian::busybox(&folder)?,
        kernel: &kernel,
        orders: &orders(options),
    };
    let image = folder.join("initramfs.cpio");
    image::write(&contents, &image)?;
    eprintln!("xtask: booting Linux {}", kernel.release);
    let begin = Instant::now();
    let limit = Duration::from_secs(options.timeout);
    let run = machine::Machine::start(&kernel.image, &image, &folder)?.steps(limit)?;
    print!("{}", table(&run.steps));
    let [ok, failed, skipped] =
        [Status::Ok, Status::Fail, Status::Skip].map(|status| with(&run, status).count());
    let (release, spent) = (&kernel.release, begin.elapsed().as_secs_f64());
    println!("Linux {release}: {ok} ok, {failed} failed, {skipped} skipped in {spent:.1} s");
    verdict(&run)
}

fn orders(options: &Options) -> Orders {
    let attempts = match &options.attempts {
        _ if options.no_attempts || options.userns_off => Attempts::None,
        names if names.is_empty() => Attempts::Plain,
        names => Attempts::Named(names.clone()),
    };
    Orders {
        userns_off: options.userns_off,
        attempts,
    }
}

fn verdict(run: &machine::Run) -> Result<()> {
    if let Some(why) = &run.cut_short {
        bail!("{why}");
    }
    let failed: Vec<&str> = with(run, Status::Fail).map(Step::name).collect();
    if !failed.is_empty() {
        bail!(
            "{} of {} steps failed: {}",
            failed.len(),
            run.steps.len(),
            failed.join(", ")
        );
    }
    let attempts = run.steps.iter().filter(|step| step.is_attempt()).count();
    if attempts > 0 && !with(run, Status::Ok).any(Step::is_attempt) {
        bail!("{attempts} attempts were made and none showed anything; their details say why");
    }
    Ok(())
}

fn with(run: &machine::Run, status: Status) -> impl Iterator<Item = &Step> {
    run.steps.iter().filter(move |step| step.status == status)
}

fn table(steps: &[Step]) -> Table {
    let mut table = Table::new(["step", "status", "detail"]);
    for step in steps {
        let mut lines = step.detail.lines();
        let first = lines.next().unwrap_or_default().to_owned();
        table.row(vec![step.name.clone(), step.status.to_string(), first]);
        for line in lines {
            table.row(vec![String::new(), String::new(), line.to_owned()]);
        }
    }
    table
}
