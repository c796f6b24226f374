//! Heads: what of them passes between a browser and a canister.

use super::Place;
use super::record::{Answered, Page};
use crate::fault::{Fault, Kind};
use http::header::{
    ALT_SVC, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, COOKIE, EXPECT,
    HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, REFERRER_POLICY, SET_COOKIE,
    STRICT_TRANSPORT_SECURITY, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// Bytes of a path with its query.
pub(super) const LONGEST_URL: usize = 8 << 10;
/// Headers of a message.
const MOST: usize = 100;
/// Bytes of all of them.
const LONGEST: usize = 32 << 10;

/// What is for one hop (RFC 9110 §7.6.1).
const HOP: [HeaderName; 10] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("http2-settings"),
];

/// What a browser keeps for a whole host, or for more than this answer: it isn't for a site to say
/// where others are at the same one.
const WHOLE_HOST: [HeaderName; 4] = [
    SET_COOKIE,
    STRICT_TRANSPORT_SECURITY,
    HeaderName::from_static("clear-site-data"),
    HeaderName::from_static("service-worker-allowed"),
];

/// Scripts run, but in an origin that is nobody's: they can't read what others at the same host keep.
const NOBODYS: &str = "sandbox allow-downloads allow-forms allow-modals allow-popups allow-scripts";

/// How our keys begin: one that a browser was told isn't for a canister to see.
const OUR_KEYS: &str = "e2b_";

/// A request's headers, as the canister is told them.
pub(super) fn incoming(headers: &HeaderMap, place: Place) -> Result<Vec<(String, String)>, Fault> {
    let named = named(headers);
    let mut told = Vec::new();
    let mut length = 0;
    for (name, value) in headers {
        let Ok(value) = value.to_str() else {
            continue;
        };
        let ours = *name == "x-api-key" || value.contains(OUR_KEYS);
        let shared = place == Place::Folder && (*name == COOKIE || *name == AUTHORIZATION);
        if ours || shared || HOP.contains(name) || named.contains(name) || *name == EXPECT {
            continue;
        }
        length += name.as_str().len() + value.len();
        told.push((name.as_str().to_owned(), value.to_owned()));
        if told.len() > MOST || length > LONGEST {
            let why = format!("more than {MOST} headers, or {LONGEST} bytes of them");
            return Err(Fault::new(Kind::TooLong, why));
        }
    }
    Ok(told)
}

/// What a message says is for one hop as well.
fn named(headers: &HeaderMap) -> Vec<HeaderName> {
    let lists = headers.get_all(CONNECTION).iter();
    let words = lists.flat_map(|list| list.as_bytes().split(|byte| *byte == b','));
    let names = words.filter_map(|word| HeaderName::from_bytes(word.trim_ascii()).ok());
    // Whose the message is doesn't end here, whoever says so.
    names.take(MOST).filter(|name| *name != HOST).collect()
}

/// An answer as a response, if it may pass as one.
pub(super) fn page(answered: Answered) -> Result<Page, Fault> {
    let wrong = |what: String| Fault::new(Kind::Answer, format!("the canister's answer: {what}"));
    // What is below is for the way between two programs, and no answer.
    let status = StatusCode::from_u16(answered.status).ok();
    let status = status.filter(|status| (200..600).contains(&status.as_u16()));
    let status = status.ok_or_else(|| wrong(format!("{} is no status", answered.status)))?;
    let mut headers = HeaderMap::new();
    let mut length = 0;
    for (name, value) in &answered.headers {
        length += name.len() + value.len();
        if headers.len() >= MOST || length > LONGEST {
            return Err(wrong(format!(
                "more than {MOST} headers, or {LONGEST} bytes of them"
            )));
        }
        let shown = || name.chars().take(64).collect::<String>();
        let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_bytes(value.as_bytes()),
        ) else {
            return Err(wrong(format!("{:?} is no header", shown())));
        };
        headers.append(name, value);
    }
    for name in named(&headers).iter().chain(&HOP) {
        headers.remove(name);
    }
    // How long it is, the message itself says; and a site isn't asked where else the server is.
    headers.remove(CONTENT_LENGTH);
    headers.remove(ALT_SVC);
    Ok(Page {
        status,
        headers,
        body: answered.body.into(),
        next: answered.next,
    })
}

/// Keeps a page to its place.
pub(super) fn enclose(headers: &mut HeaderMap, place: Place) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    match place {
        Place::Host => own_cookies(headers),
        Place::Folder => {
            for name in WHOLE_HOST {
                headers.remove(name);
            }
            // Beside what the site says itself: all of them hold (CSP, §8.1).
            let policy = HeaderValue::from_static(NOBODYS);
            headers.append(CONTENT_SECURITY_POLICY, policy);
            let quiet = HeaderValue::from_static("same-origin");
            headers.entry(REFERRER_POLICY).or_insert(quiet);
        }
    }
}

/// Takes away cookies that would be for more than the site's own host.
fn own_cookies(headers: &mut HeaderMap) {
    let is_own = |value: &&HeaderValue| {
        let attributes = value.as_bytes().split(|byte| *byte == b';').skip(1);
        let mut names = attributes.map(|one| one.split(|byte| *byte == b'=').next());
        !names
            .any(|name| name.is_some_and(|name| name.trim_ascii().eq_ignore_ascii_case(b"domain")))
    };
    let own: Vec<_> = headers
        .get_all(SET_COOKIE)
        .iter()
        .filter(is_own)
        .cloned()
        .collect();
    headers.remove(SET_COOKIE);
    for cookie in own {
        headers.append(SET_COOKIE, cookie);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, headers: &[(&str, &str)]) -> Result<Page, Fault> {
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        page(Answered {
            status,
            headers: headers.iter().map(pair).collect(),
            ..Answered::default()
        })
    }

    fn map(headers: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        };
        headers.iter().map(pair).collect()
    }

    #[test]
    fn what_frames_a_message_does_not_pass() {
        let page = answered(
            200,
            &[
                ("Content-Type", "text/html"),
                ("Content-Length", "7"),
                ("Transfer-Encoding", "chunked"),
                ("Connection", "x-private, content-type2"),
                ("X-Private", "p"),
                ("Upgrade", "h2c"),
                ("Alt-Svc", "h3=\":443\""),
            ],
        );
        let names: Vec<_> = page.unwrap().headers.keys().cloned().collect();
        assert_eq!(names, [http::header::CONTENT_TYPE]);
    }

    #[test]
    fn what_is_no_response_is_refused() {
        for status in [0, 100, 101, 199, 600, 999, 65535] {
            assert_eq!(
                answered(status, &[]).unwrap_err().kind,
                Kind::Answer,
                "{status}"
            );
        }
        let long = "v".repeat(LONGEST);
        for bad in [
            ("a\r\nb", "c"),
            ("a", "b\r\nset-cookie: c"),
            ("a", "b\nc"),
            ("a", "b\0"),
            ("", "b"),
            ("a b", "c"),
            ("a:", "c"),
            ("a", &long),
        ] {
            assert_eq!(
                answered(200, &[bad]).unwrap_err().kind,
                Kind::Answer,
                "{bad:?}"
            );
        }
        let many = vec![("a", "b"); MOST + 1];
        assert!(answered(200, &many).is_err());
        assert!(answered(200, &many[1..]).is_ok());
    }

    #[test]
    fn keys_and_what_others_keep_do_not_reach_a_canister() {
        let sent = map(&[
            ("accept", "*/*"),
            ("x-api-key", "k"),
            ("authorization", "Basic abc"),
            ("cookie", "a=b"),
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("te", "trailers"),
            ("x-odd", "has e2b_0123"),
        ]);
        let names = |place| -> Vec<String> {
            let told = incoming(&sent, place).unwrap();
            told.into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(names(Place::Folder), ["accept"]);
        assert_eq!(names(Place::Host), ["accept", "authorization", "cookie"]);
        let long: HeaderMap = (0..MOST + 1)
            .map(|n| {
                (
                    HeaderName::try_from(format!("h{n}")).unwrap(),
                    HeaderValue::from(n),
                )
            })
            .collect();
        assert_eq!(
            incoming(&long, Place::Host).unwrap_err().kind,
            Kind::TooLong
        );
    }

    #[test]
    fn a_page_is_kept_to_its_place() {
        let own = [
            ("set-cookie", "a=b; Path=/"),
            ("set-cookie", "c=d; DOMAIN =example.org"),
            ("strict-transport-security", "max-age=1"),
            ("content-security-policy", "default-src 'self'"),
        ];
        let mut folder = map(&own);
        enclose(&mut folder, Place::Folder);
        let policies: Vec<_> = folder.get_all(CONTENT_SECURITY_POLICY).iter().collect();
        assert_eq!(policies, ["default-src 'self'", NOBODYS]);
        assert!(!NOBODYS.contains("same-origin"));
        assert!(!folder.contains_key(SET_COOKIE));
        assert!(!folder.contains_key(STRICT_TRANSPORT_SECURITY));
        let mut host = map(&own);
        enclose(&mut host, Place::Host);
        let cookies: Vec<_> = host.get_all(SET_COOKIE).iter().collect();
        assert_eq!(cookies, ["a=b; Path=/"]);
        assert_eq!(host.get_all(CONTENT_SECURITY_POLICY).iter().count(), 1);
    }
}
