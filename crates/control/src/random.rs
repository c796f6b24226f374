//! Ids and secrets: random bytes of the kernel's.

use crate::problem::Problem;
use casemate_core::hex;
use casemate_core::sandbox::{SandboxId, SnapshotId};

/// Random bytes.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], Problem> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| Problem::broken("no random bytes", error.to_string()))?;
    Ok(bytes)
}

/// A secret of 128 bits, in hexadecimal.
pub(crate) fn token() -> Result<String, Problem> {
    Ok(hex::encode(&bytes::<16>()?))
}

/// The id of a new sandbox.
pub(crate) fn sandbox() -> Result<SandboxId, Problem> {
    bytes().map(SandboxId::of)
}

/// The id of a new snapshot.
pub(crate) fn snapshot() -> Result<SnapshotId, Problem> {
    bytes().map(SnapshotId::of)
}

/// A UUID of version 4 (RFC 9562 §5.4).
pub(crate) fn uuid() -> Result<String, Problem> {
    let mut bytes = bytes::<16>()?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text = hex::encode(&bytes);
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| &text[part]);
    Ok(parts.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_says_its_version_and_variant() {
        let uuid = uuid().unwrap();
        assert_eq!(uuid.len(), 36);
        assert_eq!(uuid.as_bytes()[14], b'4');
        assert!(b"89ab".contains(&uuid.as_bytes()[19]), "{uuid}");
    }
}
