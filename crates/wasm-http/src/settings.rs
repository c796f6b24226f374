//! How canisters are served.

use std::path::PathBuf;
use std::time::Duration;

/// See the module.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Calls that run at a time, of all canisters: each takes a thread.
    pub calls: usize,
    /// Of these, the most that are one canister's.
    pub calls_of_one: usize,
    /// Calls to one canister that wait for their turn.
    pub waiting: usize,
    /// Bytes of arguments of all calls that wait or run, and as many of requests of sites.
    pub arguments: usize,
    /// Bytes of modules that are received and installed at a time.
    pub modules: usize,
    /// The longest argument of a call and body of a site's request, bytes.
    pub argument: usize,
    /// The longest module, with the argument of its installation, bytes.
    pub module: usize,
    /// Where archives are on their way in and out, in files without a name.
    pub spool: PathBuf,
    /// The longest archive, bytes.
    pub archive: u64,
    /// Archives that are on their way at a time.
    pub archives: usize,
    /// How long an archive may take to arrive or to be read, and a replay to run.
    pub carry: Duration,
    /// How long a call may take if its caller doesn't say.
    pub patience: Duration,
    /// How long it may take at most.
    pub longest: Duration,
    /// How much longer a call is waited for that has to be over: until it says that it was ended.
    pub grace: Duration,
    /// How long a body may take to arrive, and each piece of an archive to be taken or to come.
    pub arrival: Duration,
    /// Who may look at sites.
    pub sites: Sites,
    /// The domain that sites are subdomains of. Without one, every name that begins with `wasm-` is a
    /// site's.
    pub domain: Option<String>,
}

/// Who may look at the sites of canisters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sites {
    /// Everybody, as the ports of sandboxes.
    Public,
    /// Who has a key.
    Keyed,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            calls: 128,
            calls_of_one: 16,
            waiting: 500,
            arguments: 256 << 20,
            modules: 200 << 20,
            argument: 2 << 20,
            module: 100 << 20,
            spool: std::env::temp_dir(),
            archive: 16 << 30,
            archives: 4,
            carry: Duration::from_secs(3600),
            patience: Duration::from_secs(60),
            longest: Duration::from_secs(600),
            grace: Duration::from_secs(2),
            arrival: Duration::from_secs(60),
            sites: Sites::Public,
            domain: None,
        }
    }
}
