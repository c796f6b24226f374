//! Placeholders replaced in the parts of a request.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::binding::Destination;
use super::inject::Injection;
use super::placeholder::{Found, find, mentions};
use super::secret::Secret;
use super::store::{Credentials, Refusal};
use crate::http1::Header;
use crate::percent;

/// How a secret is written so that it's a value where the placeholder was, and nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escape {
    /// As it is.
    Plain,
    /// Inside a string of JSON.
    Json,
}

/// Fills in credentials on the way to one destination.
#[derive(Clone, Copy, Debug)]
pub struct Rewriter<'a> {
    credentials: &'a Credentials,
    destination: Destination<'a>,
}

/// Bytes with secrets in them.
type Filled = Zeroizing<Vec<u8>>;

impl<'a> Rewriter<'a> {
    /// A rewriter for requests to `destination`.
    pub fn new(credentials: &'a Credentials, destination: Destination<'a>) -> Self {
        Self {
            credentials,
            destination,
        }
    }

    /// A secret that may be sent there.
    fn secret(&self, name: &str) -> Result<&'a Secret, Refusal> {
        self.credentials.resolve(name, &self.destination)
    }

    /// The headers that requests get there.
    pub(super) fn injections(&self) -> impl Iterator<Item = (&'a Injection, &'a Secret)> {
        self.credentials.injections(self.destination)
    }

    /// Text with its placeholders replaced; nothing if it has none.
    pub fn text(&self, text: &[u8], escape: Escape) -> Result<Option<Filled>, Refusal> {
        if !mentions(text) {
            return Ok(None);
        }
        let mut out = Zeroizing::new(Vec::with_capacity(text.len()));
        let (rest, _) = self.replace(text, true, escape, &mut out)?;
        out.extend_from_slice(&text[rest..]);
        Ok(Some(out))
    }

    /// A header's value, also where it's the base64 of `Authorization: Basic`.
    pub fn header(&self, header: &Header) -> Result<Option<Vec<u8>>, Refusal> {
        let value = header.value();
        let authorizes = header.is("authorization") || header.is("proxy-authorization");
        if authorizes
            && let Some((scheme, encoded)) = value.split_at_checked(6)
            && scheme.eq_ignore_ascii_case(b"basic ")
            && let Ok(pair) = STANDARD.decode(encoded.trim_ascii())
        {
            let pair = Zeroizing::new(pair);
            let filled = self.text(&pair, Escape::Plain)?;
            return Ok(filled.map(|pair| format!("Basic {}", STANDARD.encode(&*pair)).into_bytes()));
        }
        let filled = self.text(value, Escape::Plain)?;
        Ok(filled.map(|mut value| std::mem::take(&mut *value)))
    }

    /// A canonical path; placeholders are looked for in its decoded segments.
    pub fn path(&self, path: &str) -> Result<Option<String>, Refusal> {
        let mut changed = false;
        let mut segments = Vec::new();
        for segment in path.split('/') {
            match self.component(segment, percent::decode, percent::encode_segment)? {
                Some(filled) => {
                    // A secret must not lead elsewhere than the path that was judged.
                    if matches!(filled.as_str(), "" | "." | "..") {
                        return Err(Refusal::Unusable("it would change the path"));
                    }
                    changed = true;
                    segments.push(filled);
                }
                None => segments.push(segment.to_owned()),
            }
        }
        Ok(changed.then(|| segments.join("/")))
    }

    /// A query, or a form; placeholders are looked for in its decoded keys and values.
    pub fn query(&self, query: &str) -> Result<Option<String>, Refusal> {
        let mut changed = false;
        let mut out = String::with_capacity(query.len());
        for (index, part) in query.split('&').enumerate() {
            if index > 0 {
                out.push('&');
            }
            for (index, component) in part.splitn(2, '=').enumerate() {
                if index > 0 {
                    out.push('=');
                }
                match self.component(component, percent::decode_form, percent::encode)? {
                    Some(filled) => {
                        changed = true;
                        out.push_str(&filled);
                    }
                    None => out.push_str(component),
                }
            }
        }
        Ok(changed.then_some(out))
    }

    fn component(
        &self,
        encoded: &str,
        decode: fn(&[u8]) -> Option<Vec<u8>>,
        encode: fn(&[u8], &mut Vec<u8>),
    ) -> Result<Option<String>, Refusal> {
        // What doesn't decode isn't a placeholder; whoever forwards it has checked it.
        let Some(decoded) = decode(encoded.as_bytes()) else {
            return Ok(None);
        };
        let Some(filled) = self.text(&decoded, Escape::Plain)? else {
            return Ok(None);
        };
        let mut out = Vec::with_capacity(filled.len());
        encode(&filled, &mut out);
        let text = String::from_utf8(out).map_err(|_| Refusal::Unusable("it isn't text"))?;
        Ok(Some(text))
    }

    /// Replaces placeholders and appends all but the rest to `out`. Returns where the rest begins,
    /// and whether it's a placeholder that may go on, which it can't if the text is `complete`.
    pub(super) fn replace(
        &self,
        text: &[u8],
        complete: bool,
        escape: Escape,
        out: &mut Vec<u8>,
    ) -> Result<(usize, bool), Refusal> {
        let mut at = 0;
        // A byte that's no part of a name ends the one that the text ends in.
        let ended: Filled;
        let text = if complete {
            ended = Zeroizing::new([text, b" "].concat());
            &ended[..]
        } else {
            text
        };
        loop {
            match find(text, at)? {
                Found::Nothing => return Ok((at, false)),
                Found::Open(start) => {
                    out.extend_from_slice(&text[at..start]);
                    return Ok((start, true));
                }
                Found::At { whole, name } => {
                    out.extend_from_slice(&text[at..whole.start]);
                    let name = String::from_utf8_lossy(&text[name]);
                    write(self.secret(&name)?.expose(), escape, out)?;
                    at = whole.end;
                }
            }
        }
    }
}

fn write(secret: &[u8], escape: Escape, out: &mut Vec<u8>) -> Result<(), Refusal> {
    if escape == Escape::Plain {
        out.extend_from_slice(secret);
        return Ok(());
    }
    let text = std::str::from_utf8(secret).map_err(|_| Refusal::Unusable("it isn't text"))?;
    let quoted = serde_json::to_string(text).map(Zeroizing::new);
    let quoted = quoted.map_err(|_| Refusal::Unusable("it isn't text"))?;
    out.extend_from_slice(quoted[1..quoted.len() - 1].as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::{Binding, Credential};
    use crate::host::Host;
    use crate::http1::{Limits, RequestHead};

    fn with<T>(secret: &str, check: impl FnOnce(&Rewriter<'_>) -> T) -> T {
        let mut credentials = Credentials::default();
        let binding = Binding::new("a.example", 443, "/").expect("a binding");
        let secret = Secret::new(secret).expect("memory");
        let token = Credential::new("it", secret, vec![binding]);
        credentials.insert("K", token);
        let host = Host::parse("a.example").expect("a host");
        let destination = Destination::new(&host, 443, "/");
        check(&Rewriter::new(&credentials, destination))
    }

    fn header(value: &str) -> Result<Option<String>, Refusal> {
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: {value}\r\n\r\n");
        let head = RequestHead::parse(head.as_bytes(), &Limits::default()).expect("a request");
        let field = head.headers.iter().nth(1).expect("a field").clone();
        let filled = with("s3c:r3t", |rewriter| rewriter.header(&field))?;
        Ok(filled.map(|bytes| String::from_utf8(bytes).expect("text")))
    }

    #[test]
    fn headers_are_filled_in() {
        let filled = |value| header(value).map(Option::unwrap_or_default);
        assert_eq!(
            filled("Bearer openshell:resolve:env:K").as_deref(),
            Ok("Bearer s3c:r3t")
        );
        assert_eq!(
            filled("a casemate:credential:K, xoxb-OPENSHELL-RESOLVE-ENV-K.").as_deref(),
            Ok("a s3c:r3t, s3c:r3t.")
        );
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        assert_eq!(
            filled(&basic("u:casemate:credential:K")),
            Ok(basic("u:s3c:r3t"))
        );
        assert_eq!(header(&basic("u:p")), Ok(None));
        assert_eq!(header("Basic ???"), Ok(None));
        assert!(matches!(
            header("Bearer casemate:credential:X"),
            Err(Refusal::Unknown { .. })
        ));
    }

    #[test]
    fn a_secret_cannot_break_out_of_a_header() {
        let head = "GET / HTTP/1.1\r\nHost: a\r\nX: casemate:credential:K\r\n\r\n";
        let mut head = RequestHead::parse(head.as_bytes(), &Limits::default()).expect("a request");
        let result = with("a\r\nX-Injected: 1", |rewriter| {
            head.headers.rewrite(|field| rewriter.header(field))
        });
        assert!(matches!(result, Err(Refusal::Unusable(_))));
        assert_eq!(head.headers.only("x"), Ok(Some("casemate:credential:K")));
    }

    #[test]
    fn paths_and_queries_are_filled_in_and_encoded() {
        with("1:a/b&c", |rewriter| {
            assert_eq!(
                rewriter.path("/bot/casemate%3Acredential%3AK/send"),
                Ok(Some("/bot/1:a%2Fb&c/send".to_owned()))
            );
            assert_eq!(rewriter.path("/a/b"), Ok(None));
            assert_eq!(
                rewriter.query("x=%20&key=openshell%3Aresolve:env:K&y"),
                Ok(Some("x=%20&key=1%3Aa%2Fb%26c&y".to_owned()))
            );
            assert_eq!(rewriter.query("a=b&&c"), Ok(None));
            assert_eq!(
                rewriter
                    .query("a=b=casemate:credential:K")
                    .map(|q| q.is_some()),
                Ok(true)
            );
        });
        for secret in ["..", ".", ""] {
            with(secret, |rewriter| {
                assert!(rewriter.path("/a/casemate:credential:K").is_err());
            });
        }
    }

    #[test]
    fn json_stays_json() {
        with("q\"\\\n", |rewriter| {
            let text = br#"{"a":"casemate:credential:K"}"#;
            let filled = rewriter
                .text(text, Escape::Json)
                .expect("filled")
                .expect("some");
            assert_eq!(&**filled, br#"{"a":"q\"\\\n"}"#);
        });
    }
}
