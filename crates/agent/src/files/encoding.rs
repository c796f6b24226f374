//! How the bytes of a file travel: as they are, or compressed (RFC 9110 §12.5.3).

/// A coding that the agent knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    /// The bytes as they are.
    Identity,
    /// RFC 1952.
    Gzip,
}

/// The coding that an `Accept-Encoding` header likes best; `None` (406) if it accepts neither.
/// Between equals, gzip: who names it asks for it.
pub(crate) fn accepted(header: &str) -> Option<Coding> {
    let (mut gzip, mut identity, mut any) = (None, None, None);
    for item in header.split(',') {
        let (name, weight) = match item.split_once(';') {
            Some((name, parameter)) => (name, weight(parameter)),
            None => (item, 1000),
        };
        match name.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => gzip = Some(weight),
            "identity" => identity = Some(weight),
            "*" => any = Some(weight),
            _ => {}
        }
    }
    // Identity is acceptable until it is ruled out, and liked least until it is named.
    let plain = identity.or(any);
    match (gzip, plain) {
        (Some(gzip), plain) if gzip > 0 && gzip >= plain.unwrap_or(0) => Some(Coding::Gzip),
        (_, Some(0)) => (gzip.or(any) > Some(0)).then_some(Coding::Gzip),
        _ => Some(Coding::Identity),
    }
}

/// Thousandths; a weight that can't be read counts as none given.
fn weight(parameter: &str) -> u16 {
    let value = parameter.trim().strip_prefix("q=").unwrap_or("1");
    match value.parse::<f32>() {
        // Between 0 and 1000, so nothing is lost.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Ok(value) if (0.0..=1.0).contains(&value) => (value * 1000.0) as u16,
        _ => 1000,
    }
}

/// How the body of an upload is coded; `None` (415) if the agent doesn't know it.
pub(crate) fn sent(header: Option<&str>) -> Option<Coding> {
    match header.unwrap_or("").trim().to_ascii_lowercase().as_str() {
        "" | "identity" => Some(Coding::Identity),
        "gzip" | "x-gzip" => Some(Coding::Gzip),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Coding, accepted, sent};

    #[test]
    fn the_liked_coding_wins() {
        for header in [
            "gzip",
            "GZIP, deflate",
            "br, gzip;q=0.5",
            "*;q=0.1, gzip",
            "gzip;q=x",
            "identity;q=0, *",
            "gzip;q=0.5, identity;q=0.5",
        ] {
            assert_eq!(accepted(header), Some(Coding::Gzip), "{header}");
        }
        for header in [
            "",
            "identity",
            "br",
            "*",
            "gzip;q=0",
            "gzip;q=0.3, identity;q=0.7",
            "zstd, br;q=0.9, *;q=0.5",
        ] {
            assert_eq!(accepted(header), Some(Coding::Identity), "{header}");
        }
        for header in [
            "identity;q=0",
            "br, identity;q=0",
            "*;q=0",
            "gzip;q=0, *;q=0.0",
        ] {
            assert_eq!(accepted(header), None, "{header}");
        }
    }

    #[test]
    fn bodies_come_plain_or_as_gzip() {
        assert_eq!(sent(None), Some(Coding::Identity));
        assert_eq!(sent(Some("identity")), Some(Coding::Identity));
        assert_eq!(sent(Some("GZip")), Some(Coding::Gzip));
        assert_eq!(sent(Some("br")), None);
        assert_eq!(sent(Some("gzip, gzip")), None);
    }
}
