//! Who asks, and for what.

use std::path::Path;

/// The process that opens a connection.
///
/// Paths are bytes, as the kernel has them. A digest is that of the very file that was executed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subject<'a> {
    /// The executable's path.
    pub executable: &'a [u8],
    /// Its digest, if it's known; an entry with digests doesn't match without it.
    pub sha256: Option<&'a [u8; 32]>,
    /// The script, if the executable is an interpreter that runs one.
    pub script: Option<&'a [u8]>,
    /// The processes that it comes from, the parent first.
    pub ancestors: &'a [Ancestor<'a>],
}

/// A process that the subject descends from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ancestor<'a> {
    /// The executable's path.
    pub executable: &'a [u8],
    /// Its digest, if it's known.
    pub sha256: Option<&'a [u8; 32]>,
    /// The script, if the executable is an interpreter that runs one.
    pub script: Option<&'a [u8]>,
}

impl<'a> Subject<'a> {
    /// A process of which only the executable's path is known.
    pub fn of(executable: &'a Path) -> Self {
        Self {
            executable: executable.as_os_str().as_encoded_bytes(),
            ..Self::default()
        }
    }

    /// The subject itself and all that it descends from: any of them may hold the grant.
    pub(super) fn programs(&self) -> impl Iterator<Item = Ancestor<'a>> + use<'a> {
        let own = Ancestor {
            executable: self.executable,
            sha256: self.sha256,
            script: self.script,
        };
        std::iter::once(own).chain(self.ancestors.iter().copied())
    }
}

/// Where a connection is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// A name in any case, or an address as text; IPv6 with or without brackets.
    pub host: &'a str,
    /// The port.
    pub port: u16,
}
