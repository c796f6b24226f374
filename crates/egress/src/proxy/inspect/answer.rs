//! What an inspected client is told instead of a server's answer.

use crate::denial::{Denial, ErrorCode, failure_body, response};
use crate::http1::Malformed;
use crate::proxy::dial::Failed;

/// A refusal, for HTTP/1.1 and HTTP/2.
#[derive(Debug)]
pub(super) enum Answer {
    /// A rule of the policy refuses it.
    Denied(Box<Denial>),
    /// Something else is wrong with it.
    Failed {
        code: ErrorCode,
        status: u16,
        detail: String,
    },
}

impl Answer {
    pub(super) fn failed(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self::Failed {
            code,
            status: code.status(),
            detail: detail.into(),
        }
    }

    pub(super) fn malformed(malformed: &Malformed) -> Self {
        Self::Failed {
            code: ErrorCode::MalformedRequest,
            status: malformed.status(),
            detail: malformed.why().to_owned(),
        }
    }

    pub(super) fn too_large(most: usize) -> Self {
        Self::Failed {
            code: ErrorCode::MalformedRequest,
            status: 413,
            detail: format!("the body is longer than the {most} bytes that are read here"),
        }
    }

    pub(super) fn unreachable(failed: &Failed) -> Self {
        Self::failed(failed.code(), failed.reason())
    }

    pub(super) fn status(&self) -> u16 {
        match self {
            Self::Denied(_) => 403,
            Self::Failed { status, .. } => *status,
        }
    }

    /// JSON.
    pub(super) fn body(&self) -> Vec<u8> {
        match self {
            Self::Denied(denial) => denial.body(),
            Self::Failed { code, detail, .. } => failure_body(*code, detail),
        }
    }

    /// As a message of HTTP/1.1. One to HEAD has no body.
    pub(super) fn message(&self, method: &str, keep_alive: bool) -> Vec<u8> {
        let body = self.body();
        let mut message = response(self.status(), &body, keep_alive);
        if method == "HEAD" {
            message.truncate(message.len() - body.len());
        }
        message
    }
}
