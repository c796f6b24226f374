//! Which fields there are, place by place.
//!
//! One table, because a field found in the wrong place gets a hint that names the right one.

use crate::suggest;

/// A kind of mapping with a fixed set of fields.
pub(crate) struct Schema {
    /// What hints call it; the top level has no name.
    place: &'static str,
    fields: &'static [&'static str],
}

const RULE_FIELDS: &[&str] = &[
    "method",
    "path",
    "command",
    "query",
    "operation_type",
    "operation_name",
    "fields",
    "tool",
    "params",
];

/// In the order in which a misplaced field is looked for.
static SCHEMAS: &[Schema] = &[
    Schema {
        place: "",
        fields: &[
            "version",
            "extends",
            "filesystem_policy",
            "landlock",
            "process",
            "carriers",
            "network_policies",
            "network_middlewares",
            "dns",
            "rego",
        ],
    },
    Schema {
        place: "filesystem_policy",
        fields: &["include_workdir", "read_only", "read_write"],
    },
    Schema {
        place: "landlock",
        fields: &["compatibility"],
    },
    Schema {
        place: "process",
        fields: &["run_as_user", "run_as_group"],
    },
    Schema {
        place: "carriers",
        fields: &["allow", "protect"],
    },
    Schema {
        place: "network_policies.KEY",
        fields: &["name", "endpoints", "binaries", "limits"],
    },
    Schema {
        place: "endpoints[]",
        fields: &[
            "host",
            "port",
            "ports",
            "path",
            "protocol",
            "tls",
            "enforcement",
            "access",
            "rules",
            "deny_rules",
            "allowed_ips",
            "allow_encoded_slash",
            "websocket_credential_rewrite",
            "request_body_credential_rewrite",
            "allow_uninspected_credentials",
            "persisted_queries",
            "graphql_persisted_queries",
            "graphql_max_body_bytes",
            "credential_signing",
            "signing_service",
            "signing_region",
            "credential_binding",
            "json_rpc",
            "mcp",
        ],
    },
    Schema {
        place: "rules[].allow",
        fields: RULE_FIELDS,
    },
    Schema {
        place: "deny_rules[]",
        fields: RULE_FIELDS,
    },
    Schema {
        place: "rules[]",
        fields: &["allow"],
    },
    Schema {
        place: "binaries[]",
        fields: &["path", "sha256", "script", "harness"],
    },
    Schema {
        place: "limits",
        fields: &["connections", "bytes", "rate"],
    },
    Schema {
        place: "matcher",
        fields: &["any", "glob"],
    },
    Schema {
        place: "graphql_persisted_queries.ID",
        fields: &["operation_type", "operation_name", "fields"],
    },
    Schema {
        place: "credential_binding",
        fields: &["provider"],
    },
    Schema {
        place: "json_rpc",
        fields: &["max_body_bytes"],
    },
    Schema {
        place: "mcp",
        fields: &[
            "max_body_bytes",
            "strict_tool_names",
            "allow_all_known_mcp_methods",
        ],
    },
    Schema {
        place: "network_middlewares.KEY",
        fields: &[
            "name",
            "middleware",
            "order",
            "config",
            "on_error",
            "endpoints",
        ],
    },
    Schema {
        place: "network_middlewares.KEY.endpoints",
        fields: &["include", "exclude"],
    },
    Schema {
        place: "config of openshell/regex",
        fields: &["mode"],
    },
    Schema {
        place: "dns",
        fields: &["allow", "deny"],
    },
    Schema {
        place: "rego",
        fields: &["file"],
    },
    // Of files with credentials, and not of policies.
    Schema {
        place: "credentials file",
        fields: &["version", "credentials"],
    },
    Schema {
        place: "credentials.KEY",
        fields: &["env", "prefix", "secret", "aws", "endpoints", "inject"],
    },
    Schema {
        place: "credentials.KEY.endpoints[]",
        fields: &["host", "port", "ports", "path", "scheme"],
    },
    Schema {
        place: "secret",
        fields: &["env", "file", "command"],
    },
    Schema {
        place: "aws",
        fields: &["access_key_id", "secret_access_key", "session_token"],
    },
    Schema {
        place: "inject",
        fields: &["header", "value", "basic"],
    },
    // Of files with cases, and not of policies.
    Schema {
        place: "cases[]",
        fields: &[
            "name",
            "binary",
            "sha256",
            "script",
            "ancestors",
            "host",
            "port",
            "method",
            "path",
            "query",
            "expect",
            "reason",
            "entry",
        ],
    },
];

/// Places whose fields have names too general for a hint.
const GENERAL: [&str; 12] = [
    "matcher",
    "config of openshell/regex",
    "network_middlewares.KEY.endpoints",
    "dns",
    "rego",
    "credentials file",
    "credentials.KEY",
    "credentials.KEY.endpoints[]",
    "secret",
    "aws",
    "inject",
    "cases[]",
];

/// The schema of a place.
pub(crate) fn of(place: &str) -> &'static Schema {
    static NONE: Schema = Schema {
        place: "",
        fields: &[],
    };
    let found = SCHEMAS.iter().find(|schema| schema.place == place);
    debug_assert!(found.is_some(), "{place} isn't in SCHEMAS");
    found.unwrap_or(&NONE)
}

impl Schema {
    /// The fields that may stand here.
    pub(crate) fn fields(&self) -> &'static [&'static str] {
        self.fields
    }

    /// What an unknown field probably should have been.
    pub(crate) fn hint(&self, field: &str) -> Option<String> {
        if let Some(meant) = suggest::nearest(field, self.fields) {
            return Some(format!("did you mean `{meant}`?"));
        }
        if self.place == "deny_rules[]" && field == "allow" {
            return Some("a deny rule has its fields directly, without `allow`".to_owned());
        }
        let home = SCHEMAS
            .iter()
            .filter(|schema| !GENERAL.contains(&schema.place))
            .find(|schema| schema.fields.contains(&field))?;
        Some(match home.place {
            "" => format!("`{field}` belongs at the top level"),
            home => format!("`{field}` belongs in `{home}`"),
        })
    }
}
