//! What a sandbox is told when something is refused: JSON that a program can act on.
//!
//! The field names are those of OpenShell, so that agents that know its denials know these too.

use serde::Serialize;

/// The longest value of a field; what a request said is cut to this.
const MAX_FIELD_BYTES: usize = 1024;

/// What most answers are.
const JSON: &str = "application/json";

/// The most suggestions.
const MAX_NEXT_STEPS: usize = 8;

/// A request that the policy refuses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Denial {
    /// `policy_denied`, or another of [`ErrorCode`].
    pub error: String,
    /// The policy that was decisive; `-` if none matched.
    pub policy: String,
    /// The rule that was decisive, if one was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The reason in a sentence.
    pub detail: String,
    /// `l4` or `l7`.
    pub layer: String,
    /// `rest`, `websocket`, `graphql`, `json-rpc`, `mcp`, `tcp`.
    pub protocol: String,
    /// Of the request, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Of the request, if there was one; without the query, which may hold what nobody should log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Where it wanted to go.
    pub host: String,
    /// Where it wanted to go.
    pub port: u16,
    /// The program that asked.
    pub binary: String,
    /// What a policy would have to allow for it to pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule_missing: Option<RuleMissing>,
    /// What to do about it.
    pub next_steps: Vec<String>,
    /// A word to an agent, if the operator wants to give one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_guidance: Option<String>,
}

/// The rule that isn't in the policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RuleMissing {
    /// `l4` or `l7`.
    pub layer: String,
    /// The endpoint's host.
    pub host: String,
    /// The endpoint's port.
    pub port: u16,
    /// The binary to be listed.
    pub binary: String,
    /// The method to be allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The path to be allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// What went wrong, where it isn't a rule of the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The policy refuses it.
    PolicyDenied,
    /// The address isn't one that a sandbox may reach.
    SsrfDenied,
    /// The target of the request can be read in two ways.
    InvalidRequestTarget,
    /// The request itself can be read in two ways, or in none.
    MalformedRequest,
    /// A placeholder that stands for no credential.
    InvalidCredentialPlaceholder,
    /// A credential that doesn't belong there.
    CredentialEndpointMismatch,
    /// A credential would go where nothing looks at the traffic.
    UninspectedCredentials,
    /// `Host` names another place than the connection.
    RequestAuthorityMismatch,
    /// A scheme that the proxy doesn't take.
    UnsupportedProxyScheme,
    /// `policy.local` is asked otherwise than by plain HTTP.
    InvalidPolicyLocalScheme,
    /// Something else than the endpoint's protocol is spoken.
    UnsupportedL7Protocol,
    /// A step of the policy's own refused it.
    MiddlewareDenied,
    /// A step of the policy's own can't look at this traffic, and has to.
    MiddlewareRequired,
    /// A step of the policy's own failed.
    MiddlewareFailed,
    /// The server can't be reached.
    UpstreamUnreachable,
    /// TLS would have to be terminated, and can't be.
    TlsTerminationUnavailable,
}

impl ErrorCode {
    /// As it stands in `error`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PolicyDenied => "policy_denied",
            Self::SsrfDenied => "ssrf_denied",
            Self::InvalidRequestTarget => "invalid_request_target",
            Self::MalformedRequest => "malformed_request",
            Self::InvalidCredentialPlaceholder => "invalid_credential_placeholder",
            Self::CredentialEndpointMismatch => "credential_endpoint_mismatch",
            Self::UninspectedCredentials => "uninspected_credentials",
            Self::RequestAuthorityMismatch => "request_authority_mismatch",
            Self::UnsupportedProxyScheme => "unsupported_proxy_scheme",
            Self::InvalidPolicyLocalScheme => "invalid_policy_local_scheme",
            Self::UnsupportedL7Protocol => "unsupported_l7_protocol",
            Self::MiddlewareDenied => "middleware_denied",
            Self::MiddlewareRequired => "middleware_required",
            Self::MiddlewareFailed => "middleware_failed",
            Self::UpstreamUnreachable => "upstream_unreachable",
            Self::TlsTerminationUnavailable => "tls_termination_unavailable",
        }
    }

    /// The status that goes with it.
    pub fn status(self) -> u16 {
        match self {
            Self::InvalidRequestTarget
            | Self::MalformedRequest
            | Self::InvalidCredentialPlaceholder
            | Self::RequestAuthorityMismatch
            | Self::UnsupportedProxyScheme
            | Self::InvalidPolicyLocalScheme => 400,
            Self::PolicyDenied
            | Self::SsrfDenied
            | Self::CredentialEndpointMismatch
            | Self::UninspectedCredentials
            | Self::UnsupportedL7Protocol
            | Self::MiddlewareDenied
            | Self::MiddlewareRequired => 403,
            Self::UpstreamUnreachable => 502,
            Self::MiddlewareFailed | Self::TlsTerminationUnavailable => 503,
        }
    }
}

impl Denial {
    /// The JSON, with everything cut that is too long.
    pub fn body(&self) -> Vec<u8> {
        let mut cut = self.clone();
        for field in [
            &mut cut.error,
            &mut cut.policy,
            &mut cut.detail,
            &mut cut.layer,
            &mut cut.protocol,
            &mut cut.host,
            &mut cut.binary,
        ] {
            shorten(field);
        }
        let optional = [
            &mut cut.rule,
            &mut cut.method,
            &mut cut.path,
            &mut cut.agent_guidance,
        ];
        optional.into_iter().flatten().for_each(shorten);
        if let Some(missing) = &mut cut.rule_missing {
            let fields = [&mut missing.layer, &mut missing.host, &mut missing.binary];
            fields.into_iter().for_each(shorten);
            let optional = [&mut missing.method, &mut missing.path];
            optional.into_iter().flatten().for_each(shorten);
        }
        cut.next_steps.truncate(MAX_NEXT_STEPS);
        cut.next_steps.iter_mut().for_each(shorten);
        json(&cut)
    }

    /// The whole response: 403, after which the connection is closed.
    pub fn response(&self) -> Vec<u8> {
        response(403, (JSON, &self.body()), false)
    }

    /// The same in words, a line for each.
    pub fn text(&self) -> String {
        let mut text = failure_text(&self.detail);
        for step in self.next_steps.iter().take(MAX_NEXT_STEPS) {
            text += "hint: ";
            text += &line(step);
            text.push('\n');
        }
        text
    }
}

/// What went wrong, for people.
pub(crate) fn failure_text(detail: &str) -> String {
    format!("refused by the sandbox: {}\n", line(detail))
}

/// On one line, and cut.
fn line(text: &str) -> String {
    let mut text = text.replace(char::is_control, "\u{fffd}");
    shorten(&mut text);
    text
}

/// The response for what isn't a denial by a rule: `{"error", "detail"}`.
pub fn failure(code: ErrorCode, detail: &str) -> Vec<u8> {
    failure_with_status(code, code.status(), detail)
}

/// The same with another status, such as that of [`crate::http1::Malformed`].
pub fn failure_with_status(code: ErrorCode, status: u16, detail: &str) -> Vec<u8> {
    response(status, (JSON, &failure_body(code, detail)), false)
}

/// The JSON alone.
pub(crate) fn failure_body(code: ErrorCode, detail: &str) -> Vec<u8> {
    #[derive(Serialize)]
    struct Failure<'a> {
        error: &'a str,
        detail: &'a str,
    }
    let mut detail = detail.to_owned();
    shorten(&mut detail);
    json(&Failure {
        error: code.as_str(),
        detail: &detail,
    })
}

/// A response of HTTP/1.1, after which the connection is closed unless it's to be kept.
pub(crate) fn response(status: u16, (kind, body): (&str, &[u8]), keep_alive: bool) -> Vec<u8> {
    let reason = match status {
        400 => "Bad Request",
        403 => "Forbidden",
        413 => "Content Too Large",
        417 => "Expectation Failed",
        431 => "Request Header Fields Too Large",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Error",
    };
    let connection = if keep_alive {
        ""
    } else {
        "Connection: close\r\n"
    };
    let head = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\n\
         Content-Length: {}\r\nCache-Control: no-store\r\n{connection}\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn json(value: &impl Serialize) -> Vec<u8> {
    // Strings and numbers only: there is nothing in these that can't be written.
    serde_json::to_vec(value).unwrap_or_else(|_| br#"{"error":"policy_denied"}"#.to_vec())
}

fn shorten(text: &mut String) {
    if text.len() > MAX_FIELD_BYTES {
        let mut end = MAX_FIELD_BYTES;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::http1::{Framing, Limits, ResponseHead};

    fn denial() -> Denial {
        Denial {
            error: "policy_denied".to_owned(),
            policy: "github".to_owned(),
            detail: "DELETE /repos/a/b not permitted by policy".to_owned(),
            layer: "l7".to_owned(),
            protocol: "rest".to_owned(),
            method: Some("DELETE".to_owned()),
            path: Some("/repos/a/b".to_owned()),
            host: "api.github.com".to_owned(),
            port: 443,
            binary: "/usr/bin/curl".to_owned(),
            rule_missing: Some(RuleMissing::default()),
            next_steps: vec!["ask".to_owned()],
            ..Denial::default()
        }
    }

    fn split(response: &[u8]) -> (ResponseHead, Value) {
        let at = response
            .windows(4)
            .position(|w| w == b"\r\n\r\n")
            .expect("a head")
            + 4;
        let head = ResponseHead::parse(&response[..at], "GET", &Limits::default());
        let head = head.expect("a response");
        assert_eq!(head.framing, Framing::Length((response.len() - at) as u64));
        (head, serde_json::from_slice(&response[at..]).expect("JSON"))
    }

    #[test]
    fn in_words_it_has_a_line_for_each_thing_whatever_was_asked() {
        let denial = Denial {
            detail: "GET /a\r\nremote: fine not permitted".into(),
            next_steps: vec!["allow it".into(), "x".repeat(5000)],
            ..Denial::default()
        };
        let text = denial.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[..2],
            [
                "refused by the sandbox: GET /a\u{fffd}\u{fffd}remote: fine not permitted",
                "hint: allow it"
            ]
        );
        assert_eq!((lines.len(), lines[2].len()), (3, 6 + MAX_FIELD_BYTES + 3));
    }

    #[test]
    fn a_denial_has_the_known_fields() {
        let (head, body) = split(&denial().response());
        assert_eq!(head.status, 403);
        let keys: Vec<_> = body.as_object().expect("an object").keys().collect();
        assert_eq!(
            keys,
            [
                "binary",
                "detail",
                "error",
                "host",
                "layer",
                "method",
                "next_steps",
                "path",
                "policy",
                "port",
                "protocol",
                "rule_missing"
            ]
        );
    }

    #[test]
    fn failures_have_their_status() {
        let (head, body) = split(&failure(ErrorCode::SsrfDenied, "127.0.0.1\r\nX: y"));
        assert_eq!((head.status, head.headers.has("x")), (403, false));
        assert_eq!(body["error"], "ssrf_denied");
        assert_eq!(
            split(&failure(ErrorCode::UpstreamUnreachable, "")).0.status,
            502
        );
        let (head, _) = split(&failure_with_status(ErrorCode::MalformedRequest, 431, ""));
        assert_eq!(head.status, 431);
    }

    proptest! {
        #[test]
        fn whatever_was_asked_the_answer_is_bounded_json(text in "\\PC{0,40}", times in 0usize..200) {
            let long = text.repeat(times);
            let denial = Denial { path: Some(long.clone()), detail: long.clone(), next_steps: vec![long; 20], ..denial() };
            let response = denial.response();
            prop_assert!(response.len() < 100_000);
            split(&response);
        }
    }
}
