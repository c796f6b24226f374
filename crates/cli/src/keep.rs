//! `casemate keep FOLDER`: the supervisor of one sandbox. The daemon starts it; nobody types it.

use crate::credentials::CredentialArgs;
use crate::egress::{self, Outlet};
use crate::observe::ObserveArgs;
use casemate_core::error::{Error, Result};
use casemate_core::report::Connection;
use casemate_core::sandbox::Outward;
use casemate_core::spec::SandboxSpec;
use casemate_egress::open::Open;
use casemate_egress::proxy::{Policy, Reloading};
use casemate_jail::gate::{Attempt, Doors, Gate, Rare};
use casemate_node::keeper::{self, Launch, Outgoing};
use casemate_policy::Document;
use clap::Args;
use ipnet::IpNet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

// The flags; a doc comment would take the place of what is said of the command.
#[derive(Args)]
pub(crate) struct KeepArgs {
    /// The sandbox's folder
    folder: PathBuf,
}

/// Keeps a sandbox until it ends.
pub(crate) fn run(args: KeepArgs) -> anyhow::Result<ExitCode> {
    keeper::keep(&args.folder, outgoing)?;
    Ok(ExitCode::SUCCESS)
}

/// The way out of a sandbox, and how it's changed.
struct Way {
    outlet: Outlet,
    reloading: Arc<OnceLock<Reloading>>,
}

impl Gate for Way {
    fn lends(&self) -> bool {
        self.outlet.lends()
    }

    fn open(&mut self, doors: Doors) -> Result<()> {
        self.outlet.open(doors)?;
        if let Some(reloading) = self.outlet.reloading() {
            let _ = self.reloading.set(reloading);
        }
        Ok(())
    }

    fn attempt(&mut self, attempt: Attempt) {
        self.outlet.attempt(attempt);
    }

    fn note(&mut self, rare: Rare) {
        self.outlet.note(rare);
    }

    fn close(&mut self) -> Vec<Connection> {
        self.outlet.close()
    }
}

fn outgoing(launch: &Launch, spec: &mut SandboxSpec) -> Result<Outgoing> {
    let (outward, of_host) = (&launch.wish.network, launch.root.is_none());
    let (given, _) = CredentialArgs::default().give(spec, None)?;
    let source = (&document(outward).map_err(invalid)?, PathBuf::new());
    let outlet = Outlet::new(source, spec, given, ObserveArgs::default(), false)?;
    let decides = policy(outward, &launch.reach, of_host).map_err(invalid)?;
    let outlet = outlet
        .handed(decides, spec)
        .limited(launch.connections, launch.bandwidth);
    let reloading = Arc::new(OnceLock::<Reloading>::new());
    let way = Way {
        outlet,
        reloading: Arc::clone(&reloading),
    };
    let reach = launch.reach.clone();
    let restrict = move |outward: &Outward| {
        let policy = policy(outward, &reach, of_host).map_err(invalid)?;
        if let Some(reloading) = reloading.get() {
            reloading.put(Arc::new(policy));
        }
        Ok(())
    };
    Ok(Outgoing {
        gate: Box::new(way),
        restrict: Arc::new(restrict),
    })
}

/// Whether what is asked for could be put in force; if not, why, with the field. The daemon asks
/// that before it asks a keeper.
pub(crate) fn check(outward: &Outward, reach: &[IpNet]) -> Result<(), String> {
    policy(outward, reach, true).map(drop)
}

/// The whole policy that was asked for, or an empty one.
fn document(outward: &Outward) -> Result<Document, String> {
    let Some(text) = &outward.policy else {
        return Ok(Document::default());
    };
    Document::parse("policy", text).map_err(|error| format!("casemate.policy: {error}"))
}

/// What was asked for, as what decides.
fn policy(outward: &Outward, reach: &[IpNet], of_host: bool) -> Result<Policy, String> {
    if outward.policy.is_some() {
        let compiled = egress::compile(&document(outward)?, of_host);
        return compiled.map_err(|error| format!("casemate.policy: {error}"));
    }
    let open = Open::new(outward, reach.to_vec()).map_err(|invalid| invalid.to_string())?;
    Policy::of_open(open).map_err(|error| error.message)
}

fn invalid(why: String) -> Error {
    Error::rule("apply what the sandbox's network was asked to be", why)
}
