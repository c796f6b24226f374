//! The form of a request that is signed.

use crate::percent;

/// The canonical request. `headers` are signed all, names in any case, in any order.
pub(super) fn request(
    method: &str,
    path: &str,
    query: &str,
    headers: &[(String, String)],
    payload: &str,
) -> (String, String) {
    let mut headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), squeezed(value)))
        .collect();
    headers.sort();
    let lines: String = headers
        .iter()
        .map(|(name, value)| format!("{name}:{value}\n"))
        .collect();
    let names: Vec<_> = headers.iter().map(|(name, _)| name.as_str()).collect();
    let signed = names.join(";");
    let canonical = format!("{method}\n{path}\n{query}\n{lines}\n{signed}\n{payload}");
    (canonical, signed)
}

/// The path: each segment encoded, for S3 once and for all others twice.
pub(super) fn path(path: &str, twice: bool) -> Option<String> {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        let mut encoded = Vec::new();
        percent::encode(&percent::decode(segment.as_bytes())?, &mut encoded);
        if twice {
            let once = std::mem::take(&mut encoded);
            percent::encode(&once, &mut encoded);
        }
        segments.push(String::from_utf8(encoded).ok()?);
    }
    Some(segments.join("/"))
}

/// The query: each pair encoded, then sorted. A plus is a plus here, as AWS has it.
pub(super) fn query(query: &str) -> Option<String> {
    let encode = |text: &str| {
        let mut encoded = Vec::new();
        percent::encode(&percent::decode(text.as_bytes())?, &mut encoded);
        String::from_utf8(encoded).ok()
    };
    let mut pairs = Vec::new();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        pairs.push((encode(key)?, encode(value)?));
    }
    pairs.sort();
    let parts: Vec<_> = pairs
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    Some(parts.join("&"))
}

/// Without space at the ends, and one space where there are several.
fn squeezed(value: &str) -> String {
    let words: Vec<_> = value
        .split([' ', '\t'])
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::{Scope, sha256_hex, signature};
    use super::*;
    use crate::credentials::Secret;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn owned(headers: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = headers
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        owned.collect()
    }

    /// The examples of the general test suite: one key, day, region and service.
    fn suite(method: &str, path: &str, raw_query: &str, headers: &[(&str, &str)]) -> String {
        let secret = Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY").expect("memory");
        let scope = Scope {
            date: "20150830",
            region: "us-east-1",
            service: "service",
        };
        let mut headers = owned(headers);
        headers.extend(owned(&[
            ("Host", "example.amazonaws.com"),
            ("X-Amz-Date", "20150830T123600Z"),
        ]));
        let query = query(raw_query).expect("a query");
        let (canonical, _) = request(method, path, &query, &headers, EMPTY);
        signature(&secret, &scope, "20150830T123600Z", &canonical)
    }

    #[test]
    fn the_published_suite_is_signed() {
        assert_eq!(
            suite("GET", "/", "", &[]),
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
        );
        assert_eq!(
            suite("GET", "/", "Param2=value2&Param1=value1", &[]),
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"
        );
        assert_eq!(
            suite("POST", "/", "", &[]),
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
        );
    }

    #[test]
    fn the_published_iam_request_is_signed() {
        let headers = owned(&[
            (
                "Content-Type",
                "application/x-www-form-urlencoded; charset=utf-8",
            ),
            ("Host", "iam.amazonaws.com"),
            ("X-Amz-Date", "20150830T123600Z"),
        ]);
        let query = query("Version=2010-05-08&Action=ListUsers").expect("a query");
        let (canonical, signed) = request("GET", "/", &query, &headers, EMPTY);
        assert_eq!(signed, "content-type;host;x-amz-date");
        assert_eq!(
            sha256_hex(canonical.as_bytes()),
            "f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59"
        );
        let secret = Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY").expect("memory");
        let scope = Scope {
            date: "20150830",
            region: "us-east-1",
            service: "iam",
        };
        assert_eq!(
            signature(&secret, &scope, "20150830T123600Z", &canonical),
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
        );
    }

    /// The examples of S3: `GET` of a range and `PUT` of an object.
    #[test]
    fn the_published_s3_requests_are_signed() {
        let secret = Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY").expect("memory");
        let scope = Scope {
            date: "20130524",
            region: "us-east-1",
            service: "s3",
        };
        let sign = |method, raw_path, payload: &str, more: &[(&str, &str)]| {
            let mut headers = owned(more);
            headers.extend(owned(&[
                ("Host", "examplebucket.s3.amazonaws.com"),
                ("x-amz-content-sha256", payload),
                ("x-amz-date", "20130524T000000Z"),
            ]));
            let path = path(raw_path, false).expect("a path");
            let (canonical, _) = request(method, &path, "", &headers, payload);
            signature(&secret, &scope, "20130524T000000Z", &canonical)
        };
        assert_eq!(
            sign("GET", "/test.txt", EMPTY, &[("Range", "bytes=0-9")]),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
        let put = sha256_hex(b"Welcome to Amazon S3.");
        let headers = [
            ("Date", "Fri, 24 May 2013 00:00:00 GMT"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ];
        assert_eq!(
            sign("PUT", "/test$file.text", &put, &headers),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
        );
    }

    #[test]
    fn paths_are_encoded_as_often_as_the_service_does() {
        assert_eq!(path("/a%20b/c+d", false).as_deref(), Some("/a%20b/c%2Bd"));
        assert_eq!(path("/a%20b/", true).as_deref(), Some("/a%2520b/"));
        assert_eq!(path("/@s%2Fn", false).as_deref(), Some("/%40s%2Fn"));
        assert_eq!(query("b&a=%2f&a=1+2").as_deref(), Some("a=%2F&a=1%2B2&b="));
        assert_eq!(squeezed("  a \t b   c "), "a b c");
    }
}
