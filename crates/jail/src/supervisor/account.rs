//! The report of a run.

use super::guard::Guard;
use super::notifier::Notifier;
use super::watch::Watch;
use crate::plan::Plan;
use crate::plan::workspace::Workspace;
use crate::wire::Exit;
use casemate_core::exit::Outcome;
use casemate_core::report::{Carriers, Changes, Connection, LayerState, Measure, Report};
use casemate_core::spec::Network;
use casemate_sys::landlock::Abi;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Paths of one kind that are listed; the rest is a number.
const MOST_LISTED: usize = 10_000;

/// What is known at the end.
pub(super) struct Account<'a> {
    pub(super) plan: &'a Plan,
    pub(super) exit: Exit,
    pub(super) wall: Duration,
    pub(super) outcome: &'a Outcome,
    pub(super) landlock: Option<Abi>,
    pub(super) connections: Vec<Connection>,
    pub(super) peak: u64,
}

impl Account<'_> {
    pub(super) fn report(
        &self,
        watch: &Watch,
        guard: &Guard,
        notifier: Option<&Notifier>,
    ) -> Report {
        let spec = &self.plan.spec;
        let mut refused = notifier.map(Notifier::refusals).unwrap_or_default();
        refused.extend(guard.refusals());
        let (files, new) = self.changes();
        let peak_memory = match watch.counts_memory() {
            // A page that was charged elsewhere first is in the process, not in its cgroup.
            true => Measure {
                bytes: self.peak.max(self.exit.max_rss),
                source: "cgroup",
            },
            false => Measure {
                bytes: self.exit.max_rss.max(self.peak),
                source: "largest process, or the sum that was counted",
            },
        };
        Report {
            version: 1,
            name: spec.name.clone(),
            command: spec
                .command
                .iter()
                .map(|arg| arg.to_string_lossy().into_owned())
                .collect(),
            outcome: self.outcome.clone(),
            exit_code: self.outcome.code(),
            wall_seconds: self.wall.as_secs_f64(),
            user_seconds: self.exit.user_micros as f64 / 1e6,
            system_seconds: self.exit.system_micros as f64 / 1e6,
            peak_memory,
            connections: self.connections.clone(),
            // Init is the first.
            tasks_started: self.exit.last_pid.saturating_sub(1),
            files,
            refused,
            carriers: self.carriers(guard, new),
            layers: self.layers(notifier.is_some()),
            limits: watch.states(),
            view: self.plan.view.clone(),
            notes: self.plan.notes.clone(),
        }
    }

    fn carriers(&self, guard: &Guard, new: Vec<String>) -> Carriers {
        let protected = self.plan.workspaces.iter().flat_map(|workspace| {
            workspace
                .protected
                .iter()
                .chain(&workspace.linked)
                .map(|path| text(&workspace.root.join(path)))
        });
        Carriers {
            protected: protected.collect(),
            removed: guard.removed().into_iter().map(text).collect(),
            new,
        }
    }

    /// What changed under the writable folders, and the repositories that are new.
    fn changes(&self) -> (Changes, Vec<String>) {
        let mut changes = Changes::default();
        let mut new = Vec::new();
        for workspace in &self.plan.workspaces {
            let Some(before) = &workspace.before else {
                continue;
            };
            let after = Workspace::stamps(&workspace.root);
            let full = |path: &Path| text(&workspace.root.join(path));
            changes.created.extend(
                after
                    .keys()
                    .filter(|path| !before.contains_key(*path))
                    .map(|path| full(path)),
            );
            changes.deleted.extend(
                before
                    .keys()
                    .filter(|path| !after.contains_key(*path))
                    .map(|path| full(path)),
            );
            let changed = after
                .iter()
                .filter(|(path, stamp)| before.get(*path).is_some_and(|was| was != *stamp));
            changes.changed.extend(changed.map(|(path, _)| full(path)));
            let is_new = |path: &Path| after.contains_key(path) && !before.contains_key(path);
            let carrier = |path: &&PathBuf| {
                let name = path.file_name().unwrap_or_default();
                let listed = casemate_core::carriers::find(name.as_encoded_bytes()).is_some();
                is_new(path) && (name == ".git" || listed)
            };
            new.extend(after.keys().filter(carrier).map(|path| full(path)));
            // A repository without a work tree has no `.git`, but the same parts.
            let bare = after.keys().filter_map(|path| {
                let folder = path.parent().filter(|_| path.ends_with("HEAD"))?;
                let mut parts = ["HEAD", "objects", "refs"].iter();
                let whole = parts.all(|name| is_new(&folder.join(name)));
                let in_git = folder.components().any(|part| part.as_os_str() == ".git");
                (whole && !in_git).then(|| full(folder))
            });
            new.extend(bare);
        }
        for list in [
            &mut changes.created,
            &mut changes.changed,
            &mut changes.deleted,
        ] {
            changes.not_listed += list.len().saturating_sub(MOST_LISTED) as u64;
            list.truncate(MOST_LISTED);
        }
        (changes, new)
    }

    fn layers(&self, notifier: bool) -> Vec<LayerState> {
        let spec = &self.plan.spec;
        let allowed = |name: &str| spec.allow_missing.iter().any(|layer| layer.name() == name);
        let layer = |name: &str, active: bool, detail: String| LayerState {
            name: name.into(),
            active,
            detail,
        };
        let network = match spec.network {
            Network::None => "own namespace, loopback only".to_owned(),
            Network::Host => "the host's".to_owned(),
            Network::Policy => "own namespace, every connection decided by the policy".to_owned(),
        };
        let landlock = self
            .landlock
            .map_or("accepted as missing".to_owned(), |abi| {
                let gaps = abi.gaps();
                let gaps = if gaps.is_empty() {
                    String::new()
                } else {
                    format!("; {}", gaps.join("; "))
                };
                format!("ABI {}{gaps}", abi.0)
            });
        vec![
            layer("namespaces", true, "user, mount, pid, ipc, uts".into()),
            layer(
                "cgroup-namespace",
                !allowed("cgroup-namespace"),
                String::new(),
            ),
            layer("time-namespace", !allowed("time-namespace"), String::new()),
            layer("network", spec.network != Network::Host, network),
            layer("no-new-privs", true, String::new()),
            layer(
                "capabilities",
                true,
                "all sets and the bounding set are empty".into(),
            ),
            layer("landlock", self.landlock.is_some(), landlock),
            layer("seccomp", true, "allow-list".into()),
            layer("seccomp-notify", notifier, String::new()),
        ]
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
