//! What an inspected client is told instead of a server's answer.

use crate::denial::{Denial, ErrorCode, failure_body, failure_text, response};
use crate::http1::{Headers, Malformed, RequestHead};
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

/// In which form a client gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// What programs read.
    Json,
    /// What people read: git passes on what a server says of a failure only if it is plain text.
    Text,
}

impl Form {
    /// What the client of a request wants.
    pub(super) fn of(headers: &Headers) -> Self {
        Self::of_agent(headers.all("user-agent").next())
    }

    pub(super) fn of_agent(agent: Option<&[u8]>) -> Self {
        match agent {
            Some(agent) if agent.starts_with(b"git/") => Self::Text,
            _ => Self::Json,
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Text => "text/plain; charset=utf-8",
        }
    }
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

    pub(super) fn body(&self, form: Form) -> Vec<u8> {
        match (form, self) {
            (Form::Json, Self::Denied(denial)) => denial.body(),
            (Form::Json, Self::Failed { code, detail, .. }) => failure_body(*code, detail),
            (Form::Text, Self::Denied(denial)) => denial.text().into_bytes(),
            (Form::Text, Self::Failed { detail, .. }) => failure_text(detail).into_bytes(),
        }
    }

    /// As a message of HTTP/1.1 to whoever sent this. One to HEAD has no body.
    pub(super) fn message(&self, to: &RequestHead, keep_alive: bool) -> Vec<u8> {
        let form = Form::of(&to.headers);
        let mut message = self.formed(form, keep_alive);
        if to.method == "HEAD" {
            message.truncate(message.len() - self.body(form).len());
        }
        message
    }

    /// As the last message of HTTP/1.1 to somebody who said nothing that can be read.
    pub(super) fn last_message(&self) -> Vec<u8> {
        self.formed(Form::Json, false)
    }

    fn formed(&self, form: Form, keep_alive: bool) -> Vec<u8> {
        let body = self.body(form);
        response(self.status(), (form.content_type(), &body), keep_alive)
    }
}
