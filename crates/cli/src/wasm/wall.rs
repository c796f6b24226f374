//! What the process of a guest is given by the wall: nothing but its folders.

use crate::run::machine_memory;
use casemate_core::limits::{ByteSize, Limit, Limits};
use casemate_core::spec::{Access, Grant, SandboxSpec};
use std::path::PathBuf;
use std::time::Duration;

/// What compiler and runtime may take besides the guest's memory.
const RUNTIME: u64 = 1 << 30;
/// Threads of the process, with room: the runtime, its clock, a reader of standard input.
const THREADS: u32 = 32;
/// The private folders, which nothing needs.
const DISK: ByteSize = ByteSize::mib(1);
/// The runtime ends the guest by itself, and says more about it; this is for one that doesn't.
const GRACE: Duration = Duration::from_secs(1);

/// Memory that a guest has if nothing is said: half of the machine's.
pub(super) fn default_memory() -> ByteSize {
    Limits::defaults(machine_memory()).memory.value
}

/// The wall around a process that runs one guest.
pub(super) fn specification(
    folders: Vec<(PathBuf, Access)>,
    memory: ByteSize,
    timeout: Option<Duration>,
    descriptor: i32,
    cwd: PathBuf,
) -> SandboxSpec {
    let grant = |(path, access)| Grant {
        path,
        access,
        origin: "--dir".into(),
        required: true,
        or_fresh: false,
    };
    let memory = ByteSize(memory.0.saturating_add(RUNTIME));
    let command = ["casemate-wasm", "wasm-tool", "--sheet-fd"];
    let command = command.into_iter().map(Into::into);
    let command = command.chain([descriptor.to_string().into()]).collect();
    let limits = Limits {
        memory: Limit::new(None, memory),
        pids: Limit::new(None, THREADS),
        disk: Limit::new(None, DISK),
        inodes: Limits::inodes_for(DISK),
        time: timeout.map(|timeout| timeout.saturating_add(GRACE)),
        ..Limits::defaults(machine_memory())
    };
    SandboxSpec::bare(
        command,
        folders.into_iter().map(grant).collect(),
        cwd,
        limits,
    )
}
