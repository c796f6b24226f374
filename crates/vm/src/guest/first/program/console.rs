//! What this program says: lines on the console, which the host reads.

use crate::call::File;

/// Writes one line; its parts follow each other. Nobody is there to be told if that fails.
pub(crate) fn line(parts: &[&[u8]]) {
    put(b"casemate: first: ");
    parts.iter().for_each(|part| put(part));
    put(b"\n");
    // The machine may be switched off next.
    File::ERRORS.drain();
}

fn put(mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match File::ERRORS.write(bytes) {
            Ok(written) if written > 0 => bytes = bytes.get(written..).unwrap_or_default(),
            _ => return,
        }
    }
}
