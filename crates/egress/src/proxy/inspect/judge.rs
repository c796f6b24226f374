//! One request, of whichever version of HTTP: may it go on, and what is written down about it.

use super::answer::Answer;
use super::said::Reading;
use super::session::Session;
use crate::audit::Outcome;
use crate::audit::ocsf::HttpRequest;
use crate::denial::{Denial, ErrorCode, RuleMissing};
use crate::host::Authority;
use crate::http1::Headers;
use crate::path::{CanonicalTarget, PathRules};
use crate::proxy::decide::{self, Permit};
use crate::proxy::dial::Way;
use casemate_identity::Shown;
use casemate_policy::compiled::{DeniedRequest, Endpoint, RequestDecision};
use casemate_policy::network::Signing;

/// A request whose place and target are known, and not yet whether it may be made.
pub(super) struct Asked {
    pub(super) permit: Permit,
    pub(super) method: String,
    pub(super) target: CanonicalTarget,
    pub(super) reading: Reading,
    /// Over TLS.
    pub(super) secure: bool,
    pub(super) own: Own,
}

/// What the request's endpoint says of credentials.
#[derive(Clone, Debug, Default)]
pub(super) struct Own {
    /// They are filled in in bodies, too.
    pub(super) in_body: bool,
    /// Only those of this provider.
    pub(super) provider: Option<String>,
    /// Requests are signed anew.
    pub(super) signing: Option<Signing>,
}

impl Own {
    pub(super) fn of(endpoint: Option<&Endpoint>) -> Self {
        endpoint.map_or_else(Self::default, |endpoint| {
            let declared = endpoint.declared();
            let provider = declared.credential_provider.as_ref();
            Self {
                in_body: declared.request_body_credential_rewrite,
                provider: provider.map(|own| own.value.clone()),
                signing: declared.signing.clone(),
            }
        })
    }
}

impl Session {
    /// What is asked for, in its one spelling.
    pub(super) fn asked(
        &self,
        method: &str,
        authority: Option<&Authority>,
        origin: &str,
    ) -> Result<Asked, Answer> {
        let permit = self.place(authority)?;
        let (target, reading, own) = targeted(&permit, origin)?;
        Ok(Asked {
            permit,
            method: method.to_owned(),
            target,
            reading,
            secure: self.secure,
            own,
        })
    }

    /// Where a request may go that names this place: to where the connection goes, or, without
    /// TLS, to another name that the sandbox was given for the same address.
    fn place(&self, authority: Option<&Authority>) -> Result<Permit, Answer> {
        let current = self.permit.under(self.shared.policy.load_full());
        let gone = || Answer::failed(ErrorCode::PolicyDenied, "the policy no longer allows it");
        let current = current.ok_or_else(gone)?;
        let Some(authority) = authority else {
            return Ok(current);
        };
        let port = authority.port_or(self.default_port());
        if port == current.port && authority.host == current.host {
            return Ok(current);
        }
        if port == current.port
            && !self.secure
            && let Way::Address(to) = &self.way
            && self.shared.names.of(to.ip()).contains(&authority.host)
            && let Ok(other) = decide::host(
                &self.shared,
                &current.identity,
                authority.host.clone(),
                port,
            )
            && self.shared.dialer.judge(&other, &[to.ip()]).is_ok()
        {
            return Ok(other);
        }
        let (here, named) = (
            format!("{}:{}", current.host, current.port),
            format!("{}:{port}", authority.host),
        );
        let detail = format!("the request is for {named}, and the connection is to {here}");
        self.shared.journal.finding(
            &current,
            "casemate.http.request-authority-mismatch",
            "A request names another host than its connection",
            &detail,
        );
        self.note_denied(&current, &detail);
        Err(Answer::failed(ErrorCode::RequestAuthorityMismatch, detail))
    }

    /// Judges a request that was read as far as its endpoint wants it to be.
    pub(super) fn judge(
        &self,
        asked: &Asked,
        headers: &Headers,
        body: &[u8],
    ) -> Result<(), Answer> {
        let said = asked
            .reading
            .read(&asked.method, headers, &asked.target, body);
        let decision = match asked.permit.grant() {
            None => return Err(Answer::failed(ErrorCode::PolicyDenied, "it's not allowed")),
            Some(grant) => {
                let about = (asked.method.as_str(), &asked.target);
                said.judge(about, |request| grant.request(request))
            }
        };
        drop(said);
        self.decided(
            &asked.permit,
            (&asked.method, asked.target.path()),
            decision,
        )
    }

    /// Writes a decision down, and turns one that is enforced into what the client is told.
    pub(super) fn decided(
        &self,
        permit: &Permit,
        (method, path): (&str, &str),
        decision: RequestDecision,
    ) -> Result<(), Answer> {
        let (outcome, denied) = match decision {
            RequestDecision::Allow => {
                if let Some(learning) = permit.learning() {
                    learning.allowed(permit, (method, path));
                }
                (Outcome::Allowed, None)
            }
            RequestDecision::Deny(denied) if let Some(learning) = permit.learns(&denied, path) => {
                learning.requested(permit, (method, path));
                (Outcome::Allowed, None)
            }
            RequestDecision::Deny(denied) if denied.enforced => (Outcome::Denied, Some(denied)),
            RequestDecision::Deny(denied) => (Outcome::Audited, Some(denied)),
        };
        let request = HttpRequest {
            scheme: if self.secure { "https" } else { "http" }.to_owned(),
            method: method.to_owned(),
            path: path.to_owned(),
        };
        let reason = denied.as_ref().map_or("", |own| own.reason.as_str());
        let rule = denied.as_ref().and_then(rule);
        self.shared.journal.request(
            permit,
            request,
            (outcome, reason),
            rule,
            self.account.server(),
        );
        match denied {
            Some(denied) if outcome == Outcome::Denied => {
                self.note_denied(permit, &denied.reason);
                let denial = denial(permit, (method, path), denied);
                Err(Answer::Denied(Box::new(denial)))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn note_denied(&self, permit: &Permit, why: &str) {
        let binary = Shown(&permit.identity.executable.path).to_string();
        let host = permit.host.to_string();
        self.shared.ledger.denied(&binary, &host, permit.port, why);
        if let Some(learning) = &self.shared.policy.load().learning {
            learning.refused(None, (&host, permit.port), "l7", why);
        }
    }
}

/// The target in its one spelling, and what its endpoint wants to know of the body.
fn targeted(permit: &Permit, origin: &str) -> Result<(CanonicalTarget, Reading, Own), Answer> {
    let gone = || Answer::failed(ErrorCode::PolicyDenied, "the policy no longer allows it");
    let invalid = |why: &str| Answer::failed(ErrorCode::InvalidRequestTarget, why);
    let grant = permit.grant().ok_or_else(gone)?;
    let mut endpoints = grant.endpoints();
    let rules = PathRules {
        allow_encoded_slash: endpoints.any(|own| own.declared().allow_encoded_slash),
    };
    let target = CanonicalTarget::parse(origin, rules).map_err(|bad| invalid(bad.0))?;
    let endpoint = grant.endpoint_for(target.path());
    // Another endpoint may allow it, and not this one.
    let slash = endpoint.is_some_and(|own| own.declared().allow_encoded_slash);
    if target.path().contains("%2F") && !slash {
        return Err(invalid("the path has an encoded slash"));
    }
    let reading = Reading::of(endpoint);
    Ok((target, reading, Own::of(endpoint)))
}

/// Where the rule stands that was met.
fn rule(denied: &DeniedRequest) -> Option<String> {
    let position = denied.rule?;
    Some(format!("{}:{}", position.line, position.column))
}

fn denial(permit: &Permit, (method, path): (&str, &str), denied: DeniedRequest) -> Denial {
    let grant = permit.grant();
    let endpoint = grant.as_ref().and_then(|grant| grant.endpoint_for(path));
    let protocol = endpoint.map_or_else(String::new, |own| own.protocol().to_string());
    let protocol = protocol.strip_prefix("protocol: ").unwrap_or("rest");
    let binary = Shown(&permit.identity.executable.path).to_string();
    let (host, port) = (permit.host.to_string(), permit.port);
    let rule = rule(&denied);
    let next_steps = match &rule {
        Some(rule) => vec![format!("the rule at {rule} of the policy refuses it")],
        None => vec![format!(
            "allow {method} {path} at {host}:{port} in network_policies"
        )],
    };
    Denial {
        error: ErrorCode::PolicyDenied.as_str().to_owned(),
        policy: denied.entry.unwrap_or_else(|| "-".to_owned()),
        detail: denied.reason,
        layer: "l7".to_owned(),
        protocol: protocol.to_owned(),
        method: Some(method.to_owned()),
        path: Some(path.to_owned()),
        rule_missing: rule.is_none().then(|| RuleMissing {
            layer: "l7".to_owned(),
            host: host.clone(),
            port,
            binary: binary.clone(),
            method: Some(method.to_owned()),
            path: Some(path.to_owned()),
        }),
        rule,
        next_steps,
        agent_guidance: None,
        host,
        port,
        binary,
    }
}
