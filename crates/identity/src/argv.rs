//! The arguments of a process: hostile bytes, of which a bounded part is kept.

use crate::process::Process;
use crate::refusal::Refusal;
use std::fmt;

/// As much as is read. An argument list may have megabytes (execve(2)).
const MOST: usize = 16 << 10;

/// Arguments as the process shows them now (proc_pid_cmdline(5)). They lie in its own memory, so
/// they are what it says of itself, and nothing more.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Argv {
    bytes: Box<[u8]>,
    /// There are more than were kept; the last one is cut.
    pub cut: bool,
}

impl Argv {
    pub(crate) fn of(process: &Process) -> Result<Self, Refusal> {
        let mut bytes = [0; MOST];
        let read = process.read("cmdline", &mut bytes)?;
        Ok(Self::from_bytes(read, read.len() == MOST))
    }

    /// Arguments that each end in a NUL byte.
    pub(crate) fn from_bytes(bytes: &[u8], cut: bool) -> Self {
        // A process that writes over its arguments may leave out the last end.
        let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes).into();
        Self { bytes, cut }
    }

    /// One by one, the program's name first. There may be none.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let all = (!self.bytes.is_empty()).then(|| self.bytes.split(|byte| *byte == 0));
        all.into_iter().flatten()
    }
}

impl fmt::Debug for Argv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self
            .iter()
            .map(|argument| argument.escape_ascii().to_string());
        f.debug_list().entries(shown).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::Argv;

    #[test]
    fn arguments_with_and_without_an_end() {
        let of = |bytes: &[u8]| -> Vec<Vec<u8>> {
            let argv = Argv::from_bytes(bytes, false);
            argv.iter().map(<[u8]>::to_vec).collect()
        };
        assert_eq!(of(b""), Vec::<Vec<u8>>::new());
        assert_eq!(of(b"a\0b\0"), [b"a", b"b"]);
        assert_eq!(of(b"a\0b"), [b"a", b"b"]);
        assert_eq!(of(b"a\0\0\xff\0"), [&b"a"[..], b"", b"\xff"]);
    }
}
