//! What a run was asked to be.

use crate::layer::Layer;
use crate::limits::Limits;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

/// The users of a sandbox that has several: as many as accounts of a system use (login.defs(5)
/// and "nobody").
pub const USERS: u32 = 1 << 16;

/// What a program may do below a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Nothing: the path is covered, and looks empty.
    Hidden,
    /// Read and execute.
    ReadOnly,
    /// Read, execute, write, create and delete.
    ReadWrite,
}

/// A host path that the caller brings into the view, or takes out of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// An absolute path on the host; it appears at the same path inside.
    pub path: PathBuf,
    /// What the program may do there.
    pub access: Access,
    /// Who asked, for errors: `--ro`, or `policy.yaml:7:5`.
    pub origin: String,
    /// False if a missing path is skipped with a note instead of refused.
    pub required: bool,
    /// True if a path that every view has of its own (`/tmp`, `/proc`, `/etc`, `/dev/null`)
    /// means that one, as it does in a policy; false if it means the host's.
    pub or_fresh: bool,
}

/// Where the root file system comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// A chosen view of the host's own system folders.
    Host,
    /// Nothing of the host's but what is granted, for a program that needs no system.
    Empty,
    /// A folder that holds a whole root file system, used copy-on-write.
    Directory(PathBuf),
    /// A tar archive, plain or gzip, that holds a whole root file system.
    Archive(PathBuf),
}

/// Which network the program sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// A namespace of its own with nothing but a loopback interface.
    None,
    /// The host's network, unguarded.
    Host,
    /// A namespace of its own, whose every connection and DNS query somebody decides on.
    Policy,
}

/// When a pseudo-terminal is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminal {
    /// For each of the standard streams that is a terminal outside.
    Auto,
    /// For all three streams.
    Always,
    /// Never; a stream that is a terminal outside becomes a pipe.
    Never,
}

/// A variable of the program's environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvRule {
    /// Set to a value.
    Set(OsString, OsString),
    /// Passed from the caller's environment, if it is set there.
    Pass(OsString),
}

/// One run, as asked for. Paths are absolute; nothing was checked against the machine yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxSpec {
    /// The program and its arguments; never empty.
    pub command: Vec<OsString>,
    /// True if the program comes as a descriptor, so that the first word is only what it calls
    /// itself.
    pub given: bool,
    /// The working folder.
    pub workdir: PathBuf,
    /// What the program may do in the working folder; `None` leaves it out of the view unless
    /// another grant brings it in.
    pub workdir_access: Option<Access>,
    /// Host paths in and out of the view; a later grant of the same path wins.
    pub grants: Vec<Grant>,
    /// Files that are made in the view, with their contents; below /etc.
    pub files: Vec<(PathBuf, String)>,
    /// The root file system.
    pub root: Root,
    /// Where the writes of a copy-on-write root are kept; `None` lets them vanish.
    pub keep: Option<PathBuf>,
    /// Additions to the allow-listed environment.
    pub env: Vec<EnvRule>,
    /// What may be used.
    pub limits: Limits,
    /// The network.
    pub network: Network,
    /// TCP ports that may be bound; `None` leaves them to the network namespace.
    pub tcp_bind: Option<Vec<u16>>,
    /// TCP ports that may be connected to; `None` leaves them to the network namespace.
    pub tcp_connect: Option<Vec<u16>>,
    /// The host name inside.
    pub hostname: String,
    /// The name of the run, for reports.
    pub name: Option<String>,
    /// The terminal.
    pub terminal: Terminal,
    /// True if the caller wants a report, which costs a second look at the workspace.
    pub report: bool,
    /// The user and group id that the program sees; `None` shows the caller's own.
    pub identity: Option<(u32, u32)>,
    /// The user and group id that this is outside, for root, who may choose; `None` is the same
    /// number. For everybody else it is always the caller's own.
    pub outside: Option<(u32, u32)>,
    /// The name of that user inside; `None` is the caller's own.
    pub user: Option<String>,
    /// True if the program is an agent, whose programs may be root inside, too. A caller who is
    /// root gives it [`USERS`] users, of which `outside` is the first; for everybody else, root
    /// inside is the same user outside.
    pub rooted: bool,
    /// The folders of the host's system once more, empty and the caller's own, so that root inside
    /// can write in them; only where root is the same user outside.
    pub skeleton: Option<PathBuf>,
    /// Layers that may be missing.
    pub allow_missing: BTreeSet<Layer>,
    /// Names of carriers that are not protected in this run.
    pub allow_carriers: BTreeSet<String>,
    /// Names that are protected besides the listed ones.
    pub protect_carriers: BTreeSet<String>,
}

impl SandboxSpec {
    /// A program that comes as a descriptor, and sees nothing of the host but what is granted: no
    /// system, no network, no file of the working folder.
    pub fn bare(
        command: Vec<OsString>,
        grants: Vec<Grant>,
        workdir: PathBuf,
        limits: Limits,
    ) -> Self {
        Self {
            command,
            given: true,
            workdir,
            workdir_access: None,
            grants,
            files: Vec::new(),
            root: Root::Empty,
            keep: None,
            env: Vec::new(),
            limits,
            network: Network::None,
            tcp_bind: None,
            tcp_connect: None,
            hostname: "casemate".into(),
            name: None,
            terminal: Terminal::Auto,
            report: false,
            identity: None,
            outside: None,
            user: None,
            rooted: false,
            skeleton: None,
            allow_missing: BTreeSet::new(),
            allow_carriers: BTreeSet::new(),
            protect_carriers: BTreeSet::new(),
        }
    }
}
