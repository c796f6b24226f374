//! Placeholders replaced in a body that arrives in pieces.
//!
//! A placeholder may be cut anywhere, so the last bytes are held back until it's certain that they
//! belong to none. How many is a constant, whatever is sent.

use zeroize::Zeroizing;

use super::placeholder::{MAX_ALIAS_PREFIX_BYTES, MAX_MARKER_BYTES, MAX_NAME_BYTES};
use super::rewrite::{Escape, Rewriter};
use super::store::Refusal;

/// The most bytes that are held back: a whole placeholder whose name isn't at its end yet.
pub const HELD_BACK_BYTES: usize = MAX_ALIAS_PREFIX_BYTES + MAX_MARKER_BYTES + MAX_NAME_BYTES;

/// Where nothing was found, what could still be the beginning of an alias.
const UNDECIDED_BYTES: usize = MAX_ALIAS_PREFIX_BYTES + MAX_MARKER_BYTES - 1;

/// Rewrites one body. After a refusal it's of no use, and the request must be given up.
#[derive(Debug)]
pub struct StreamRewriter<'a> {
    rewriter: Rewriter<'a>,
    escape: Escape,
    held: Vec<u8>,
}

impl<'a> StreamRewriter<'a> {
    /// A rewriter for one body. Forms have to be whole; see [`Rewriter::query`].
    pub fn new(rewriter: Rewriter<'a>, escape: Escape) -> Self {
        Self {
            rewriter,
            escape,
            held: Vec::new(),
        }
    }

    /// Takes the next piece and appends what is certain to `out`.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
        self.held.extend_from_slice(piece);
        let (rest, open) = self.rewriter.replace(&self.held, false, self.escape, out)?;
        // An open placeholder is kept whole; otherwise only what may become one.
        let certain = if open {
            rest
        } else {
            self.held.len().saturating_sub(UNDECIDED_BYTES).max(rest)
        };
        out.extend_from_slice(&self.held[rest..certain]);
        self.held.drain(..certain);
        Ok(())
    }

    /// How many bytes are held back now.
    pub fn held_back(&self) -> usize {
        self.held.len()
    }

    /// Appends the rest, at the end of the body.
    pub fn finish(self, out: &mut Vec<u8>) -> Result<(), Refusal> {
        let held = Zeroizing::new(self.held);
        let (rest, _) = self.rewriter.replace(&held, true, self.escape, out)?;
        out.extend_from_slice(&held[rest..]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::credentials::{Binding, Credential, Credentials, Destination, Secret};
    use crate::host::Host;

    fn rewritten(bytes: &[u8], pieces: &[usize]) -> Result<Vec<u8>, Refusal> {
        let mut credentials = Credentials::default();
        let binding = Binding::new("a.example", 443, "/").expect("a binding");
        let secret = Secret::new("<secret>").expect("memory");
        let token = Credential::new("it", secret, vec![binding]);
        credentials.insert("K", token);
        let host = Host::parse("a.example").expect("a host");
        let destination = Destination::new(&host, 443, "/");
        let rewriter = Rewriter::new(&credentials, destination);
        let mut stream = StreamRewriter::new(rewriter, Escape::Plain);
        let (mut out, mut rest) = (Vec::new(), bytes);
        for size in pieces.iter().cycle() {
            let (piece, tail) = rest.split_at((*size).clamp(1, rest.len().max(1)).min(rest.len()));
            stream.push(piece, &mut out)?;
            assert!(stream.held_back() <= HELD_BACK_BYTES);
            rest = tail;
            if rest.is_empty() {
                break;
            }
        }
        stream.finish(&mut out)?;
        Ok(out)
    }

    #[test]
    fn a_placeholder_is_found_however_it_is_cut() {
        let text =
            b"a casemate:credential:K b xoxb-OPENSHELL-RESOLVE-ENV-K openshell:resolve:env:K";
        for size in 1..text.len() + 1 {
            let out = rewritten(text, &[size]).expect("filled");
            assert_eq!(out, b"a <secret> b <secret> <secret>", "{size}");
        }
    }

    #[test]
    fn an_endless_name_is_refused_and_not_held() {
        let text = [&b"casemate:credential:"[..], &[b'A'; 5000]].concat();
        assert!(rewritten(&text, &[10]).is_err());
        assert!(rewritten(b"x casemate:credential:OTHER y", &[3]).is_err());
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            words in proptest::collection::vec(
                proptest::sample::select(vec!["casemate:credential:", "openshell:resolve:env:", "OPENSHELL-RESOLVE-ENV-", "K", "xoxb-", " ", "OPENSHELL-", "casemate", "ä", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]),
                0..12,
            ),
            pieces in proptest::collection::vec(1usize..40, 1..8),
        ) {
            let text = words.concat();
            prop_assert_eq!(
                rewritten(text.as_bytes(), &pieces),
                rewritten(text.as_bytes(), &[text.len().max(1)])
            );
        }
    }
}
