//! A request, and what is said of one that failed.

use crate::qmp::short;
use bytes::Bytes;
use casemate_core::error::{Error, Result};
use hyper::{Method, StatusCode};
use serde::{Deserialize, Serialize};

/// The longest name of a device.
const LONGEST: usize = 64;

#[derive(Debug)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) body: Bytes,
}

impl Call {
    pub(super) fn get(path: &str) -> Self {
        Self {
            method: Method::GET,
            path: path.to_owned(),
            body: Bytes::new(),
        }
    }

    pub(super) fn put(path: impl Into<String>, body: &impl Serialize) -> Result<Self> {
        Self::with(Method::PUT, path.into(), body)
    }

    pub(super) fn patch(path: impl Into<String>, body: &impl Serialize) -> Result<Self> {
        Self::with(Method::PATCH, path.into(), body)
    }

    fn with(method: Method, path: String, body: &impl Serialize) -> Result<Self> {
        let body = serde_json::to_vec(body)
            .map_err(|error| failed(&format!("{method} {path}"), error.to_string()))?;
        Ok(Self {
            method,
            path,
            body: body.into(),
        })
    }

    /// Of a device by its name. A path would else be what a name makes of it.
    pub(super) fn device(kind: &str, name: &str) -> Result<String> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        match (1..=LONGEST).contains(&name.len()) && name.bytes().all(is_plain) {
            true => Ok(format!("/{kind}/{name}")),
            false => Err(Error::rule(
                "name a device to Firecracker",
                format!("{name:?} isn't 1 to {LONGEST} letters, digits and underscores"),
            )),
        }
    }

    pub(super) fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// Of a request by its name, why.
pub(super) fn failed(name: &str, why: impl Into<String>) -> Error {
    Error::rule(format!("have Firecracker do `{name}`"), why)
}

/// Firecracker's words, if they are its own; else whatever was answered.
pub(super) fn refused(name: &str, status: StatusCode, body: &[u8]) -> Error {
    #[derive(Deserialize)]
    struct Refusal {
        fault_message: String,
    }
    let words = match serde_json::from_slice(body) {
        Ok(Refusal { fault_message }) => fault_message,
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    failed(name, format!("{}: {}", status.as_u16(), short(&words)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_no_path() {
        assert_eq!(
            Call::device("drives", "disk_0"),
            Ok("/drives/disk_0".into())
        );
        for name in ["", "a/b", "..", "a?b", "a b", "ä", &"a".repeat(65)] {
            Call::device("drives", name).expect_err(name);
        }
    }

    #[test]
    fn a_refusal_is_told_in_its_own_words_and_harmless() {
        let name = "PUT /vsock";
        let told = |body: &[u8]| refused(name, StatusCode::BAD_REQUEST, body).to_string();
        let begin = "have Firecracker do `PUT /vsock`: 400: ";
        assert_eq!(
            told(br#"{"fault_message":"no\u001b[2J"}"#),
            format!("{begin}no\\u{{1b}}[2J")
        );
        assert_eq!(told(b"what?\n"), format!("{begin}what?\\n"));
        assert!(told(&vec![b'x'; 1 << 16]).len() < 1000);
    }
}
