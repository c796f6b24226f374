//! How a decision came about, step by step, for people who ask.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::connect::Decision;
use super::denial::{Closest, Denial};
use super::judge::RequestDecision;
use super::request::Request;
use super::subject::{Subject, Target};
use super::{Compiled, Endpoint, Grant};
use crate::network::Enforcement;
use crate::quote::escaped;

/// A decision and the steps that led to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Whether it goes through.
    pub allowed: bool,
    /// In order; a step that fails is the last one.
    pub steps: Vec<Step>,
}

/// One question on the way to a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// `host`, `port`, `binary`, `address`, `inspection` or `request`.
    pub about: &'static str,
    /// Whether it went on from here.
    pub outcome: Outcome,
    /// What was found, in one line.
    pub found: String,
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Yes.
    Passed,
    /// No, and that is the end of it.
    Failed,
    /// No, but it's only logged.
    Logged,
    /// Nothing was asked; this is what follows.
    Note,
}

impl Compiled {
    /// Takes the decision once more and writes down how.
    pub fn explain(
        &self,
        subject: &Subject<'_>,
        target: &Target<'_>,
        request: Option<&Request<'_>>,
    ) -> Explanation {
        let mut explanation = Explanation {
            allowed: false,
            steps: Vec::new(),
        };
        match self.connect(subject, target) {
            Decision::Deny(denial) => self.explain_denial(&denial, target, &mut explanation),
            Decision::Allow(grant) => {
                explanation.allowed = true;
                self.explain_grant(&grant, subject, target, &mut explanation);
                if let Some(request) = request {
                    explain_request(&grant, request, &mut explanation);
                }
            }
        }
        explanation
    }

    fn explain_denial(&self, denial: &Denial, target: &Target<'_>, to: &mut Explanation) {
        let (host, port) = (escaped(target.host), target.port);
        match &denial.closest {
            Closest::Entries => to.failed("host", "the policy has no entries".to_owned()),
            Closest::Host => {
                let similar = self.similar_host(target.host);
                let similar = similar.map(|similar| format!("; did you mean {similar}?"));
                let similar = similar.unwrap_or_default();
                to.failed("host", format!("no entry has {host}{similar}"));
            }
            Closest::Port { ports } => {
                let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
                let ports = ports.join(", ");
                to.passed("host", self.hosts_in_words(target.host));
                to.failed(
                    "port",
                    format!("{port} is not open for {host}; these are: {ports}"),
                );
            }
            Closest::Binary { entries } => {
                to.passed("host", self.hosts_in_words(target.host));
                to.passed("port", format!("{port} is open"));
                for missed in entries {
                    let listed = missed.binaries.iter().map(|path| escaped(path));
                    let why = match (missed.wrong_digest, missed.wrong_script) {
                        (true, _) => "lists the path with another sha256".to_owned(),
                        (_, true) => "lists the path with another script".to_owned(),
                        _ if missed.binaries.is_empty() => "lists nobody".to_owned(),
                        _ => format!("lists {}", listed.collect::<Vec<_>>().join(", ")),
                    };
                    to.failed("binary", format!("{} {why}", escaped(&missed.entry)));
                }
            }
        }
    }

    fn explain_grant(
        &self,
        grant: &Grant<'_>,
        subject: &Subject<'_>,
        target: &Target<'_>,
        to: &mut Explanation,
    ) {
        to.passed("host", self.hosts_in_words(target.host));
        to.passed("port", format!("{} is open", target.port));
        for (number, program) in subject.programs().enumerate() {
            let path = escaped(&String::from_utf8_lossy(program.executable));
            let who = if number == 0 {
                "the executable"
            } else {
                "its ancestor"
            };
            let mut entries = BTreeSet::new();
            self.programs.listing(program.executable, |list| {
                let own = list
                    .iter()
                    .filter(|own| self.programs.holds(**own, &program));
                entries.extend(own.map(|own| own.entry));
            });
            let granting: BTreeSet<u32> = grant.endpoints().map(|own| own.entry).collect();
            let names = entries.intersection(&granting);
            let names: Vec<_> = names
                .map(|&entry| escaped(&self.entries[entry as usize].name))
                .collect();
            if !names.is_empty() {
                to.passed(
                    "binary",
                    format!("{who} {path} is listed by {}", names.join(", ")),
                );
            }
        }
        to.note("address", addresses_in_words(grant));
        to.note("inspection", inspection_in_words(grant).to_owned());
    }

    /// The patterns that the host matches, each with its entry.
    fn hosts_in_words(&self, host: &str) -> String {
        let matched = self.matching(host);
        let ports = matched.as_slice().iter().flatten();
        let numbers: BTreeSet<u32> = ports
            .flat_map(|ports| ports.iter())
            .map(|(_, number)| number)
            .collect();
        let all: BTreeSet<String> = numbers
            .into_iter()
            .map(|number| self.place(number))
            .collect();
        let all: Vec<_> = all.into_iter().collect();
        format!("{} is in {}", escaped(host), all.join(", "))
    }

    fn place(&self, number: u32) -> String {
        let endpoint = self.endpoint(number);
        let name = escaped(&self.entries[endpoint.entry as usize].name);
        let host = endpoint.declared().host.as_ref();
        let host = host.map_or("any host", |host| &*host.value);
        format!("{name} ({})", escaped(host))
    }
}

fn addresses_in_words(grant: &Grant<'_>) -> String {
    let nets: Vec<_> = grant.allowed_ips().map(ToString::to_string).collect();
    match () {
        () if !nets.is_empty() => format!("has to be in {}", nets.join(", ")),
        () if grant.exact_host() => "may be private, since the host is written out".to_owned(),
        () => "has to be public, since the host is only matched by a pattern".to_owned(),
    }
}

fn inspection_in_words(grant: &Grant<'_>) -> &'static str {
    match () {
        () if grant.skips_tls() => "none: `tls: skip`",
        () if grant.has_rules() => "each request is judged",
        () if grant.needs_inspection() => "for credentials only",
        () => "none: any bytes may pass",
    }
}

fn explain_request(grant: &Grant<'_>, request: &Request<'_>, to: &mut Explanation) {
    if let Some(lead) = grant
        .endpoint_for(request.path)
        .filter(|lead| lead.has_rules())
    {
        to.note("request", lead_in_words(grant, lead));
    }
    match grant.request(request) {
        RequestDecision::Allow => {
            let what = format!("{} {}", escaped(request.method), escaped(request.path));
            to.passed("request", format!("{what} is permitted"));
        }
        RequestDecision::Deny(denied) => {
            let rule = denied
                .rule
                .map(|position| format!(" (the rule at {position})"));
            let found = denied.reason + &rule.unwrap_or_default();
            to.allowed = !denied.enforced;
            match denied.enforced {
                true => to.failed("request", found),
                false => to.step("request", Outcome::Logged, found),
            }
        }
    }
}

fn lead_in_words(grant: &Grant<'_>, lead: &Endpoint) -> String {
    let declared = lead.declared();
    let entry = escaped(grant.entry_of(lead));
    let path = declared
        .path
        .as_ref()
        .map_or("every path", |path| &path.value);
    let denials = match declared.enforcement {
        Enforcement::Enforce => "enforced",
        Enforcement::Audit => "only logged",
    };
    format!(
        "the endpoint of {entry} for {} at {} judges; denials are {denials}",
        escaped(path),
        declared.position,
    )
}

impl Explanation {
    fn step(&mut self, about: &'static str, outcome: Outcome, found: String) {
        self.steps.push(Step {
            about,
            outcome,
            found,
        });
    }

    fn passed(&mut self, about: &'static str, found: String) {
        self.step(about, Outcome::Passed, found);
    }

    fn failed(&mut self, about: &'static str, found: String) {
        self.step(about, Outcome::Failed, found);
    }

    fn note(&mut self, about: &'static str, found: String) {
        self.step(about, Outcome::Note, found);
    }
}

/// A line a step, and one for the decision; without a newline at the end.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            let outcome = match step.outcome {
                Outcome::Passed => "yes",
                Outcome::Failed => "no",
                Outcome::Logged => "logged",
                Outcome::Note => "-",
            };
            writeln!(f, "{:<11} {outcome:<7} {}", step.about, step.found)?;
        }
        f.write_str(if self.allowed { "allowed" } else { "denied" })
    }
}
