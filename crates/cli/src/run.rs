//! `casemate run`.

use crate::credentials::CredentialArgs;
use crate::egress::Outlet;
use crate::observe::ObserveArgs;
use crate::report_file::ReportFile;
use crate::vm::{ImageArgs, Once, Wall};
use crate::{policy, printer};
use casemate_core::error::{Error, Result};
use casemate_core::exit::Failure;
use casemate_core::layer::Layer;
use casemate_core::limits::{ByteSize, Limit, Limits, MilliCpus, parse_duration};
use casemate_core::sandbox::{Outward, Resources};
use casemate_core::spec::{Access, EnvRule, Grant, Network, Root, SandboxSpec, Terminal};
use casemate_egress::proxy::Learning;
use casemate_jail::Plan;
use casemate_jail::gate::Gate;
use casemate_policy::Document;
use clap::{Args, ValueEnum};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// The host name inside, unless another one is given.
const HOSTNAME: &str = "casemate";

// The flags of `casemate run`.
#[derive(Args)]
#[command(
    after_help = "Exit codes: the program's own; 128+N for signal N; 120 memory, 121 processes, 122 disk,\n\
    124 time limit reached; 125 Casemate failed; 126 not executable; 127 not found."
)]
pub(crate) struct RunArgs {
    /// What it runs behind
    #[arg(long, value_name = "WALL", value_enum, default_value_t = Wall::Process)]
    wall: Wall,
    #[command(flatten)]
    images: ImageArgs,
    /// Apply a policy's filesystem_policy, landlock and process sections
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    #[command(flatten)]
    reading: policy::Reading,
    /// Bring a host path in, read-only
    #[arg(long, value_name = "PATH")]
    ro: Vec<PathBuf>,
    /// Bring a host path in, writable
    #[arg(long, value_name = "PATH")]
    rw: Vec<PathBuf>,
    /// Cover a path with nothing
    #[arg(long, value_name = "PATH")]
    hide: Vec<PathBuf>,
    /// The working folder, writable at the same path [default: the current one]
    #[arg(long, value_name = "DIR")]
    workdir: Option<PathBuf>,
    /// Set a variable, or pass the caller's
    #[arg(long, value_name = "K=V|K")]
    env: Vec<OsString>,
    /// Memory of all processes together [default: half of the machine's]
    #[arg(long, value_name = "SIZE")]
    memory: Option<ByteSize>,
    /// CPU bandwidth, such as 1.5
    #[arg(long, value_name = "N")]
    cpus: Option<MilliCpus>,
    /// Processes and threads at one time [default: 2048]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..4_000_000))]
    pids: Option<u32>,
    /// Wall time, such as 30s or 5m
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    time: Option<Duration>,
    /// Size of /tmp, home and the other private folders together [default: an eighth of memory]
    #[arg(long, value_name = "SIZE")]
    disk: Option<ByteSize>,
    /// The network
    #[arg(long, value_name = "NET", value_enum)]
    net: Option<Net>,
    /// TCP ports that the program may connect to (Landlock ABI 4)
    #[arg(long, value_name = "PORT", value_delimiter = ',')]
    tcp_connect: Option<Vec<u16>>,
    /// TCP ports that the program may bind (Landlock ABI 4)
    #[arg(long, value_name = "PORT", value_delimiter = ',')]
    tcp_bind: Option<Vec<u16>>,
    /// Use a folder or a tar file as the root file system, copy-on-write
    #[arg(long, value_name = "DIR|TAR")]
    root: Option<PathBuf>,
    /// Keep the writes of --root in this folder
    #[arg(long, value_name = "DIR", requires = "root")]
    keep: Option<PathBuf>,
    /// The host name inside
    #[arg(long, value_name = "H", default_value = HOSTNAME, value_parser = hostname)]
    hostname: String,
    /// Make a pseudo-terminal for all three streams
    #[arg(short = 't', overrides_with = "no_tty")]
    tty: bool,
    /// Make no pseudo-terminal; a terminal becomes a pipe
    #[arg(short = 'T', overrides_with = "tty")]
    no_tty: bool,
    /// Write a report as JSON; - is standard output
    #[arg(long, value_name = "FILE|-")]
    report: Option<PathBuf>,
    /// A name for the report
    #[arg(long, value_name = "N")]
    name: Option<String>,
    /// Leave a name in the workspace unprotected, such as .vscode
    #[arg(long, value_name = "NAME")]
    allow_carrier: Vec<String>,
    /// Run without a layer that this machine lacks
    #[arg(long, value_name = "LAYER")]
    allow_missing: Vec<Layer>,
    /// Don't print notes
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    credentials: CredentialArgs,
    #[command(flatten)]
    observe: ObserveArgs,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Net {
    /// Nothing but a loopback interface
    None,
    /// The host's, unguarded
    Host,
    /// What the policy allows [default with a policy that has network_policies]
    Policy,
}

/// Runs the program; the exit code is its own, or says why there is none.
pub(crate) fn run(args: RunArgs) -> ExitCode {
    if args.wall == Wall::Vm {
        let ended = args.in_machine().map_err(Failure::from);
        return ended.and_then(Once::run).unwrap_or_else(|failure| {
            printer::error(&failure.error.to_string());
            ExitCode::from(failure.code)
        });
    }
    match attempt(args, None) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            printer::error(&failure.error.to_string());
            ExitCode::from(failure.code)
        }
    }
}

impl RunArgs {
    /// The policy to extend with what is learnt, and how it's read.
    pub(crate) fn base(&self) -> Option<(&Path, &policy::Reading)> {
        Some((self.policy.as_deref()?, &self.reading))
    }

    /// Sees to it that there is something to learn.
    pub(crate) fn for_learning(mut self) -> Result<Self> {
        match self.net.replace(Net::Policy) {
            None | Some(Net::Policy) => Ok(self),
            Some(_) => Err(
                Error::rule("use --net", "what is learnt is what a policy would allow")
                    .hint("leave it out"),
            ),
        }
    }

    /// The same in a machine. Nothing of what was asked for is left out in silence.
    fn in_machine(self) -> Result<Once> {
        let absent = [
            ("--policy", self.policy.is_some()),
            ("--ro", !self.ro.is_empty()),
            ("--rw", !self.rw.is_empty()),
            ("--hide", !self.hide.is_empty()),
            ("--workdir", self.workdir.is_some()),
            ("--pids", self.pids.is_some()),
            ("--net", matches!(self.net, Some(Net::Host | Net::Policy))),
            ("--tcp-connect", self.tcp_connect.is_some()),
            ("--tcp-bind", self.tcp_bind.is_some()),
            ("--root", self.root.is_some()),
            ("--report", self.report.is_some()),
            ("--allow-missing", !self.allow_missing.is_empty()),
            ("--allow-carrier", !self.allow_carrier.is_empty()),
            ("--disk", self.disk.is_some()),
            ("--hostname", self.hostname != HOSTNAME),
            ("--name", self.name.is_some()),
            ("a credential", self.credentials.asks()),
            (
                self.observe.asks().unwrap_or_default(),
                self.observe.asks().is_some(),
            ),
        ];
        if let Some((flag, _)) = absent.into_iter().find(|(_, is_given)| *is_given) {
            return Err(Error::rule(
                format!("use {flag}"),
                "a virtual machine doesn't have it yet",
            )
            .hint("leave it out, or run without --wall vm"));
        }
        let text = |word: OsString| {
            word.into_string().map_err(|word| {
                Error::rule("run in a virtual machine", "it is not UTF-8").on(word.display())
            })
        };
        let mut environment = BTreeMap::new();
        for rule in self.env.iter().map(environment_rule) {
            let (name, value) = match rule? {
                EnvRule::Set(name, value) => (name, Some(value)),
                EnvRule::Pass(name) => {
                    let value = std::env::var_os(&name);
                    (name, value)
                }
            };
            if let Some(value) = value {
                environment.insert(text(name)?, text(value)?);
            }
        }
        let default = Resources::default();
        let cpus = self.cpus.map(|cpus| cpus.0.div_ceil(1000));
        let terminals = [
            std::io::stdin().is_terminal(),
            std::io::stdout().is_terminal(),
        ];
        Ok(Once {
            command: self.command.into_iter().map(text).collect::<Result<_>>()?,
            environment,
            resources: Resources {
                cpus: cpus.unwrap_or(default.cpus),
                memory: self.memory.map_or(default.memory, |memory| memory.0),
                ..default
            },
            network: Outward::default(),
            time: self.time,
            tty: self.tty || (!self.no_tty && terminals == [true, true]),
            images: self.images,
        })
    }

    /// The program as it was given.
    pub(crate) fn program(&self) -> &OsStr {
        self.command.first().map_or(OsStr::new(""), |word| word)
    }
}

/// Runs the program, and lets through what the policy doesn't allow.
pub(crate) fn learn(args: RunArgs, learning: Arc<Learning>) -> Result<u8, Failure> {
    attempt(args, Some(learning))
}

fn attempt(args: RunArgs, learning: Option<Arc<Learning>>) -> Result<u8, Failure> {
    let (report, quiet, observe) = (args.report.clone(), args.quiet, args.observe.clone());
    let policy = args.policy.clone();
    let credentials = args.credentials.clone();
    let (mut spec, mut notes, document) = specification(args)?;
    // Without a policy, all of it is learnt.
    let document = document.or_else(|| learning.is_some().then(Document::default));
    let (given, told) = credentials.give(&mut spec, document.as_ref())?;
    notes.extend(told);
    let mut outlet = match (spec.network, &document) {
        (Network::Policy, Some(document)) => {
            let path = policy.unwrap_or_default();
            let policy = (document, path);
            let mut outlet = Outlet::new(policy, &mut spec, given, observe, !quiet)?;
            if let Some(learning) = learning {
                outlet.learn(learning, &mut spec);
            }
            Some(outlet)
        }
        (Network::Policy, None) => {
            return Err(Error::rule("use --net policy", "there is no policy")
                .hint("give one with --policy FILE")
                .into());
        }
        _ => match observe.asks() {
            Some(flag) => {
                return Err(
                    Error::rule(format!("use {flag}"), "no proxy is needed for this run")
                        .hint("it comes with --net policy, or a policy that has network_policies")
                        .into(),
                );
            }
            None => None,
        },
    };
    let plan = Plan::new(spec)?;
    if !quiet {
        notes
            .iter()
            .chain(plan.notes())
            .for_each(|note| printer::note(note));
    }
    let report = report.map(|path| ReportFile::open(&path)).transpose()?;
    let finished =
        match casemate_jail::run(&plan, outlet.as_mut().map(|outlet| outlet as &mut dyn Gate)) {
            Ok(finished) => finished,
            Err(failure) => {
                if let Some(file) = report {
                    file.discard();
                }
                return Err(failure);
            }
        };
    finished
        .remarks
        .iter()
        .for_each(|remark| printer::line(remark));
    if let (Some(file), Some(document)) = (report, &finished.report) {
        file.write(document)?;
    }
    Ok(finished.outcome.code())
}

/// The specification, what should be said about it, and the policy.
fn specification(args: RunArgs) -> Result<(SandboxSpec, Vec<String>, Option<Document>)> {
    let cwd = std::env::current_dir().map_err(|error| {
        Error::io("find the current folder", &error).hint("change to a folder that exists")
    })?;
    let mut grants = Vec::new();
    for (flag, access, paths) in [
        ("--ro", Access::ReadOnly, &args.ro),
        ("--rw", Access::ReadWrite, &args.rw),
        ("--hide", Access::Hidden, &args.hide),
    ] {
        for path in paths {
            grants.push(Grant {
                path: absolute(flag, path, &cwd)?,
                access,
                origin: flag.into(),
                required: true,
                or_fresh: false,
            });
        }
    }
    let path = |flag: &str, path: &Option<PathBuf>| {
        path.as_ref()
            .map(|path| absolute(flag, path, &cwd))
            .transpose()
    };
    let root = match path("--root", &args.root)? {
        None => Root::Host,
        Some(path) if path.is_dir() => Root::Directory(path),
        Some(path) => Root::Archive(path),
    };
    let mut spec = SandboxSpec {
        workdir: path("--workdir", &args.workdir)?.unwrap_or_else(|| cwd.clone()),
        workdir_access: Some(Access::ReadWrite),
        grants,
        files: Vec::new(),
        keep: path("--keep", &args.keep)?,
        root,
        env: args
            .env
            .iter()
            .map(environment_rule)
            .collect::<Result<_>>()?,
        limits: limits(&args),
        network: match args.net {
            None | Some(Net::None) => Network::None,
            Some(Net::Host) => Network::Host,
            Some(Net::Policy) => Network::Policy,
        },
        tcp_bind: args.tcp_bind,
        tcp_connect: args.tcp_connect,
        hostname: args.hostname,
        name: args.name,
        terminal: match (args.tty, args.no_tty) {
            (true, _) => Terminal::Always,
            (_, true) => Terminal::Never,
            _ => Terminal::Auto,
        },
        report: args.report.is_some(),
        identity: None,
        outside: None,
        user: None,
        allow_missing: args.allow_missing.into_iter().collect(),
        allow_carriers: args.allow_carrier.into_iter().collect(),
        rooted: false,
        skeleton: None,
        protect_carriers: BTreeSet::new(),
        command: args.command,
        given: false,
    };
    let Some(path) = &args.policy else {
        return Ok((spec, Vec::new(), None));
    };
    // The policy's error names the file, line and column of each problem by itself.
    let document = Document::load_with(path, args.reading.options())
        .map_err(|error| Error::rule("apply the policy", format!("\n{error}")))?;
    if args.net.is_none() && !document.network.entries.is_empty() {
        spec.network = Network::Policy;
    }
    let mut notes = policy::warnings(&document, path);
    notes.extend(policy::apply(&document, &mut spec));
    if spec.workdir_access.is_none() && args.workdir.is_some() {
        spec.workdir_access = Some(Access::ReadWrite);
    }
    Ok((spec, notes, Some(document)))
}

fn limits(args: &RunArgs) -> Limits {
    let defaults = Limits::defaults(machine_memory());
    let disk = Limit::new(args.disk, defaults.disk.value);
    Limits {
        memory: Limit::new(args.memory, defaults.memory.value),
        pids: Limit::new(args.pids, defaults.pids.value),
        inodes: Limits::inodes_for(disk.value),
        disk,
        cpus: args.cpus,
        time: args.time,
        ..defaults
    }
}

/// What this machine has.
pub(crate) fn machine_memory() -> ByteSize {
    let info = rustix::system::sysinfo();
    ByteSize(info.totalram as u64 * u64::from(info.mem_unit))
}

/// An absolute path without `..`, which means different things on both sides of a link.
pub(crate) fn absolute(flag: &str, path: &Path, cwd: &Path) -> Result<PathBuf> {
    let refuse = |why: &str| Error::rule(format!("use {flag}"), why).on(path.display());
    if path.as_os_str().is_empty() {
        return Err(refuse("the path is empty"));
    }
    if path.to_str().is_none() {
        return Err(refuse("the path is not UTF-8"));
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(refuse("the path has a `..` in it").hint("give the path that it means"));
    }
    let joined = cwd.join(path);
    // `./x` and `x/.` are x.
    Ok(joined
        .components()
        .filter(|part| *part != Component::CurDir)
        .collect())
}

pub(crate) fn environment_rule(text: &OsString) -> Result<EnvRule> {
    let bytes = text.as_bytes();
    let (name, value) = match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) => (&bytes[..at], Some(&bytes[at + 1..])),
        None => (bytes, None),
    };
    if name.is_empty() {
        return Err(Error::rule("use --env", "the name is empty")
            .on(text.display())
            .hint("--env NAME=VALUE sets, --env NAME passes"));
    }
    let own = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    Ok(match value {
        Some(value) => EnvRule::Set(own(name), own(value)),
        None => EnvRule::Pass(own(name)),
    })
}

/// A host name by the letters of hostname(7).
fn hostname(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let fits =
        (1..=64).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with(['-', '.']);
    fits.then(|| text.to_owned())
        .ok_or_else(|| "expected up to 64 letters, digits, hyphens and dots".into())
}
