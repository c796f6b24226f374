//! `endpoints[]`: a place, and what may be said there.

use super::credentials;
use super::destination;
use super::inspection;
use super::model::{Endpoint, Protocol, Tls};
use super::options;
use crate::fields::Fields;
use crate::lint::Lint;
use crate::node::Node;
use crate::report::Report;

/// The endpoint; nothing if something is wrong with it, so that it isn't compared with others.
pub(super) fn read(node: &Node, path: String, report: &mut Report) -> Option<Endpoint> {
    let errors = report.errors();
    let fields = Fields::nested(node, "endpoints[]", path, report)?;
    let protocol = match fields.entry("protocol") {
        None => Protocol::Unspecified,
        // Without knowing what is spoken there, no field can be told from a wrong one.
        Some(_) => {
            fields
                .choice("protocol", &inspection::PROTOCOLS, report)?
                .value
        }
    };
    let destination = destination::read(&fields, protocol, report);
    let options = options::read(&fields, protocol, report);
    let inspection = inspection::read(&fields, protocol, options.mcp, report);
    let credentials = credentials::read(&fields, protocol, report);
    let endpoint = Endpoint {
        position: fields.position,
        host: destination.host,
        ports: destination.ports,
        path: inspection.path,
        protocol,
        tls: inspection::tls(&fields, report),
        enforcement: inspection.enforcement,
        access: inspection.access,
        rules: inspection.rules,
        deny_rules: inspection.deny_rules,
        allowed_ips: destination.allowed_ips,
        allow_encoded_slash: fields.flag("allow_encoded_slash", false, report),
        websocket_credential_rewrite: credentials.in_websockets,
        request_body_credential_rewrite: credentials.in_bodies,
        allow_uninspected_credentials: credentials.uninspected,
        signing: credentials.signing,
        credential_provider: credentials.provider,
        graphql: options.graphql,
        mcp: options.mcp,
        body: options.body,
    };
    check_tls(&fields, &endpoint, report);
    if endpoint.allow_encoded_slash && !protocol.is_inspected() {
        for (field, position) in fields.given(&["allow_encoded_slash"]) {
            report.warn(
                Lint::IgnoredField,
                position,
                format!(
                    "`{}` has no effect with `{protocol}`",
                    fields.path_of(field)
                ),
                "remove it: paths are not looked at there",
            );
        }
    }
    (report.errors() == errors).then_some(endpoint)
}

/// What `tls: skip` keeps from working.
fn check_tls(fields: &Fields<'_>, endpoint: &Endpoint, report: &mut Report) {
    let needs = endpoint.protocol.is_inspected() || endpoint.signing.is_some();
    if endpoint.tls != Tls::Skip || !needs {
        return;
    }
    if let Some((key, _)) = fields.entry("tls") {
        report.warn(
            Lint::TlsSkipWithRules,
            key.position,
            format!(
                "`{}: skip` leaves rules and credentials nothing to see in TLS",
                fields.path_of("tls")
            ),
            "remove it, or write `protocol: any` if any bytes may pass",
        );
    }
}
