//! The agent's routes that are the node's alone.

use super::query::decoded;

/// First segments of their paths.
const ROUTES: [&[u8]; 7] = [
    b"init",
    b"freeze",
    b"unfreeze",
    b"collapse",
    b"fsfreeze",
    b"fsthaw",
    b"upgrade",
];

/// True if a path is one of theirs, however it's spelt: another router than today's could be of
/// another opinion about `//init`, `/%69nit` or `/x/../Init`.
pub(crate) fn is_internal(path: &str) -> bool {
    let path = decoded(path, false);
    let mut segments: Vec<&[u8]> = Vec::new();
    for segment in path.split(|byte| matches!(byte, b'/' | b'\\' | b'?' | b'#' | b';')) {
        match segment {
            b"" | b"." => {}
            b".." => drop(segments.pop()),
            _ => segments.push(segment.trim_ascii()),
        }
    }
    let first = segments.first();
    first.is_some_and(|first| ROUTES.iter().any(|route| first.eq_ignore_ascii_case(route)))
}
