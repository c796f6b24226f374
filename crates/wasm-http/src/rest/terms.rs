//! What a request's head says: in which form bytes come and go, by when, and under which name.

use crate::fault::{Fault, Kind};
use crate::settings::Settings;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use std::time::Duration;
use tokio::time::Instant;

/// All that came of a call, as JSON: for programs that show it.
pub(crate) const OUTCOME: &str = "application/vnd.casemate.outcome+json";
const JSON: &str = "application/json";
const RAW: &str = "application/octet-stream";
const DEADLINE: &str = "casemate-deadline";
const KEY: &str = "idempotency-key";
/// Bytes of a request's name.
const LONGEST_KEY: usize = 255;

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As the canister takes and gives it.
    Raw,
    /// As JSON, by the canister's interface.
    Json,
    /// An [`Outcome`](crate::Outcome).
    Whole,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) sends: Form,
    pub(super) wants: Form,
    pub(super) deadline: Instant,
    pub(super) key: Option<String>,
}

impl Terms {
    pub(super) fn read(parts: &Parts, settings: &Settings) -> Result<Self, Fault> {
        let sends = sends(&parts.headers)?;
        Ok(Self {
            sends,
            wants: wants(&parts.headers, sends),
            deadline: deadline(parts, settings)?,
            key: key(&parts.headers)?,
        })
    }
}

/// The type without its parameters, in small letters.
fn kind(value: &str) -> String {
    let kind = value.split(';').next().unwrap_or_default();
    kind.trim().to_ascii_lowercase()
}

fn sends(headers: &HeaderMap) -> Result<Form, Fault> {
    let Some(value) = headers.get(CONTENT_TYPE) else {
        return Ok(Form::Raw);
    };
    match kind(value.to_str().unwrap_or_default()).as_str() {
        RAW => Ok(Form::Raw),
        JSON => Ok(Form::Json),
        other => {
            let why = format!("an argument can't be of type {other:?}");
            let hint = format!("Content-Type: {RAW} for the bytes themselves, or {JSON}");
            Err(Fault::new(Kind::Media, why).hint(hint))
        }
    }
}

/// The first form that the client names and that there is; as it sent, if it names none.
fn wants(headers: &HeaderMap, sends: Form) -> Form {
    let values = headers.get_all(ACCEPT).iter();
    let kinds = values.flat_map(|value| value.to_str().unwrap_or_default().split(','));
    let known = kinds.filter_map(|value| match kind(value).as_str() {
        RAW => Some(Form::Raw),
        JSON => Some(Form::Json),
        OUTCOME => Some(Form::Whole),
        _ => None,
    });
    let mut known = known;
    known.next().unwrap_or(sends)
}

/// A deadline in milliseconds: the header, or else the query's.
pub(super) fn deadline(parts: &Parts, settings: &Settings) -> Result<Instant, Fault> {
    deadline_or(parts, settings, settings.patience)
}

/// The same, of what usually takes so long.
pub(super) fn deadline_or(
    parts: &Parts,
    settings: &Settings,
    usual: Duration,
) -> Result<Instant, Fault> {
    let header = text(&parts.headers, DEADLINE)?.map(str::to_owned);
    let named = || query(parts, "deadline");
    let Some(given) = header.or_else(named) else {
        return Ok(Instant::now() + usual);
    };
    let longest = settings.longest;
    let time = given.parse().ok().map(Duration::from_millis);
    let time = time.filter(|time| !time.is_zero() && *time <= longest);
    let time = time.ok_or_else(|| {
        let why = format!("a deadline is 1 to {} milliseconds", longest.as_millis());
        Fault::new(Kind::Bad, why)
    })?;
    Ok(Instant::now() + time)
}

fn key(headers: &HeaderMap) -> Result<Option<String>, Fault> {
    let key = text(headers, KEY)?;
    let fits = |key: &&str| !key.is_empty() && key.len() <= LONGEST_KEY;
    if key.is_some_and(|key| !fits(&key)) {
        let why = format!("Idempotency-Key: not 1 to {LONGEST_KEY} printable characters of ASCII");
        return Err(Fault::new(Kind::Bad, why));
    }
    Ok(key.map(str::to_owned))
}

/// A header that may come once, and is ASCII.
pub(super) fn text<'a>(
    headers: &'a HeaderMap,
    name: &'static str,
) -> Result<Option<&'a str>, Fault> {
    let name = HeaderName::from_static(name);
    let mut values = headers.get_all(&name).iter();
    let bad = |why| Err(Fault::new(Kind::Bad, format!("{name}: {why}")));
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(_), Some(_)) => bad("it comes twice"),
        (Some(value), None) => match value.to_str() {
            Ok(value) => Ok(Some(value.trim())),
            Err(_) => bad("it isn't printable ASCII"),
        },
    }
}

/// The first value of this name in the query.
pub(super) fn query(parts: &Parts, name: &str) -> Option<String> {
    let query = parts.uri.query().unwrap_or_default();
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn read(uri: &str, headers: &[(&str, &str)]) -> Result<Terms, Fault> {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Terms::read(
            &request.body(()).unwrap().into_parts().0,
            &Settings::default(),
        )
    }

    #[test]
    fn forms() {
        use Form::{Json, Raw, Whole};
        for (sent, wanted, expected) in [
            (None, None, (Raw, Raw)),
            (Some(RAW), Some("*/*"), (Raw, Raw)),
            (Some("Application/JSON; charset=utf-8"), None, (Json, Json)),
            (
                Some(JSON),
                Some("text/html, application/octet-stream;q=0.9"),
                (Json, Raw),
            ),
            (None, Some(JSON), (Raw, Json)),
            (None, Some(OUTCOME), (Raw, Whole)),
        ] {
            let sent = sent.map(|value| ("content-type", value));
            let wanted = wanted.map(|value| ("accept", value));
            let headers: Vec<_> = sent.into_iter().chain(wanted).collect();
            let terms = read("/", &headers).unwrap();
            assert_eq!((terms.sends, terms.wants), expected, "{headers:?}");
        }
        let refused = read("/", &[("content-type", "text/plain")]).unwrap_err();
        assert_eq!(refused.kind, Kind::Media);
    }

    #[test]
    fn deadlines() {
        let given = |terms: Terms| terms.deadline - Instant::now();
        let usual = given(read("/", &[]).unwrap());
        assert!(usual > Duration::from_secs(50), "{usual:?}");
        let header = given(read("/?deadline=9", &[("casemate-deadline", "5000")]).unwrap());
        assert!(header > Duration::from_secs(4) && header <= Duration::from_secs(5));
        let query = given(read("/?a=b&deadline=100000", &[]).unwrap());
        assert!(query > Duration::from_secs(90));
        for bad in ["", "0", "-1", "600001", "1.5", "99999999999999999999"] {
            let refused = read("/", &[("casemate-deadline", bad)]).unwrap_err();
            assert_eq!(refused.kind, Kind::Bad, "{bad}");
        }
    }

    #[test]
    fn a_name_of_a_request_is_short_and_single() {
        let long = "k".repeat(256);
        assert_eq!(
            read("/", &[(KEY, "k 1")]).unwrap().key.as_deref(),
            Some("k 1")
        );
        for bad in [
            &[(KEY, "")][..],
            &[(KEY, &long)],
            &[(KEY, "a"), (KEY, "a")],
            &[(KEY, "é")],
        ] {
            assert_eq!(read("/", bad).unwrap_err().kind, Kind::Bad, "{bad:?}");
        }
    }
}
