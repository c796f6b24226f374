//! Header fields: names that are tokens, values without surprises (RFC 9110 §5, RFC 9112 §5).

use super::error::Malformed;

/// One field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    name: String,
    value: Vec<u8>,
}

impl Header {
    /// Its name, spelt as it was sent; names are equal whatever their case.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its value, without the space around it. Bytes above 0x7f are possible.
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// Whether this is its name.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// The fields of a head, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    fields: Vec<Header>,
}

/// Fields that a server behind CGI would find under the same name when written with underscores.
const NEVER_WITH_UNDERSCORES: [&str; 4] = [
    "content-length",
    "transfer-encoding",
    "content-encoding",
    "content-type",
];

impl Headers {
    pub(super) fn parse(lines: &[&[u8]]) -> Result<Self, Malformed> {
        let fields = lines.iter().map(|line| parse_field(line));
        Ok(Self {
            fields: fields.collect::<Result<_, _>>()?,
        })
    }

    /// All fields, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Header> {
        self.fields.iter()
    }

    /// The values under this name.
    pub fn all<'h>(&'h self, name: &'h str) -> impl Iterator<Item = &'h [u8]> {
        let named = self.fields.iter().filter(move |field| field.is(name));
        named.map(|field| field.value.as_slice())
    }

    /// Whether there is a field of this name.
    pub fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }

    /// The value under this name; an error if there are several, or if it isn't ASCII.
    pub fn only(&self, name: &str) -> Result<Option<&str>, Malformed> {
        let mut values = self.fields.iter().filter(|field| field.is(name));
        let Some(first) = values.next() else {
            return Ok(None);
        };
        if values.next().is_some() {
            return Err(Malformed::bad("a field that can be there once is repeated"));
        }
        match std::str::from_utf8(&first.value) {
            Ok(text) if text.is_ascii() => Ok(Some(text)),
            _ => Err(Malformed::bad("a value that has to be ASCII isn't")),
        }
    }

    /// The members of a list that may be spread over several fields, in lower case.
    pub fn list(&self, name: &str) -> Vec<String> {
        self.all(name)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .map(|member| String::from_utf8_lossy(member.trim_ascii()).to_ascii_lowercase())
            .filter(|member| !member.is_empty())
            .collect()
    }

    /// Removes all fields of this name, and those that would be taken for it where underscores
    /// and hyphens are the same.
    pub fn remove(&mut self, name: &str) {
        self.fields.retain(|field| !alike(&field.name, name));
    }

    /// Replaces all fields of this name by one with this value.
    pub fn set(&mut self, name: &str, value: &[u8]) -> Result<(), Malformed> {
        self.remove(name);
        self.add(name, value)
    }

    /// Adds a field.
    pub fn add(&mut self, name: &str, value: &[u8]) -> Result<(), Malformed> {
        check_name(name.as_bytes())?;
        check_value(value)?;
        self.fields.push(Header {
            name: name.to_owned(),
            value: value.to_vec(),
        });
        Ok(())
    }

    /// Rewrites values: `rewrite` gives the new value of a field, or nothing to keep it.
    pub fn rewrite<E: From<Malformed>>(
        &mut self,
        mut rewrite: impl FnMut(&Header) -> Result<Option<Vec<u8>>, E>,
    ) -> Result<(), E> {
        for field in &mut self.fields {
            if let Some(value) = rewrite(field)? {
                check_value(&value)?;
                field.value = value;
            }
        }
        Ok(())
    }
}

/// Whether two names are equal where case and the kind of dash don't count.
fn alike(one: &str, other: &str) -> bool {
    let folded = |byte: u8| match byte {
        b'_' => b'-',
        other => other.to_ascii_lowercase(),
    };
    one.bytes().map(folded).eq(other.bytes().map(folded))
}

fn parse_field(line: &[u8]) -> Result<Header, Malformed> {
    if line.starts_with(b" ") || line.starts_with(b"\t") {
        return Err(Malformed::bad("a folded header line"));
    }
    let colon = line
        .iter()
        .position(|byte| *byte == b':')
        .ok_or(Malformed::bad("a header line without a colon"))?;
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    check_name(name)?;
    check_value(value)?;
    let name = String::from_utf8_lossy(name).into_owned();
    let underscored = |known: &&str| name.contains('_') && alike(&name, known);
    if NEVER_WITH_UNDERSCORES.iter().any(underscored) {
        return Err(Malformed::bad("a framing field spelt with underscores"));
    }
    Ok(Header {
        name,
        value: value.to_vec(),
    })
}

/// A space before the colon is refused here too: it's no token character (RFC 9112 §5.1).
fn check_name(name: &[u8]) -> Result<(), Malformed> {
    if name.is_empty() || !name.iter().all(|byte| is_token_byte(*byte)) {
        return Err(Malformed::bad("a header name that isn't a token"));
    }
    Ok(())
}

fn check_value(value: &[u8]) -> Result<(), Malformed> {
    let allowed = |byte: &u8| matches!(byte, b'\t' | 0x20..=0x7e | 0x80..);
    if !value.iter().all(allowed) {
        return Err(Malformed::bad("a control character in a header value"));
    }
    Ok(())
}

/// RFC 9110 §5.6.2.
pub(crate) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(lines: &[&str]) -> Result<Headers, Malformed> {
        let lines: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
        Headers::parse(&lines)
    }

    #[test]
    fn fields_keep_their_order_and_spelling() {
        let headers = parse(&["X-A: 1", "b:\t2 ", "x-a:3, 4,", "C:"]).expect("headers");
        let names: Vec<_> = headers.iter().map(Header::name).collect();
        assert_eq!(names, ["X-A", "b", "x-a", "C"]);
        assert_eq!(headers.only("B"), Ok(Some("2")));
        assert_eq!(headers.only("c"), Ok(Some("")));
        assert!(headers.only("x-a").is_err());
        assert_eq!(headers.list("x-a"), ["1", "3", "4"]);
    }

    #[test]
    fn lines_that_hide_something_are_refused() {
        for line in [
            "A : b",
            " A: b",
            "\tfolded",
            "A",
            ": b",
            "A b: c",
            "A\u{e4}: b",
            "A(: b",
            "Content_Length: 5",
            "transfer_encoding: chunked",
            "content-Type_: x: \0",
        ] {
            assert!(parse(&["Host: a", line]).is_err(), "{line}");
        }
    }

    #[test]
    fn what_is_set_replaces_every_spelling() {
        let mut headers = parse(&["X-Api-Key: a", "X_API_KEY: b", "Other: c"]).expect("headers");
        headers.set("x-api-key", b"secret").expect("set");
        let all: Vec<_> = headers
            .iter()
            .map(|field| (field.name(), field.value()))
            .collect();
        assert_eq!(all, [("Other", &b"c"[..]), ("x-api-key", b"secret")]);
        assert!(headers.set("x", b"a\r\nInjected: 1").is_err());
        assert!(headers.set("x\r\ny", b"a").is_err());
        assert!(headers.set("x", b"a\0").is_err());
    }
}
