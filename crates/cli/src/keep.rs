//! `casemate keep FOLDER`: the supervisor of one sandbox. The daemon starts it; nobody types it.

use crate::credentials::CredentialArgs;
use crate::egress::Outlet;
use crate::observe::ObserveArgs;
use casemate_core::error::{Error, Result};
use casemate_core::report::Connection;
use casemate_core::sandbox::Outward;
use casemate_core::spec::SandboxSpec;
use casemate_egress::proxy::{Policy, Reloading};
use casemate_jail::gate::{Attempt, Doors, Gate, Rare};
use casemate_node::keeper::{self, Launch, Outgoing};
use casemate_policy::Document;
use clap::Args;
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
    let document = document(&launch.wish.network)?;
    let (given, _) = CredentialArgs::default().give(spec, None)?;
    let source = (&document, PathBuf::new());
    let outlet = Outlet::new(source, spec, given, ObserveArgs::default(), false)?.handed();
    let reloading = Arc::new(OnceLock::<Reloading>::new());
    let way = Way {
        outlet,
        reloading: Arc::clone(&reloading),
    };
    let restrict = move |outward: &Outward| {
        let policy = policy(outward)?;
        if let Some(reloading) = reloading.get() {
            reloading.put(policy);
        }
        Ok(())
    };
    Ok(Outgoing {
        gate: Box::new(way),
        restrict: Arc::new(restrict),
    })
}

/// What was asked for, as a document.
fn document(outward: &Outward) -> Result<Document> {
    let text = outward.policy.as_deref().unwrap_or("version: 1\n");
    Document::parse("network", text)
        .map_err(|error| Error::rule("apply the sandbox's policy", format!("\n{error}")))
}

/// What was asked for, as a policy that decides.
fn policy(outward: &Outward) -> Result<Arc<Policy>> {
    crate::egress::compile(&document(outward)?, true).map(Arc::new)
}
