//! From a policy document to a specification.

use casemate_core::spec::{Access, Grant, Network, SandboxSpec};
use casemate_policy::{Account, Compatibility, Document, Located};
use std::path::PathBuf;

/// Applies what a policy says of files, Landlock and identity.
///
/// Returns what should be said about the rest.
pub(crate) fn apply(document: &Document, spec: &mut SandboxSpec) -> Vec<String> {
    let files = &document.filesystem_policy;
    let required = document.landlock.compatibility() == Compatibility::HardRequirement;
    let grant = |path: &Located<PathBuf>, access| Grant {
        path: path.value.clone(),
        access,
        origin: document.at(path.position),
        required,
        or_fresh: true,
    };
    // Flags come after the policy, so that they win.
    let mut grants: Vec<Grant> = files
        .read_only
        .iter()
        .map(|path| grant(path, Access::ReadOnly))
        .collect();
    grants.extend(
        files
            .read_write
            .iter()
            .map(|path| grant(path, Access::ReadWrite)),
    );
    grants.append(&mut spec.grants);
    spec.grants = grants;
    if !files.include_workdir {
        spec.workdir_access = None;
    }
    spec.identity = identity(document);
    let text = |name: &Located<PathBuf>| name.value.to_string_lossy().into_owned();
    spec.allow_carriers
        .extend(document.carriers.allow.iter().map(text));
    spec.protect_carriers
        .extend(document.carriers.protect.iter().map(text));
    let entries = &document.network.entries;
    let net = match spec.network {
        Network::Policy => return Vec::new(),
        Network::None => "none no connection leaves, so none is needed",
        Network::Host => "host none is applied",
    };
    let unneeded = entries.first().map(|first| {
        format!(
            "{}: network_policies has {} entries; with --net {net}",
            document.at(first.key.position),
            entries.len(),
        )
    });
    unneeded.into_iter().collect()
}

/// The ids that the program sees. `sandbox` is the caller's own identity, which is what an
/// ordinary user can give.
fn identity(document: &Document) -> Option<(u32, u32)> {
    let id = |account: &Option<Located<Account>>, own: u32| match account
        .as_ref()
        .map(|account| &account.value)
    {
        Some(Account::Id(id)) => *id,
        Some(Account::Sandbox) | None => own,
    };
    let process = &document.process;
    if process.run_as_user.is_none() && process.run_as_group.is_none() {
        return None;
    }
    let (uid, gid) = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    Some((
        id(&process.run_as_user, uid),
        id(&process.run_as_group, gid),
    ))
}
