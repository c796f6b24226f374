//! Where credentials may go: the rewriting of placeholders, signing, and what is bound here.

use super::model::{Protocol, Signing};
use crate::fields::Fields;
use crate::lint::Lint;
use crate::position::Located;
use crate::report::Report;
use crate::values::Word;

/// What is signed: by the request's own payload hash, with its body, without.
const SIGNINGS: [Word<Option<bool>>; 3] = [
    ("sigv4", None),
    ("sigv4:body", Some(true)),
    ("sigv4:no_body", Some(false)),
];

pub(super) struct Credentials {
    pub(super) in_websockets: bool,
    pub(super) in_bodies: bool,
    pub(super) uninspected: bool,
    pub(super) signing: Option<Signing>,
    pub(super) provider: Option<Located<String>>,
}

pub(super) fn read(fields: &Fields<'_>, protocol: Protocol, report: &mut Report) -> Credentials {
    let credentials = Credentials {
        in_websockets: fields.flag("websocket_credential_rewrite", false, report),
        in_bodies: fields.flag("request_body_credential_rewrite", false, report),
        uninspected: fields.flag("allow_uninspected_credentials", false, report),
        signing: signing(fields, report),
        provider: provider(fields, report),
    };
    check_protocol(fields, &credentials, protocol, report);
    if credentials.in_bodies
        && let Some((signing, _)) = fields.entry("credential_signing")
    {
        report.add_with_hint(
            signing.position,
            format!(
                "`{}` has both `credential_signing` and `request_body_credential_rewrite`",
                fields.path()
            ),
            "a body that is rewritten doesn't fit its signature; keep one of them",
        );
    }
    credentials
}

fn check_protocol(
    fields: &Fields<'_>,
    credentials: &Credentials,
    protocol: Protocol,
    report: &mut Report,
) {
    let rest = protocol == Protocol::Rest;
    let unfit = [
        (
            "websocket_credential_rewrite",
            credentials.in_websockets && !rest && protocol != Protocol::Websocket,
            "placeholders are found where `protocol` is `rest` or `websocket`",
        ),
        (
            "request_body_credential_rewrite",
            credentials.in_bodies && !rest,
            "placeholders are found in bodies where `protocol` is `rest`",
        ),
        (
            "credential_signing",
            credentials.signing.is_some() && matches!(protocol, Protocol::Tcp | Protocol::Sql),
            "requests are signed where `protocol` is `rest`",
        ),
    ];
    for (field, unfit, hint) in unfit {
        if let (true, Some((key, _))) = (unfit, fields.entry(field)) {
            let message = format!("`{}` doesn't go with `{protocol}`", fields.path_of(field));
            report.add_with_hint(key.position, message, hint);
        }
    }
}

fn signing(fields: &Fields<'_>, report: &mut Report) -> Option<Signing> {
    if fields.lacks("credential_signing") {
        for (field, position) in fields.given(&["signing_service", "signing_region"]) {
            report.warn(
                Lint::IgnoredField,
                position,
                format!(
                    "`{}` has no effect without `credential_signing`",
                    fields.path_of(field)
                ),
                "add `credential_signing: sigv4`, or remove it",
            );
        }
        return None;
    }
    let body = fields.choice("credential_signing", &SIGNINGS, report);
    let region = fields.text("signing_region", report);
    let hint = "name the AWS service that the signature is for, for example `s3`";
    let service = fields.needed_text("signing_service", hint, report)?;
    Some(Signing {
        body: body?.value,
        service: service.value.to_owned(),
        region: region.map(|region| region.value.to_owned()),
    })
}

fn provider(fields: &Fields<'_>, report: &mut Report) -> Option<Located<String>> {
    let binding = fields.section("credential_binding", report)?;
    let hint = "name the provider whose credentials may be used here";
    let provider = binding.needed_text("provider", hint, report);
    provider.map(|provider| provider.map(str::to_owned))
}
