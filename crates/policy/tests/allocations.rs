//! Allowing takes no memory.
//!
//! A test of its own program, because the allocator is that of the whole program.

// The allocator that counts has to be one: its methods are unsafe by their signatures.
#![allow(unsafe_code)]

mod model;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::IpAddr;

use casemate_policy::compiled::{
    Ancestor, Compiled, Decision, Graphql, Operation, Request, RequestDecision, Rpc, Subject,
    Target,
};
use casemate_policy::network::{
    Access, Binary, Endpoint, Entry, Network, OperationType, Protocol, Rule,
};
use model::{binary, endpoint, entry, located, matchers, network, rule};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes on to the system's allocator as it came; the counter is a plain cell of
// the thread that has no destructor and takes no memory itself.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller holds to the contract of `alloc`, which is the same one.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block comes from `System`, since nothing else hands out any here.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often memory was asked for.
fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

#[test]
fn the_counter_counts() {
    let count = allocations(|| drop(std::hint::black_box(Box::new(1))));
    assert_eq!(count, 1);
}

#[test]
fn an_allowed_connection_and_request_take_no_memory() {
    let compiled = Compiled::new(&policy()).expect("a policy");
    let digest = [7; 32];
    let ancestors = ["/usr/bin/bash", "/opt/tool/bin/agent", "/sbin/init"].map(|path| Ancestor {
        executable: path.as_bytes(),
        ..Ancestor::default()
    });
    let subject = Subject {
        executable: b"/usr/bin/python3",
        sha256: Some(&digest),
        script: Some(b"/app/main.py"),
        ancestors: &ancestors,
    };
    let query = [("ref".into(), "main".into()), ("v".into(), "v1.2".into())];
    let operations = [Operation {
        kind: OperationType::Query,
        name: "GetUser",
        fields: &["viewer", "repository"],
        persisted: None,
    }];
    let http = Request {
        method: "GET",
        path: "/repos/a/issues",
        query: &query,
        ..Request::default()
    };
    let graphql = Request {
        method: "POST",
        path: "/graphql",
        graphql: Some(Graphql {
            operations: &operations,
            error: None,
        }),
        ..Request::default()
    };
    let params = serde_json::json!({ "name": "search_web", "arguments": { "path": "/tmp/x" } });
    let mcp = Request {
        method: "POST",
        path: "/mcp",
        rpc: Some(Rpc {
            method: "tools/call",
            tool: Some("search_web"),
            params: Some(&params),
            ..Rpc::default()
        }),
        ..Request::default()
    };
    for host in [
        "API.example.com",
        "a.b.example.org",
        "x-ai.example.net",
        "10.0.0.5",
    ] {
        let target = Target { host, port: 443 };
        let address: IpAddr = "10.0.0.5".parse().expect("an address");
        let mut allowed = 0;
        let count = allocations(|| {
            let Decision::Allow(grant) = compiled.connect(&subject, &target) else {
                return;
            };
            allowed += usize::from(!grant.entry().is_empty() && grant.needs_inspection());
            allowed += usize::from(grant.reach(address).is_some());
            allowed += usize::from(compiled.may_resolve_for(&subject, host) || host == "10.0.0.5");
            for request in [&http, &graphql, &mcp] {
                allowed += usize::from(grant.request(request) == RequestDecision::Allow);
            }
        });
        assert_eq!(allowed, 6, "{host}");
        assert_eq!(count, 0, "{host}");
    }
}

fn policy() -> Network {
    let hosts = [
        "api.example.com",
        "**.example.org",
        "*-ai.example.net",
        "10.0.0.5",
    ];
    let listed = |path: &str| Binary {
        sha256: vec![[7; 32]],
        script: Some(located("/app/*.py")),
        ..binary(path)
    };
    network(hosts.map(|host| Entry {
        binaries: vec![listed("/usr/bin/python3"), listed("/usr/**")],
        ..entry(host, &[], vec![rest(host), graphql(host), mcp(host)])
    }))
}

fn rest(host: &str) -> Endpoint {
    Endpoint {
        rules: vec![Rule {
            query: matchers(&[("ref", "main"), ("v", "v*.*")]),
            ..rule("GET", "/repos/**")
        }],
        deny_rules: vec![rule("*", "/**/rulesets")],
        ..endpoint(host, Protocol::Rest)
    }
}

fn graphql(host: &str) -> Endpoint {
    Endpoint {
        path: Some(located("/graphql")),
        access: Some(Access::ReadOnly),
        ..endpoint(host, Protocol::Graphql)
    }
}

fn mcp(host: &str) -> Endpoint {
    Endpoint {
        path: Some(located("/mcp")),
        rules: vec![Rule {
            method: Some(located("tools/*")),
            params: matchers(&[("name", "search_*"), ("/arguments/path", "/tmp/**")]),
            ..Rule::default()
        }],
        ..endpoint(host, Protocol::Mcp)
    }
}
