//! `--net policy`: between the wall, which hands over connections, and the proxy, which decides.

use crate::credentials::Given;
use crate::observe::ObserveArgs;
use crate::reload::{Files, Watch, Watching};
use crate::state;
use casemate_core::error::{Error, Result};
use casemate_core::report::Connection;
use casemate_core::spec::{Access, EnvRule, Root, SandboxSpec};
use casemate_egress::proxy::{
    Authority, Config, Direct, Inspection, Learning, Opening, Policy, Proxy, Reloading, Sockets,
    Wish,
};
use casemate_identity::{Digests, Identifier, Identity, Scope, Store, Trust};
use casemate_jail::gate::{Attempt, Doors, Gate, Rare};
use casemate_policy::compiled::Compiled;
use casemate_policy::network::{
    Binary, Endpoint, Entry, Middleware, MiddlewareKind, Network, OnError, Protocol, Rego,
};
use casemate_policy::rego::Rules;
use casemate_policy::{Document, Located};
use casemate_sys::Errno;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Everything that is needed to decide, before there is a sandbox.
pub(crate) struct Outlet {
    policy: Option<Arc<Policy>>,
    /// Executables that the policy names.
    named: Vec<PathBuf>,
    /// Whether the sandbox sees the host's files.
    of_host: bool,
    /// Folders that programs inside may write to.
    writable: Vec<PathBuf>,
    observe: ObserveArgs,
    /// The policy as it was read, and where.
    document: Document,
    path: PathBuf,
    files: Files,
    name: Option<String>,
    aloud: bool,
    authority: Arc<Authority>,
    credentials: Given,
    /// Programs inside can trust it.
    shows_authority: bool,
    lends: bool,
    /// Whether what the policy doesn't allow is let through.
    learns: bool,
    /// Whether its policy is one that somebody hands over, and not a file.
    is_handed: bool,
    connections: Option<usize>,
    bandwidth: Option<u64>,
    proxy: Option<Proxy>,
    watching: Option<Watching>,
}

impl Outlet {
    /// Compiles the policy.
    pub(crate) fn new(
        (document, path): (&Document, PathBuf),
        spec: &mut SandboxSpec,
        credentials: Given,
        observe: ObserveArgs,
        aloud: bool,
    ) -> Result<Self> {
        let authority = Arc::new(Authority::new()?);
        let of_host = spec.root == Root::Host;
        // A changed policy may be the first to inspect, and a program that runs can't be told of
        // an authority. Another root has its own, which aren't replaced without a reason.
        let shows_authority = of_host || is_inspecting(document);
        if shows_authority {
            show_authority(&authority, spec);
        }
        let files = Files::of(document);
        let policy = Arc::new(compile(document, of_host)?);
        let network = seen(document, of_host);
        let named = exact(&network).collect();
        let writable = spec
            .grants
            .iter()
            .filter(|grant| grant.access == Access::ReadWrite);
        let writable = writable.map(|grant| grant.path.clone());
        let workdir =
            (spec.workdir_access == Some(Access::ReadWrite)).then(|| spec.workdir.clone());
        Ok(Self {
            policy: Some(policy),
            named,
            of_host,
            writable: writable.chain(workdir).chain(spec.keep.clone()).collect(),
            observe,
            document: document.clone(),
            path,
            files,
            name: spec.name.clone(),
            aloud,
            authority,
            credentials,
            shows_authority,
            lends: has_plain_endpoints(&network) && casemate_sys::socket::own_network().is_ok(),
            learns: false,
            is_handed: false,
            connections: None,
            bandwidth: None,
            proxy: None,
            watching: None,
        })
    }

    /// Lets through what the policy doesn't allow, to be written down.
    pub(crate) fn learn(&mut self, learning: Arc<Learning>, spec: &mut SandboxSpec) {
        if learning.inspects() && !self.shows_authority {
            show_authority(&self.authority, spec);
            self.shows_authority = true;
        }
        if let Some(policy) = self.policy.as_mut().and_then(Arc::get_mut) {
            policy.learning = Some(learning);
        }
        self.learns = true;
    }

    /// The policy is this one. It comes from no file, and changes only when somebody says so: to
    /// another one of any kind, so that what any of them may need is there.
    pub(crate) fn handed(mut self, policy: Policy, spec: &mut SandboxSpec) -> Self {
        if !self.shows_authority {
            show_authority(&self.authority, spec);
            self.shows_authority = true;
        }
        let is_open = policy.open.is_some();
        self.lends |= is_open && casemate_sys::socket::own_network().is_ok();
        self.policy = Some(Arc::new(policy));
        self.is_handed = true;
        self
    }

    /// So many connections at one time, and so many bytes a second each way.
    pub(crate) fn limited(mut self, connections: Option<usize>, bandwidth: Option<u64>) -> Self {
        (self.connections, self.bandwidth) = (connections, bandwidth);
        // Bytes of connections that programs have themselves can't be held back.
        self.lends &= bandwidth.is_none();
        self
    }

    /// Puts other policies in force, once the sandbox is up.
    pub(crate) fn reloading(&self) -> Option<Reloading> {
        self.proxy.as_ref().map(Proxy::reloading)
    }

    /// Sees to it that a policy that changes is put in force. What is learnt is learnt besides the
    /// policy as it was.
    fn watch(&mut self, proxy: &Proxy) -> Result<()> {
        if self.learns || self.is_handed {
            return Ok(());
        }
        let (of_host, shows_authority) = (self.of_host, self.shows_authority);
        let credentials = self.credentials.clone();
        let watch = Watch {
            path: self.path.clone(),
            writable: self.writable.clone(),
            reloading: proxy.reloading(),
            compile: Box::new(move |document| {
                if !shows_authority && is_inspecting(document) {
                    return Err(untrusted());
                }
                credentials.check(document)?;
                compile(document, of_host)
            }),
            on_invalid: self.observe.on_invalid(),
            notes: self.aloud,
        };
        self.watching = watch.start(&self.document, self.files.clone())?;
        Ok(())
    }
}

/// Identifies the processes below this init.
pub(crate) fn identifier(init: i32, of_host: bool, writable: Vec<PathBuf>) -> Result<Identifier> {
    let store = state::folder().ok_or_else(|| {
        Error::rule(
            "find where trusted programs are remembered",
            "HOME is not an absolute path",
        )
        .hint("set HOME or XDG_STATE_HOME")
    })?;
    let store = Store::open(&store.join("identity.sqlite"))?;
    let scope = move |path: &[u8], device: u64| scope(of_host, &writable, path, device);
    let (trust, digests) = (Arc::new(Trust::stored(store)), Arc::new(Digests::new()));
    Identifier::new(init, trust, digests, scope)
}

impl Gate for Outlet {
    fn lends(&self) -> bool {
        self.lends
    }

    fn open(&mut self, doors: Doors) -> Result<()> {
        self.credentials.hide()?;
        let Some(policy) = self.policy.take() else {
            return Err(Error::rule(
                "open the sandbox's network",
                "it was opened already",
            ));
        };
        let (phases, scrape) = self.observe.phases(self.name.as_deref())?;
        let identifier = identifier(doors.init, self.of_host, self.writable.clone())?;
        let identifier = Arc::new(phases.timing(identifier));
        // It ends by itself, and nobody waits for it.
        let _ = identifier.prehash(std::mem::take(&mut self.named));
        let mut journal = self.observe.journal(self.name.clone())?;
        if self.aloud {
            journal = journal.aloud();
        }
        let mut inspection = Inspection::new(Arc::clone(&self.authority));
        inspection.credentials = Arc::clone(&self.credentials.store);
        let config = Config {
            policy,
            identifier,
            journal,
            inspection,
            gateway: None,
            lends: self.lends,
            connections: self.connections,
            bandwidth: self.bandwidth,
            phases,
            scrape,
        };
        let (mut families, mut fresh) = (Vec::new(), Vec::new());
        for door in doors.families {
            families.push((door.family, door.connections, door.dns_streams, door.dns));
            fresh.push(door.fresh);
        }
        let sockets = Sockets {
            families,
            fresh,
            diag: doors.diag,
            init: doors.init,
        };
        let proxy = Proxy::start(config, sockets)?;
        self.watch(&proxy)?;
        self.proxy = Some(proxy);
        Ok(())
    }

    fn attempt(&mut self, attempt: Attempt) {
        let Some(proxy) = &self.proxy else { return };
        match proxy.identify_warm(attempt.thread) {
            // Neither waits.
            Some(identity) if attempt.nonblocking && proxy.keeps_up() => {
                relay(&proxy.opening(), attempt, identity);
            }
            Some(identity) => match direct(&proxy.opening(), &attempt, &identity) {
                Some(direct) if direct.is_connected() => {
                    if let Some(attempt) = hand_over(direct, attempt) {
                        proxy
                            .spawn_blocking(move |opening| relay_later(opening, attempt, identity));
                    }
                }
                Some(direct) => proxy.spawn_blocking(move |opening| {
                    if let Some(attempt) = hand_over(direct, attempt) {
                        relay_later(opening, attempt, identity);
                    }
                }),
                None => {
                    proxy.spawn_blocking(move |opening| relay_later(opening, attempt, identity))
                }
            },
            None => proxy.spawn_blocking(move |opening| match opening.identify(attempt.thread) {
                Ok(identity) => {
                    let left = match direct(opening, &attempt, &identity) {
                        Some(direct) => hand_over(direct, attempt),
                        None => Some(attempt),
                    };
                    if let Some(attempt) = left {
                        relay_later(opening, attempt, identity);
                    }
                }
                Err(refusal) => {
                    opening.refused(&refusal, attempt.address);
                    attempt.answer(Err(Errno::ACCESS));
                }
            }),
        }
    }

    fn note(&mut self, rare: Rare) {
        match (&self.proxy, rare) {
            (Some(proxy), Rare::Option(level, name)) => proxy.note_option(level, name),
            (Some(proxy), Rare::Epoll) => proxy.note_epoll(),
            (None, _) => {}
        }
    }

    fn close(&mut self) -> Vec<Connection> {
        self.watching = None;
        self.proxy
            .take()
            .map(|mut proxy| proxy.finish())
            .unwrap_or_default()
    }
}

/// Begins a connection for the program to have itself, if it is one of those.
fn direct(opening: &Opening, attempt: &Attempt, identity: &Arc<Identity>) -> Option<Direct> {
    (!attempt.nonblocking && attempt.is_waiting())
        .then(|| opening.direct(identity, wish(attempt)))
        .flatten()
}

fn wish(attempt: &Attempt) -> Wish<'_> {
    Wish {
        number: attempt.number,
        socket: attempt.as_fd(),
        network: attempt.network,
        to: attempt.address,
    }
}

/// Puts it in the place of the program's socket. If that is no longer what it was, the attempt
/// comes back, to be relayed.
fn hand_over(mut direct: Direct, attempt: Attempt) -> Option<Attempt> {
    if let Err(errno) = direct.wait(|| attempt.is_waiting()) {
        attempt.answer(Err(errno));
        return None;
    }
    if !direct.is_like(wish(&attempt)) {
        return Some(attempt);
    }
    // Not if the program no longer waits.
    if let Ok(replaced) = attempt.install(direct.as_fd()) {
        direct.installed(replaced);
    }
    None
}

/// Lets the program's socket go to the proxy, which decides.
fn relay(opening: &Opening, attempt: Attempt, identity: Arc<Identity>) {
    // Its id was the caller's for as long as it waits, so it was while it was identified.
    if !attempt.is_waiting() {
        return;
    }
    let result = opening.connect(identity, &attempt, attempt.address, || attempt.connect());
    attempt.answer(result);
}

/// The same, when those before it are served.
fn relay_later(opening: &Opening, attempt: Attempt, identity: Arc<Identity>) {
    opening.hold_back();
    relay(opening, attempt, identity);
}

/// The policy that allows nothing.
pub(crate) fn nothing() -> Result<Policy> {
    compile(&Document::default(), false)
}

/// The network section as a sandbox has it.
fn seen(document: &Document, of_host: bool) -> Network {
    let mut network = document.network.clone();
    if of_host {
        follow_links(&mut network);
    }
    network
}

/// Requests that would have to pass a middleware that isn't here, or isn't asked, don't leave.
fn check_middlewares(document: &Document) -> Result<()> {
    let needed = |own: &&Middleware| own.on_error == OnError::FailClosed;
    for own in document.network_middlewares.iter().filter(needed) {
        if let MiddlewareKind::Unknown(kind) = &own.kind {
            let why = format!("there is no middleware `{kind}`, and this one may not be left out");
            return Err(Error::rule("apply a middleware", why)
                .on(document.at(own.key.position))
                .hint("`on_error: fail_open` accepts running without it"));
        }
        let entries = document.network.entries.iter();
        let endpoints = entries.flat_map(|entry| &entry.endpoints);
        let unseen = endpoints.filter(|endpoint| !endpoint.needs_inspection());
        let selected = |host: &Located<String>| own.selects(&host.value);
        let passed_by = unseen.map(|endpoint| (endpoint, endpoint.host.as_ref()));
        let passed_by = passed_by.filter(|(_, host)| host.is_some_and(selected));
        if let Some((endpoint, _)) = { passed_by }.next() {
            let why = format!(
                "middleware_required: `{}` is for this endpoint, and nothing looks at what is said there",
                own.key.value
            );
            return Err(Error::rule("apply a middleware", why)
                .on(document.at(endpoint.position))
                .hint("say `protocol: rest` with rules, or `exclude` the host"));
        }
    }
    Ok(())
}

/// What a document says of the network, ready to be asked.
pub(crate) fn compile(document: &Document, of_host: bool) -> Result<Policy> {
    check_middlewares(document)?;
    let network = &seen(document, of_host);
    let refused = |position, message: String| {
        Error::rule("compile the policy", message).on(document.at(position))
    };
    let compiled = Compiled::new(network)
        .map_err(|error| refused(error.position, error.message.clone()).hint(error.hint))?;
    let rules = match &network.rego {
        None => None,
        Some(rego) => {
            let (name, text) = match &rego.value {
                Rego::Inline(text) => (document.name().to_owned(), text.clone()),
                Rego::File(path) => {
                    let text = std::fs::read_to_string(path).map_err(|error| {
                        Error::io("read the policy's rules", &error).on(path.display())
                    })?;
                    (path.display().to_string(), text)
                }
            };
            let rules = Rules::new(&name, &text);
            Some(rules.map_err(|error| refused(rego.position, error.to_string()))?)
        }
    };
    Ok(Policy {
        compiled,
        rules,
        learning: None,
        middlewares: document.network_middlewares.clone(),
        open: None,
    })
}

/// Why a running sandbox with a root of its own can't begin to be inspected.
fn untrusted() -> Error {
    Error::rule(
        "inspect connections",
        "no endpoint was inspected when the program started, so it doesn't trust the authority \
         that this takes",
    )
    .hint("start it anew")
}

/// Whether any connection is looked into.
pub(crate) fn is_inspecting(document: &Document) -> bool {
    document.network.entries.iter().any(may_be_inspected)
}

fn may_be_inspected(entry: &Entry) -> bool {
    entry.endpoints.iter().any(Endpoint::needs_inspection)
}

/// Where most distributions have the host's roots.
const ROOTS: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// The certificates that this host trusts, as PEM.
pub(crate) fn host_roots() -> String {
    let mut texts = ROOTS.iter().map(std::fs::read_to_string);
    texts.find_map(Result::ok).unwrap_or_default()
}

const CERTIFICATE: &str = "/etc/casemate/ca.pem";
const BUNDLE: &str = "/etc/casemate/ca-bundle.pem";
/// Variables that name a file with all roots.
const BUNDLE_VARIABLES: [&str; 5] = [
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "GIT_SSL_CAINFO",
];
/// Variables that name a file with roots besides the program's own.
const CERTIFICATE_VARIABLES: [&str; 2] = ["NODE_EXTRA_CA_CERTS", "DENO_CERT"];

/// Lets the program trust what the proxy signs, besides what this host trusts. A variable that
/// the caller sets by name stays as it is.
fn show_authority(authority: &Authority, spec: &mut SandboxSpec) {
    // Some hundred kilobytes, for each sandbox: nothing is copied that needn't be.
    let mut bundle = host_roots();
    bundle.reserve_exact(authority.pem().len() + 1);
    bundle.push('\n');
    bundle.push_str(authority.pem());
    spec.files
        .push((CERTIFICATE.into(), authority.pem().to_owned()));
    spec.files.push((BUNDLE.into(), bundle));
    let bundles = BUNDLE_VARIABLES.map(|name| (name, BUNDLE));
    let own = CERTIFICATE_VARIABLES.map(|name| (name, CERTIFICATE));
    let rules = bundles.into_iter().chain(own);
    let rules = rules.map(|(name, value)| EnvRule::Set(name.into(), value.into()));
    // The caller's rules come after these, so that they win.
    spec.env.splice(0..0, rules);
}

/// Whether anything could take the fast path.
fn has_plain_endpoints(network: &Network) -> bool {
    let mut endpoints = network.entries.iter().flat_map(|entry| &entry.endpoints);
    endpoints.any(|endpoint| matches!(endpoint.protocol, Protocol::Tcp | Protocol::Any))
}

/// Names of links stand for what they lead to, too: the kernel knows a program by its file.
fn follow_links(network: &mut Network) {
    for entry in &mut network.entries {
        let linked: Vec<Binary> = entry
            .binaries
            .iter()
            .filter_map(|binary| {
                let path = Path::new(&binary.path.value);
                let real = std::fs::canonicalize(path)
                    .ok()
                    .filter(|real| real != path)?;
                let mut linked = binary.clone();
                linked.path.value = real.to_str()?.to_owned();
                Some(linked)
            })
            .collect();
        entry.binaries.extend(linked);
    }
}

/// The files that the policy names.
fn exact(network: &Network) -> impl Iterator<Item = PathBuf> {
    let binaries = network.entries.iter().flat_map(|entry| &entry.binaries);
    let exact = binaries.filter(|binary| !binary.path.value.contains('*'));
    exact.map(|binary| PathBuf::from(&binary.path.value))
}

/// A file of the host is the same in all sandboxes; what this one's programs can write is not.
fn scope(of_host: bool, writable: &[PathBuf], path: &[u8], device: u64) -> Scope {
    let path = Path::new(std::ffi::OsStr::from_bytes(path));
    if !of_host || writable.iter().any(|folder| path.starts_with(folder)) {
        return Scope::Private;
    }
    match std::fs::metadata(path) {
        Ok(meta) if meta.dev() == device => Scope::Host,
        _ => Scope::Private,
    }
}
