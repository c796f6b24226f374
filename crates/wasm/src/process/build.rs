//! Which build of a program runs.

use casemate_core::error::{Error, Result};
use casemate_sys::wasm::image;
use sha2::{Digest, Sha256};
use std::io::Read;
use std::sync::OnceLock;

/// A hash of the linker's note, or, if it left none, of the program's contents.
///
/// Inode, length and time are not enough: a program that is built again in place has the same name,
/// and may have all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuildId(pub [u8; 32]);

impl BuildId {
    /// This process's.
    ///
    /// # Errors
    /// There is no note, and the program can't be read.
    pub fn own() -> Result<Self> {
        static OWN: OnceLock<BuildId> = OnceLock::new();
        if let Some(own) = OWN.get() {
            return Ok(*own);
        }
        let hash = match image::build_id() {
            Some(note) => Sha256::new().chain_update(b"note").chain_update(note),
            None => contents()?,
        };
        Ok(*OWN.get_or_init(|| Self(hash.finalize().into())))
    }
}

fn contents() -> Result<Sha256> {
    let path = "/proc/self/exe";
    let fail = |error| Error::io("read", &error).on(path);
    let mut hash = Sha256::new().chain_update(b"contents");
    let mut file = std::fs::File::open(path).map_err(fail)?;
    let mut bytes = vec![0; 1 << 16];
    loop {
        match file.read(&mut bytes).map_err(fail)? {
            0 => return Ok(hash),
            count => hash.update(&bytes[..count]),
        }
    }
}
