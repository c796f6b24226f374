//! Compiled decisions beside the same decisions in Rego.

use std::borrow::Cow;
use std::hint::black_box;
use std::time::Instant;

use anyhow::{Result, ensure};
use casemate_policy::compiled::{
    Ancestor, Compiled, Decision, Request, RequestDecision, Subject, Target, input,
};
use serde::Serialize;

use super::super::stats::Summary;
use super::policies::{self, Size, oracle::Oracle};

/// So many compiled decisions are timed at once: one alone is too short for the clock.
const BATCH: usize = 1000;

/// One question to one policy.
#[derive(Serialize)]
pub(super) struct Case {
    policy: String,
    question: String,
    /// In microseconds.
    compiled: Option<Summary>,
    /// In microseconds.
    rego: Option<Summary>,
}

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Question {
    /// A connection that is allowed.
    Allowed,
    /// A host that no entry has.
    UnknownHost,
    /// A program that the host's entry doesn't list.
    OtherBinary,
    /// A request that is permitted, on a connection that is.
    Request,
}

const QUESTIONS: [Question; 4] = [
    Question::Allowed,
    Question::UnknownHost,
    Question::OtherBinary,
    Question::Request,
];

/// A policy in both forms.
struct Subjects {
    size: Size,
    compiled: Compiled,
    oracle: Oracle,
    hosts: Vec<String>,
    tools: Vec<String>,
}

/// Every policy and question, in turn, so many times.
pub(super) fn measure(rounds: usize) -> Result<Vec<Case>> {
    let mut policies = Vec::new();
    for size in policies::SIZES {
        policies.push(Subjects::new(size)?);
    }
    let pairs = || (0..policies::SIZES.len()).flat_map(|own| QUESTIONS.map(|asked| (own, asked)));
    let mut samples: Vec<(Vec<f64>, Vec<f64>)> = pairs().map(|_| Default::default()).collect();
    for round in 0..rounds {
        for ((own, asked), (compiled, rego)) in pairs().zip(&mut samples) {
            compiled.push(policies[own].compiled_time(asked, round)?);
            rego.push(policies[own].rego_time(asked, round)?);
        }
    }
    let cases = pairs()
        .zip(&samples)
        .map(|((own, asked), (compiled, rego))| Case {
            policy: policies[own].size.to_string(),
            question: asked.name().to_owned(),
            compiled: Summary::of(compiled),
            rego: Summary::of(rego),
        });
    Ok(cases.collect())
}

impl Subjects {
    fn new(size: Size) -> Result<Self> {
        let network = policies::network(size);
        Ok(Self {
            size,
            compiled: Compiled::new(&network)?,
            oracle: Oracle::new(&network),
            hosts: (0..size.entries)
                .map(|entry| policies::host(entry, 0))
                .collect(),
            tools: (0..size.entries).map(policies::tool).collect(),
        })
    }

    /// Microseconds a decision. The questions are asked twice and timed the second time: the
    /// interpreter's turn before left nothing of the policy in the caches, however small it is.
    fn compiled_time(&self, asked: Question, round: usize) -> Result<f64> {
        let mut start = Instant::now();
        for _ in 0..2 {
            start = Instant::now();
            for index in 0..BATCH {
                let entry = self.entry(round * BATCH + index);
                let as_expected = self.decides(asked, entry);
                ensure!(
                    black_box(as_expected),
                    "{asked:?} about entry {entry} of {}",
                    self.size
                );
            }
        }
        Ok(start.elapsed().as_secs_f64() * 1e6 / BATCH as f64)
    }

    /// Whether the compiled policy decides as it should.
    fn decides(&self, asked: Question, entry: usize) -> bool {
        let (subject, target) = self.question(asked, entry);
        match (asked, self.compiled.connect(&subject, &target)) {
            (Question::Allowed, Decision::Allow(_)) => true,
            (Question::UnknownHost | Question::OtherBinary, Decision::Deny(_)) => true,
            (Question::Request, Decision::Allow(grant)) => {
                grant.request(&request()) == RequestDecision::Allow
            }
            _ => false,
        }
    }

    /// Microseconds for one decision.
    fn rego_time(&mut self, asked: Question, round: usize) -> Result<f64> {
        let entry = self.entry(round);
        let (subject, target) = self.question(asked, entry);
        let start = Instant::now();
        let answer = match asked {
            Question::Request => {
                let question = input(&subject, &target, Some(&request()));
                self.oracle.verdict(&question)
            }
            _ => self.oracle.connection(&input(&subject, &target, None)),
        };
        let time = start.elapsed();
        let allowed = !matches!(asked, Question::UnknownHost | Question::OtherBinary);
        let expected = if allowed { "allow" } else { "deny" };
        ensure!(
            answer["action"] == expected,
            "Rego says {answer} to {asked:?}"
        );
        Ok(time.as_secs_f64() * 1e6)
    }

    /// Neighbours in time aren't neighbours in the policy.
    fn entry(&self, number: usize) -> usize {
        number.wrapping_mul(389) % self.size.entries
    }

    fn question(&self, asked: Question, entry: usize) -> (Subject<'_>, Target<'_>) {
        let executable = match asked {
            Question::OtherBinary => "/usr/local/bin/nobody",
            _ => &self.tools[entry],
        };
        let host = match asked {
            Question::UnknownHost => "www.unknown.example.net",
            _ => &self.hosts[entry],
        };
        let subject = Subject {
            executable: executable.as_bytes(),
            ancestors: &ANCESTORS,
            ..Subject::default()
        };
        (subject, Target { host, port: 443 })
    }
}

const ANCESTORS: [Ancestor<'static>; 3] = [
    ancestor("/usr/bin/bash"),
    ancestor("/usr/local/bin/agent"),
    ancestor("/sbin/init"),
];

const fn ancestor(path: &'static str) -> Ancestor<'static> {
    Ancestor {
        executable: path.as_bytes(),
        sha256: None,
        script: None,
    }
}

fn request() -> Request<'static> {
    const QUERY: &[(Cow<'static, str>, Cow<'static, str>)] =
        &[(Cow::Borrowed("ref"), Cow::Borrowed("main"))];
    Request {
        method: "GET",
        path: "/repos/owner/name/issues",
        query: QUERY,
        ..Request::default()
    }
}

impl Question {
    fn name(self) -> &'static str {
        match self {
            Question::Allowed => "connection, allowed",
            Question::UnknownHost => "connection, unknown host",
            Question::OtherBinary => "connection, other binary",
            Question::Request => "connection and request, allowed",
        }
    }
}

impl Case {
    pub(super) fn row(&self) -> Vec<String> {
        let time = |summary: Option<Summary>| match summary {
            Some(Summary {
                median, min, p90, ..
            }) => format!("{median:.2} [{min:.2} {p90:.2}]"),
            None => "-".to_owned(),
        };
        let ratio = self.rego.zip(self.compiled);
        let ratio = ratio.map(|(rego, own)| format!("×{:.0}", rego.median / own.median));
        vec![
            self.policy.clone(),
            self.question.clone(),
            time(self.compiled),
            time(self.rego),
            ratio.unwrap_or_default(),
        ]
    }
}
