//! Endpoints whose bytes pass unseen, and fields that would promise otherwise.

use super::model::Protocol;
use crate::fields::Fields;
use crate::lint::Lint;
use crate::quote::quoted_list;
use crate::report::Report;

/// Fields without meaning unless requests are looked at.
const NEED_PROTOCOL: [&str; 4] = ["path", "enforcement", "access", "rules"];

/// Rules without a protocol would look as if they were applied.
pub(super) fn check_unspecified(fields: &Fields<'_>, report: &mut Report) {
    if let Some((_, position)) = fields.given(&["deny_rules"]).first() {
        report.add_with_hint(
            *position,
            format!("`{}` needs a `protocol`", fields.path_of("deny_rules")),
            "add `protocol: rest`, or whatever is spoken there",
        );
    }
    let given = fields.given(&NEED_PROTOCOL);
    let Some((_, position)) = given.first() else {
        if fields.entry("deny_rules").is_none() {
            report.warn(
                Lint::ProtocolNotGiven,
                fields.position,
                format!("`{}` has no `protocol`, so any bytes pass", fields.path()),
                "add `protocol: rest` and rules, or write `protocol: any` if that's meant",
            );
        }
        return;
    };
    let names: Vec<_> = given.iter().map(|(name, _)| *name).collect();
    report.tolerate(
        Lint::RulesWithoutProtocol,
        *position,
        format!("`{}` has {} but no `protocol`", fields.path(), quoted_list(&names)),
        "add `protocol: rest`, or whatever is spoken there; OpenShell ignores the fields and lets any bytes pass",
    );
}

/// Protocols whose bytes pass unseen have nothing that rules could be about.
pub(super) fn check(fields: &Fields<'_>, protocol: Protocol, report: &mut Report) {
    for (field, position) in fields.given(&["path", "access", "rules", "deny_rules"]) {
        report.add_with_hint(
            position,
            format!("`{}` doesn't go with `{protocol}`", fields.path_of(field)),
            "bytes pass unseen there; remove the field, or name a protocol that is looked at",
        );
    }
    for (field, position) in fields.given(&["enforcement"]) {
        report.warn(
            Lint::IgnoredField,
            position,
            format!(
                "`{}` has no effect with `{protocol}`",
                fields.path_of(field)
            ),
            "remove it: who may connect where is always enforced",
        );
    }
}
