//! What is found besides plain errors, each with a name that doesn't change.

/// The lints and their ids side by side, so that none can be without one.
macro_rules! lints {
    ($($(#[doc = $doc:literal])* $lint:ident = $id:literal,)*) => {
        /// A rule that finds what is allowed and probably not meant, or what only OpenShell accepts.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Lint {
            $($(#[doc = $doc])* $lint,)*
        }

        impl Lint {
            /// Every lint.
            pub const ALL: &[Self] = &[$(Self::$lint,)*];

            /// Its name in messages, documentation and SARIF.
            pub fn id(self) -> &'static str {
                match self {
                    $(Self::$lint => $id,)*
                }
            }

            /// What it finds, in one sentence.
            pub fn summary(self) -> &'static str {
                match self {
                    $(Self::$lint => concat!($($doc),*).trim_ascii(),)*
                }
            }
        }
    };
}

lints! {
    /// `enforcement` is left out where rules are, and means `audit`.
    AuditByDefault = "audit-by-default",
    /// `access: read-write` of REST has no DELETE.
    ReadWriteHasNoDelete = "read-write-has-no-delete",
    /// A `*` that doesn't match a dot, in a pattern for something that may have dots.
    DotCrossingGlob = "dot-crossing-glob",
    /// An entry without binaries.
    NobodyMatches = "nobody-matches",
    /// An entry without endpoints.
    NothingReachable = "nothing-reachable",
    /// A binary pattern that every program matches.
    AnyBinary = "any-binary",
    /// No `protocol`: bytes pass unseen.
    ProtocolNotGiven = "protocol-not-given",
    /// `tls: terminate` or `tls: passthrough`.
    DeprecatedTls = "deprecated-tls",
    /// `tls: skip` where rules or credentials need to see the request.
    TlsSkipWithRules = "tls-skip-with-rules",
    /// A method that HTTP doesn't have.
    UnknownMethod = "unknown-method",
    /// A `[` or `{` in a pattern that isn't closed.
    UnmatchedBracket = "unmatched-bracket",
    /// A path pattern that no path can match.
    PathNeverMatches = "path-never-matches",
    /// `allowed_ips` with a network larger than /16 (IPv6: /32).
    AllowedIpsBroad = "allowed-ips-broad",
    /// A network of `allowed_ips` that is written as an address in it.
    AllowedIpsHostBits = "allowed-ips-host-bits",
    /// A host pattern that spans domains of different owners.
    BroadHost = "broad-host",
    /// A host that is an address which is always blocked.
    BlockedHost = "blocked-host",
    /// A field that has no effect where it stands.
    IgnoredField = "ignored-field",
    /// A middleware that isn't known here, so that `on_error` decides.
    UnknownMiddleware = "unknown-middleware",
    /// `version` isn't 1.
    UnknownVersion = "unknown-version",
    /// A misspelt `landlock.compatibility`.
    UnknownCompatibility = "unknown-compatibility",
    /// A misspelt `enforcement`.
    UnknownEnforcement = "unknown-enforcement",
    /// A misspelt `tls`.
    UnknownTls = "unknown-tls",
    /// A misspelt `access`.
    UnknownAccess = "unknown-access",
    /// Rules that need a `protocol` and have none.
    RulesWithoutProtocol = "rules-without-protocol",
    /// Both `port` and `ports`.
    PortAndPorts = "port-and-ports",
    /// `allowed_ips` with something that isn't an address or network.
    InvalidAllowedIps = "invalid-allowed-ips",
    /// A binary path that no program can have.
    BinaryNeverMatches = "binary-never-matches",
}

#[cfg(test)]
mod tests {
    use super::Lint;

    #[test]
    fn every_lint_is_documented() {
        let documentation = include_str!("../../../docs/policy.md");
        for lint in Lint::ALL {
            assert!(
                documentation.contains(&format!("| `{}` |", lint.id())),
                "docs/policy.md lacks {}",
                lint.id()
            );
        }
    }
}
