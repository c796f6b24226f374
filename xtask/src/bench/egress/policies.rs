//! Policies of any size, of the kind that people write.

use std::fmt;

use casemate_policy::network::{Access, Endpoint, Network, Protocol, Rule};

// The program in Rego and the short words for policies are those that the policy's own tests use.
#[path = "../../../../crates/policy/tests/model/mod.rs"]
mod model;
#[path = "../../../../crates/policy/tests/oracle/mod.rs"]
pub(super) mod oracle;

use model::{endpoint, entry, located, matchers, rule};

/// How long a policy is.
#[derive(Clone, Copy)]
pub(super) struct Size {
    pub(super) entries: usize,
    endpoints: usize,
}

pub(super) const SIZES: [Size; 4] = [
    Size {
        entries: 1,
        endpoints: 1,
    },
    Size {
        entries: 20,
        endpoints: 5,
    },
    Size {
        entries: 200,
        endpoints: 5,
    },
    Size {
        entries: 1000,
        endpoints: 1,
    },
];

/// `ENTRIES×ENDPOINTS`
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}×{}", self.entries, self.endpoints)
    }
}

/// Entries of tools that each have their hosts.
pub(super) fn network(size: Size) -> Network {
    model::network((0..size.entries).map(|number| {
        let tool = tool(number);
        let binaries = [
            &*tool,
            &*format!("/opt/tool{number}/**"),
            "/usr/lib/helper/*",
        ];
        let endpoints = (0..size.endpoints).map(|index| judged(&host(number, index)));
        entry(&format!("e{number:04}"), &binaries, endpoints.collect())
    }))
}

/// What an entry lists.
pub(super) fn tool(entry: usize) -> String {
    format!("/usr/bin/tool{entry}")
}

/// Where an entry's endpoint is; the second one is a pattern that has this name.
pub(super) fn host(entry: usize, index: usize) -> String {
    match index {
        1 => format!("*.tool{entry}.example.com"),
        index => format!("api{index}.tool{entry}.example.com"),
    }
}

fn judged(host: &str) -> Endpoint {
    Endpoint {
        access: Some(Access::ReadWrite),
        deny_rules: vec![
            rule("*", "/repos/*/*/rulesets"),
            Rule {
                query: matchers(&[("ref", "release-*")]),
                ..rule("POST", "/repos/**")
            },
        ],
        path: host.starts_with("api4").then(|| located("/repos/**")),
        ..endpoint(host, Protocol::Rest)
    }
}
