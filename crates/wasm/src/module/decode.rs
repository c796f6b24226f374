//! What a user hands in becomes the bytes of a module: packed, text, or already that.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::MultiGzDecoder;

use super::refusal::quoted;
use super::{Limits, Refusal};
use crate::met::Deed;

const GZIP: &[u8] = &[0x1f, 0x8b];
const WASM: &[u8] = b"\0asm";
/// The version that follows in a module; a component has another.
const MODULE: &[u8] = &[1, 0, 0, 0];

/// The module in `bytes`, at most [`Limits::module_bytes`] of it.
///
/// Text is told from binary by its first character that is no space; packed text is fine,
/// and what is packed twice is not.
pub(super) fn decode<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Cow<'a, [u8]>, Refusal> {
    let bytes = if bytes.starts_with(GZIP) {
        Cow::Owned(unpack(bytes, limits.module_bytes)?)
    } else {
        Cow::Borrowed(bytes)
    };
    if bytes.len() > limits.module_bytes {
        return Err(too_large(limits.module_bytes));
    }
    let module = if bytes.starts_with(WASM) {
        bytes
    } else {
        Cow::Owned(parse(&bytes, limits)?)
    };
    if module.len() > limits.module_bytes {
        return Err(too_large(limits.module_bytes));
    }
    is_module(&module)?;
    Ok(module)
}

fn is_module(bytes: &[u8]) -> Result<(), Refusal> {
    match bytes.strip_prefix(WASM) {
        Some(version) if version.starts_with(MODULE) => Ok(()),
        Some(version) if version.get(2) == Some(&1) => Err(Refusal::Component),
        _ => Err(Refusal::NotWasm),
    }
}

fn too_large(limit: usize) -> Refusal {
    Refusal::ModuleTooLarge { limit }
}

fn unpack(packed: &[u8], limit: usize) -> Result<Vec<u8>, Refusal> {
    Deed::Unpacked.note();
    let mut bytes = Vec::new();
    // One byte more than may be shows that there is more.
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    MultiGzDecoder::new(packed)
        .take(most)
        .read_to_end(&mut bytes)
        .map_err(|error| Refusal::Gzip(error.to_string()))?;
    match bytes.len() > limit {
        true => Err(too_large(limit)),
        false => Ok(bytes),
    }
}

fn parse(bytes: &[u8], limits: &Limits) -> Result<Vec<u8>, Refusal> {
    Deed::Parsed.note();
    let text = std::str::from_utf8(bytes).map_err(|_| Refusal::NotWasm)?;
    // A comment begins with `(;` or `;;`.
    if !text.trim_start().starts_with(['(', ';']) {
        return Err(Refusal::NotWasm);
    }
    let limit = limits.text_bytes;
    if bytes.len() > limit {
        return Err(Refusal::TextTooLarge { limit });
    }
    wat::parse_str(text).map_err(|error| Refusal::Text(on_one_line(&error)))
}

/// What is wrong with a text, and where; without the picture of the place.
fn on_one_line(error: &wat::Error) -> String {
    let told = error.to_string();
    let mut lines = told.lines();
    let what = lines.next().unwrap_or_default();
    let place = lines.find_map(|line| line.trim().strip_prefix("--> <anon>:"));
    let what = quoted(what);
    match place {
        Some(place) => format!("at {place}: {what}"),
        None => what,
    }
}

#[cfg(test)]
mod tests;
