//! The objects inside an event.

use std::borrow::Cow;
use std::net::SocketAddr;

use serde::Serialize;

use crate::audit::process::Process;
use casemate_core::hex;

/// The longest text of an event.
const MAX_TEXT_BYTES: usize = 4096;

/// The most ancestors that are listed.
const MAX_ANCESTORS: usize = 32;

/// The text, cut at a character if it's too long.
pub(super) fn cut(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_TEXT_BYTES {
        return text.into();
    }
    let mut end = MAX_TEXT_BYTES;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end]).into()
}

#[derive(Serialize)]
pub(super) struct Metadata<'a> {
    pub(super) version: &'static str,
    pub(super) product: Product,
    pub(super) profiles: [&'static str; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) correlation_uid: Option<Cow<'a, str>>,
}

#[derive(Serialize)]
pub(super) struct Product {
    pub(super) name: &'static str,
    pub(super) vendor_name: &'static str,
    pub(super) version: &'static str,
}

pub(super) const PRODUCT: Product = Product {
    name: "Casemate",
    vendor_name: "Casemate",
    version: env!("CARGO_PKG_VERSION"),
};

#[derive(Serialize)]
pub(super) struct Actor<'a> {
    process: ProcessObject<'a>,
}

#[derive(Serialize)]
struct ProcessObject<'a> {
    name: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cmd_line: Option<Cow<'a, str>>,
    file: File<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ancestry: Vec<ProcessEntity<'a>>,
}

#[derive(Serialize)]
struct File<'a> {
    name: Cow<'a, str>,
    path: Cow<'a, str>,
    type_id: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hashes: Vec<Fingerprint>,
}

#[derive(Serialize)]
struct Fingerprint {
    algorithm_id: u32,
    algorithm: &'static str,
    value: String,
}

#[derive(Serialize)]
struct ProcessEntity<'a> {
    path: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
}

impl<'a> From<&'a Process> for Actor<'a> {
    fn from(process: &'a Process) -> Self {
        // A path may be any bytes; the parts that aren't text are replaced.
        let text = |path: &'a std::path::Path| match path.to_string_lossy() {
            Cow::Borrowed(text) => cut(text),
            Cow::Owned(text) => Cow::Owned(cut(&text).into_owned()),
        };
        let name = process.path.file_name().unwrap_or_default();
        let name = || text(std::path::Path::new(name));
        let digest = |sha256: &[u8; 32]| Fingerprint {
            algorithm_id: 3,
            algorithm: "SHA-256",
            value: hex::encode(sha256),
        };
        let ancestors = process.ancestors.iter().take(MAX_ANCESTORS);
        Self {
            process: ProcessObject {
                name: name(),
                pid: process.pid,
                cmd_line: process.command_line.as_deref().map(cut),
                file: File {
                    name: name(),
                    path: text(&process.path),
                    type_id: 1,
                    hashes: process.sha256.iter().map(digest).collect(),
                },
                ancestry: ancestors
                    .map(|ancestor| ProcessEntity {
                        path: text(&ancestor.path),
                        pid: ancestor.pid,
                    })
                    .collect(),
            },
        }
    }
}

#[derive(Default, Serialize)]
pub(super) struct Endpoint<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hostname: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) port: Option<u16>,
}

impl From<SocketAddr> for Endpoint<'_> {
    fn from(address: SocketAddr) -> Self {
        Self {
            hostname: None,
            ip: Some(address.ip().to_string()),
            port: Some(address.port()),
        }
    }
}
