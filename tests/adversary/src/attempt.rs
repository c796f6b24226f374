//! What an attempt is, and the three ways it can end.

/// Why an attempt did not cross.
pub(crate) enum Stop {
    /// The attack itself was refused: which call, and with which errno.
    Blocked(String),
    /// Something before the attack went wrong, so its end says nothing about the wall.
    Inconclusive(String),
}

/// The text of `Ok` says what was crossed and how that was verified.
pub(crate) type Verdict = Result<String, Stop>;

/// What the sandbox is started with for an attempt.
#[derive(Clone, Copy)]
pub(crate) enum Setting {
    /// No flags beyond the workspace.
    Plain,
    /// A second directory, shared read-only.
    Shared,
    /// A small memory limit.
    Memory,
    /// A small limit on processes.
    Pids,
    /// A small disk limit; the workspace is read-only, since a host directory has no rootless quota.
    Disk,
    /// Standard input, output and error are the caller's terminal.
    Terminal,
    /// A policy in a network of our own that allows one thing only; see `world`.
    Network,
}

impl Setting {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Setting::Plain => "plain",
            Setting::Shared => "shared",
            Setting::Memory => "memory",
            Setting::Pids => "pids",
            Setting::Disk => "disk",
            Setting::Terminal => "terminal",
            Setting::Network => "network",
        }
    }
}

/// One attack, with what it takes to show that it works where there is no wall.
#[derive(Clone, Copy)]
pub(crate) struct Attempt {
    ident: &'static str,
    pub(crate) tries: &'static str,
    pub(crate) run: fn() -> Verdict,
    root: bool,
    capability: Option<u8>,
    kernel: Option<&'static str>,
    pub(crate) setting: Setting,
}

impl Attempt {
    pub(crate) const fn new(
        ident: &'static str,
        tries: &'static str,
        run: fn() -> Verdict,
    ) -> Self {
        let setting = Setting::Plain;
        Self {
            ident,
            tries,
            run,
            root: false,
            capability: None,
            kernel: None,
            setting,
        }
    }

    /// Outside the wall it succeeds for root only.
    pub(crate) const fn root(mut self) -> Self {
        self.root = true;
        self
    }

    /// Outside the wall it succeeds only with this capability, which the root of a container or of
    /// a rented machine may lack; linux/capability.h.
    pub(crate) const fn capability(mut self, number: u8) -> Self {
        self.capability = Some(number);
        self
    }

    /// Outside the wall it succeeds only on a kernel (or machine) that has `feature`.
    pub(crate) const fn kernel(mut self, feature: &'static str) -> Self {
        self.kernel = Some(feature);
        self
    }

    pub(crate) const fn with(mut self, setting: Setting) -> Self {
        self.setting = setting;
        self
    }

    pub(crate) fn name(&self) -> String {
        self.ident.replace('_', "-")
    }

    /// The needs of the half outside the wall: `root`, `capability:N`, `kernel:FEATURE`.
    pub(crate) fn needs(&self) -> String {
        let root = self.root.then(|| "root".to_owned());
        let capability = self.capability.map(|number| format!("capability:{number}"));
        let kernel = self.kernel.map(|feature| format!("kernel:{feature}"));
        root.into_iter()
            .chain(capability)
            .chain(kernel)
            .collect::<Vec<_>>()
            .join(",")
    }
}

/// linux/capability.h.
pub(crate) const CAP_SYS_RESOURCE: u8 = 24;

/// An attempt named after its function.
macro_rules! attempt {
    ($function:ident, $tries:literal) => {
        $crate::attempt::Attempt::new(stringify!($function), $tries, $function)
    };
}
pub(crate) use attempt;
