//! Paths and queries.

use crate::problem::Problem;
use axum::extract::{FromRequestParts, Path};
use http::request::Parts;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// What stands in the path.
pub(super) struct At<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for At<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(found) = Path::from_request_parts(parts, state)
            .await
            .map_err(|rejection| Problem::bad(rejection.body_text()))?;
        Ok(Self(found))
    }
}

/// Pairs of one query.
const MOST: usize = 256;

/// The query of a request, decoded once.
pub(super) struct Params(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::parse(parts.uri.query().unwrap_or_default())
    }
}

impl Params {
    /// Reads `a=b&c=d`.
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        let pairs = form_urlencoded::parse(text.as_bytes()).into_owned();
        let pairs: Vec<_> = pairs.take(MOST + 1).collect();
        match pairs.len() > MOST {
            true => Err(Problem::bad(format!("query: more than {MOST} parameters"))),
            false => Ok(Self(pairs)),
        }
    }

    /// All pairs.
    pub(super) fn into_pairs(self) -> impl Iterator<Item = (String, String)> {
        self.0.into_iter()
    }

    /// The first value of this name, if it isn't empty.
    pub(super) fn one(&self, name: &str) -> Option<&str> {
        let named = self
            .0
            .iter()
            .find(|(key, value)| key == name && !value.is_empty());
        named.map(|(_, value)| value.as_str())
    }

    /// The values of this name: it may be repeated.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.0.iter().filter(move |(key, _)| key == name);
        named
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// The values of this name, which may be repeated or separated by commas.
    pub(super) fn list<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let values = self.all(name).flat_map(|value| value.split(','));
        values.map(str::trim).filter(|value| !value.is_empty())
    }

    /// One of these words.
    pub(super) fn word<T: Copy>(
        &self,
        name: &str,
        words: &[(&str, T)],
    ) -> Result<Option<T>, Problem> {
        self.one(name)
            .map(|value| one_of(name, value, words))
            .transpose()
    }

    /// A number.
    pub(super) fn number<T: FromStr + PartialOrd + std::fmt::Display>(
        &self,
        name: &str,
        range: RangeInclusive<T>,
    ) -> Result<Option<T>, Problem> {
        let Some(value) = self.one(name) else {
            return Ok(None);
        };
        let number = value.parse().ok().filter(|number| range.contains(number));
        let number = number.ok_or_else(|| {
            let (least, most) = (range.start(), range.end());
            Problem::bad(format!(
                "query {name}: not a whole number from {least} to {most}"
            ))
        });
        number.map(Some)
    }

    /// A time in seconds since 1970.
    pub(super) fn seconds(&self, name: &str) -> Result<Option<Timestamp>, Problem> {
        self.time(name, Timestamp::from_second, "seconds since 1970")
    }

    /// A time in milliseconds since 1970.
    pub(super) fn milliseconds(&self, name: &str) -> Result<Option<Timestamp>, Problem> {
        self.time(name, Timestamp::from_millisecond, "milliseconds since 1970")
    }

    /// A time of RFC 3339.
    pub(super) fn date(&self, name: &str) -> Result<Option<Timestamp>, Problem> {
        let time = self.one(name).map(str::parse).transpose();
        time.map_err(|_| Problem::bad(format!("query {name}: not a time as of RFC 3339")))
    }

    fn time(
        &self,
        name: &str,
        from: fn(i64) -> Result<Timestamp, jiff::Error>,
        what: &str,
    ) -> Result<Option<Timestamp>, Problem> {
        let Some(value) = self.one(name) else {
            return Ok(None);
        };
        let time = value.parse().ok().and_then(|number| from(number).ok());
        let time = time.ok_or_else(|| Problem::bad(format!("query {name}: not {what}")));
        time.map(Some)
    }
}

/// What a word stands for.
pub(super) fn one_of<T: Copy>(name: &str, value: &str, words: &[(&str, T)]) -> Result<T, Problem> {
    let found = words.iter().find(|(word, _)| *word == value);
    found.map(|(_, meaning)| *meaning).ok_or_else(|| {
        let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        Problem::bad(format!("query {name}: not one of {}", known.join(", ")))
    })
}
