//! A secret in memory.

use std::fmt;
use std::sync::Arc;

use casemate_sys::Errno;
use casemate_sys::secret::Kept;

/// Bytes that are in no core dump and no forked process, that are cleared when the last copy is
/// given back, and that nothing prints.
#[derive(Clone)]
pub struct Secret(Arc<Kept>);

impl Secret {
    /// Copies the bytes; the caller clears its own.
    ///
    /// # Errors
    /// There is no memory of this kind.
    pub fn new(bytes: impl AsRef<[u8]>) -> Result<Self, Errno> {
        Ok(Self(Arc::new(Kept::new(bytes.as_ref())?)))
    }

    /// The bytes, to be written to where they belong and nowhere else.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_printed() {
        let secret = Secret::new("hunter2").expect("memory");
        assert_eq!(format!("{secret:?}"), "Secret");
    }
}
