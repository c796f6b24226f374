//! What is looked at, and how strictly: `protocol`, `path`, `tls`, `enforcement`, and the rules.

use super::glob;
use super::mcp;
use super::model::{Access, Enforcement, McpOptions, Protocol, Rule, Tls};
use super::rule::{self, Context};
use super::unseen;
use crate::fields::Fields;
use crate::lint::Lint;
use crate::position::Located;
use crate::quote::quoted;
use crate::report::Report;
use crate::values::Word;

/// The most rules of one endpoint, and as many deny rules.
const MAX_RULES: usize = 1024;

pub(super) const PROTOCOLS: [Word<Protocol>; 9] = [
    ("", Protocol::Unspecified),
    ("any", Protocol::Any),
    ("tcp", Protocol::Tcp),
    ("rest", Protocol::Rest),
    ("websocket", Protocol::Websocket),
    ("graphql", Protocol::Graphql),
    ("sql", Protocol::Sql),
    ("json-rpc", Protocol::JsonRpc),
    ("mcp", Protocol::Mcp),
];

const TLS: [Word<Option<Tls>>; 4] = [
    ("", Some(Tls::Auto)),
    ("skip", Some(Tls::Skip)),
    ("terminate", None),
    ("passthrough", None),
];

const ENFORCEMENTS: [Word<Enforcement>; 2] = [
    ("enforce", Enforcement::Enforce),
    ("audit", Enforcement::Audit),
];

const ACCESSES: [Word<Access>; 3] = [
    ("read-only", Access::ReadOnly),
    ("read-write", Access::ReadWrite),
    ("full", Access::Full),
];

#[derive(Default)]
pub(super) struct Inspection {
    pub(super) path: Option<Located<String>>,
    pub(super) enforcement: Enforcement,
    pub(super) access: Option<Access>,
    pub(super) rules: Vec<Rule>,
    pub(super) deny_rules: Vec<Rule>,
}

pub(super) fn tls(fields: &Fields<'_>, report: &mut Report) -> Tls {
    let lenient = (Lint::UnknownTls, "takes it for the default");
    let Some(stated) = fields.choice_or("tls", &TLS, lenient, report) else {
        return Tls::Auto;
    };
    if stated.value.is_none() {
        report.warn(
            Lint::DeprecatedTls,
            stated.position,
            format!(
                "this value of `{}` is deprecated and has no effect",
                fields.path_of("tls")
            ),
            "leave the field out: TLS is terminated where rules or credentials need it",
        );
    }
    stated.value.unwrap_or_default()
}

pub(super) fn read(
    fields: &Fields<'_>,
    protocol: Protocol,
    options: McpOptions,
    report: &mut Report,
) -> Inspection {
    match protocol {
        Protocol::Unspecified => {
            unseen::check_unspecified(fields, report);
            Inspection::default()
        }
        Protocol::Any | Protocol::Tcp => {
            unseen::check(fields, protocol, report);
            Inspection::default()
        }
        _ => inspected(fields, protocol, options, report),
    }
}

fn inspected(
    fields: &Fields<'_>,
    protocol: Protocol,
    options: McpOptions,
    report: &mut Report,
) -> Inspection {
    let access = access(fields, protocol, report);
    let context = Context {
        protocol,
        strict_tool_names: options.strict_tool_names,
        denies: false,
    };
    let rules = rules(fields, context, report);
    check_base(fields, protocol, options, report);
    if protocol == Protocol::Mcp {
        mcp::check_tools(&rules, report);
    }
    let deny = Context {
        denies: true,
        ..context
    };
    let items = fields.list("deny_rules", MAX_RULES, report).iter();
    let path = fields.path_of("deny_rules");
    let deny_rules = items
        .enumerate()
        .filter_map(|(index, node)| rule::read_deny(node, format!("{path}[{index}]"), deny, report))
        .collect();
    Inspection {
        path: path_selector(fields, report),
        enforcement: enforcement(fields, protocol, report),
        access,
        rules,
        deny_rules,
    }
}

fn rules(fields: &Fields<'_>, context: Context, report: &mut Report) -> Vec<Rule> {
    let items = fields.list("rules", MAX_RULES, report).iter();
    let path = fields.path_of("rules");
    items
        .enumerate()
        .filter_map(|(index, node)| {
            rule::read_allow(node, format!("{path}[{index}]"), context, report)
        })
        .collect()
}

/// Exactly one of `rules` and `access` says what is allowed.
fn check_base(fields: &Fields<'_>, protocol: Protocol, options: McpOptions, report: &mut Report) {
    let (rules, access) = (fields.entry("rules"), fields.entry("access"));
    match (rules, access) {
        (Some((rules, _)), Some((access, _))) => report.add_with_hint(
            rules.position.max(access.position),
            format!("`{}` has both `access` and `rules`", fields.path()),
            "`access` is a preset in place of `rules`; keep one of them",
        ),
        (Some((rules, node)), None) => {
            let empty = matches!(&node.value, crate::node::Value::List(items) if items.is_empty());
            if empty {
                report.add_with_hint(
                    rules.position,
                    format!(
                        "`{}` is empty, so everything would be denied",
                        fields.path_of("rules")
                    ),
                    "write a rule, or remove the endpoint",
                );
            }
        }
        (None, Some(_)) => {}
        (None, None) if protocol == Protocol::Mcp && options.allow_all_known_methods => {}
        (None, None) => {
            let hint = match protocol {
                Protocol::Mcp => "write `rules`, or `mcp: {allow_all_known_mcp_methods: true}`",
                Protocol::JsonRpc => "write `rules` with the methods that are allowed",
                _ => "write `rules`, or a preset such as `access: read-only`",
            };
            report.add_with_hint(
                fields.position,
                format!("`{}` doesn't say what is allowed", fields.path()),
                hint,
            );
        }
    }
}

fn access(fields: &Fields<'_>, protocol: Protocol, report: &mut Report) -> Option<Access> {
    let lenient = (
        Lint::UnknownAccess,
        "takes it for no rules at all, so that no request is allowed",
    );
    let access = fields.choice_or("access", &ACCESSES, lenient, report)?;
    match (protocol, access.value) {
        (Protocol::Mcp | Protocol::JsonRpc, _) => report.add_with_hint(
            access.position,
            format!("`{protocol}` has no presets"),
            "write `rules` with the methods that are allowed",
        ),
        (Protocol::Sql, Access::ReadOnly | Access::ReadWrite) => report.warn(
            Lint::IgnoredField,
            access.position,
            "`protocol: sql` is only audited, and its presets are all the same",
            "write `access: full`",
        ),
        (Protocol::Rest, Access::ReadWrite) => report.warn(
            Lint::ReadWriteHasNoDelete,
            access.position,
            "`access: read-write` doesn't allow DELETE",
            "if it's needed, write `rules`, or `access: full` with `deny_rules`",
        ),
        _ => {}
    }
    Some(access.value)
}

fn enforcement(fields: &Fields<'_>, protocol: Protocol, report: &mut Report) -> Enforcement {
    let lenient = (Lint::UnknownEnforcement, "takes it for `audit`");
    let stated = fields.choice_or("enforcement", &ENFORCEMENTS, lenient, report);
    if fields.entry("enforcement").is_none() && protocol != Protocol::Sql {
        report.warn(
            Lint::AuditByDefault,
            fields.position,
            format!(
                "`{}` has no `enforcement`, so requests against the rules are only logged",
                fields.path()
            ),
            "write `enforcement: enforce`, or `enforcement: audit` if that's meant",
        );
    }
    match stated {
        Some(stated) if protocol == Protocol::Sql && stated.value == Enforcement::Enforce => {
            report.add_with_hint(
                stated.position,
                "`protocol: sql` can't be enforced, because SQL isn't parsed",
                "write `enforcement: audit`",
            );
            Enforcement::Audit
        }
        stated => stated.map_or(Enforcement::Audit, |stated| stated.value),
    }
}

/// `path` of the endpoint: which URLs of the host it's about.
fn path_selector(fields: &Fields<'_>, report: &mut Report) -> Option<Located<String>> {
    let path = fields.text("path", report)?;
    let name = fields.path_of("path");
    if !path.value.starts_with('/') && path.value != "**" {
        report.add_with_hint(
            path.position,
            format!("{} in `{name}` doesn't begin with `/`", quoted(path.value)),
            "a path begins with `/`; `**` is every path",
        );
        return None;
    }
    glob::check_brackets(&path, &name, report);
    Some(path.map(str::to_owned))
}
