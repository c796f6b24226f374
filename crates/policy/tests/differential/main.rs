//! The compiled matcher and the program in Rego say the same about whatever is asked.
//!
//! Policies and questions are made at random from a few words that meet often and hit the odd places
//! of the dialects. The numbers are the same in each run.

#[path = "../oracle/mod.rs"]
mod oracle;

mod chance;
mod policies;
mod questions;
mod words;

use std::collections::BTreeMap;

use casemate_policy::compiled::{Closest, Compiled, Decision, Denial, RequestDecision, input};
use casemate_policy::network::Protocol;
use chance::Chance;
use oracle::Oracle;
use questions::{Question, Said};
use serde_json::{Value, json};

const QUESTIONS_PER_POLICY: usize = 50;

#[test]
fn connections() {
    let mut counts = Counts::default();
    let mut chance = Chance::new(1);
    for _ in 0..900 {
        let network = policies::network(&mut chance, &words::PROTOCOLS);
        let compiled = Compiled::new(&network).expect("a policy");
        let mut oracle = Oracle::new(&network);
        for _ in 0..QUESTIONS_PER_POLICY {
            let attempts = if chance.percent(50) { 1 } else { 12 };
            let question = Question::about(&network, &compiled, attempts, &mut chance);
            let (subject, target) = (question.subject(), question.target());
            let ours = match compiled.connect(&subject, &target) {
                Decision::Allow(grant) => json!({ "action": "allow", "entry": grant.entry() }),
                Decision::Deny(denial) => denied(&denial),
            };
            let input = input(&subject, &target, None);
            let theirs = oracle.connection(&input);
            assert_eq!(ours, theirs, "{input:#}\nin {network:#?}");
            counts.add(&ours);
        }
    }
    counts.check(45_000, &["allow", "endpoint", "binary"]);
}

#[test]
fn http_and_websockets() {
    let counts = requests(2, &[Protocol::Rest, Protocol::Websocket], 600);
    counts.check(
        26_500,
        &["allow", "not permitted", "blocked", "enforced", "logged"],
    );
}

#[test]
fn graphql() {
    let counts = requests(
        3,
        &[Protocol::Graphql, Protocol::Websocket, Protocol::Graphql],
        300,
    );
    let classes = [
        "allow",
        "graphql rejected",
        "graphql blocked",
        "graphql unregistered",
        "graphql not permitted",
    ];
    counts.check(13_200, &classes);
}

#[test]
fn json_rpc_and_mcp() {
    let counts = requests(4, &[Protocol::JsonRpc, Protocol::Mcp], 300);
    let classes = [
        "allow",
        "not permitted",
        "blocked",
        "rpc rejected",
        "rpc response",
    ];
    counts.check(13_200, &classes);
}

#[test]
fn all_protocols_at_once() {
    let counts = requests(5, &words::PROTOCOLS, 200);
    counts.check(
        9_000,
        &["allow", "not permitted", "blocked", "graphql not permitted"],
    );
}

/// Asks about requests on connections that are allowed.
fn requests(seed: u64, protocols: &[Protocol], policies: usize) -> Counts {
    let mut counts = Counts::default();
    let mut chance = Chance::new(seed);
    for _ in 0..policies {
        let network = policies::network(&mut chance, protocols);
        let compiled = Compiled::new(&network).expect("a policy");
        let mut oracle = Oracle::new(&network);
        for _ in 0..QUESTIONS_PER_POLICY {
            let question = Question::about(&network, &compiled, 100, &mut chance);
            let (subject, target) = (question.subject(), question.target());
            let Decision::Allow(grant) = compiled.connect(&subject, &target) else {
                continue;
            };
            let said = Said::on(&grant, protocols, &mut chance);
            said.with(|request| {
                let ours = judged(&grant.request(request));
                let input = input(&subject, &target, Some(request));
                let theirs = oracle.verdict(&input);
                assert_eq!(ours, theirs, "{input:#}\nin {network:#?}");
                counts.add(&ours);
            });
        }
    }
    counts
}

fn denied(denial: &Denial) -> Value {
    match &denial.closest {
        Closest::Entries => json!({ "action": "deny", "reason": "none" }),
        Closest::Host | Closest::Port { .. } => json!({ "action": "deny", "reason": "endpoint" }),
        Closest::Binary { entries } => {
            let missed: std::collections::BTreeSet<_> =
                entries.iter().map(|missed| &missed.entry).collect();
            json!({ "action": "deny", "reason": "binary", "missed": missed })
        }
    }
}

fn judged(decision: &RequestDecision) -> Value {
    let RequestDecision::Deny(denied) = decision else {
        return json!({ "action": "allow" });
    };
    let classes = [
        ("GraphQL request rejected: ", "graphql rejected"),
        (
            "GraphQL persisted query is not registered",
            "graphql unregistered",
        ),
        (
            "GraphQL operation blocked by endpoint policy",
            "graphql blocked",
        ),
        (
            "GraphQL operation not permitted by policy",
            "graphql not permitted",
        ),
        ("JSON-RPC request rejected: ", "rpc rejected"),
        ("JSON-RPC response frames are not permitted", "rpc response"),
        (" blocked by deny rule", "blocked"),
        (" not permitted by policy", "not permitted"),
    ];
    let class = classes
        .iter()
        .find(|(text, _)| denied.reason.contains(text));
    let class = class.unwrap_or_else(|| panic!("{denied:?}")).1;
    json!({ "action": "deny", "reason": class, "enforced": denied.enforced })
}

/// How often each answer was given.
#[derive(Default)]
struct Counts {
    all: usize,
    classes: BTreeMap<String, usize>,
}

impl Counts {
    fn add(&mut self, answer: &Value) {
        self.all += 1;
        let class = answer["reason"].as_str().unwrap_or("allow");
        *self.classes.entry(class.to_owned()).or_default() += 1;
        if let Some(enforced) = answer["enforced"].as_bool() {
            let class = if enforced { "enforced" } else { "logged" };
            *self.classes.entry(class.to_owned()).or_default() += 1;
        }
    }

    /// Each class is at least one in fifty of the answers, and allowing one in six.
    #[track_caller]
    fn check(&self, least: usize, classes: &[&str]) {
        println!("{} answers: {:?}", self.all, self.classes);
        assert!(self.all >= least, "only {} answers", self.all);
        for class in classes {
            let share = if *class == "allow" { 6 } else { 50 };
            let own = self.classes.get(*class).copied().unwrap_or_default();
            assert!(own * share >= self.all, "{class}: {own} of {}", self.all);
        }
    }
}
