//! A whole policy that can be asked, for the tools that explain and try it: the matcher and the
//! author's rules in Rego together.
//!
//! The rules have the last word on what they refuse, and they may allow what nothing else does.

use crate::compiled::{
    Closest, Compiled, Decision, Denial, Explanation, Grant, Request, RequestDecision, Step,
    Subject, Target,
};
use crate::document::Document;
use crate::error::{PolicyError, Problem};
use crate::network::Protocol;
use crate::position::Position;
use crate::question::Question;

/// A policy, ready to be asked.
pub struct Judge {
    compiled: Compiled,
    #[cfg(feature = "rego")]
    rules: Option<crate::rego::Rules>,
}

/// What becomes of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It's allowed.
    Allow,
    /// It's against the rules, which is only logged.
    Audit,
    /// It's denied.
    Deny,
}

impl Outcome {
    /// `allow`, `audit` or `deny`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Audit => "audit",
            Self::Deny => "deny",
        }
    }
}

/// The answer to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// What becomes of it.
    pub outcome: Outcome,
    /// Why, as logs say it; empty if it's allowed.
    pub reason: String,
    /// The entries that allow it, or the ones that came closest.
    pub entries: Vec<String>,
}

/// What the rules in Rego say; nothing if there are none.
#[derive(Default)]
struct Own {
    denied: Vec<String>,
    allowed: bool,
}

impl Judge {
    /// Compiles all that the policy says of the network.
    ///
    /// # Errors
    /// The first pattern that can't be compiled, or why the rules in Rego can't be used.
    pub fn new(document: &Document) -> Result<Self, PolicyError> {
        let network = &document.network;
        let compiled = Compiled::new(network).map_err(|error| {
            refused(
                document,
                error.position,
                error.message,
                Some(error.hint.to_owned()),
            )
        })?;
        // A program that can't read rules must not ignore them.
        #[cfg(not(feature = "rego"))]
        if let Some(rego) = &network.rego {
            let message = "this program was built without rules in Rego".to_owned();
            let hint = "build it with the feature `rego`".to_owned();
            return Err(refused(document, rego.position, message, Some(hint)));
        }
        Ok(Self {
            compiled,
            #[cfg(feature = "rego")]
            rules: rules(document)?,
        })
    }

    /// The answer.
    pub fn rule(&self, question: &Question) -> Ruling {
        question.put(|subject, target, request| {
            let own = self.own(subject, target, None);
            if !own.denied.is_empty() {
                return denied_by_rego(own);
            }
            let grant = match self.compiled.connect(subject, target) {
                Decision::Allow(grant) => grant,
                Decision::Deny(_) if own.allowed => Grant::by_rego(&self.compiled),
                Decision::Deny(denial) => return denied(*denial),
            };
            match request {
                None => allowed(&grant),
                Some(request) => self.rule_request(&grant, subject, target, request),
            }
        })
    }

    fn rule_request(
        &self,
        grant: &Grant<'_>,
        subject: &Subject<'_>,
        target: &Target<'_>,
        request: &Request<'_>,
    ) -> Ruling {
        let own = self.own(subject, target, Some(request));
        if !own.denied.is_empty() {
            return denied_by_rego(own);
        }
        match grant.request(request) {
            RequestDecision::Allow => allowed(grant),
            RequestDecision::Deny(_) if own.allowed => Ruling {
                entries: vec!["rego".to_owned()],
                ..allowed(grant)
            },
            RequestDecision::Deny(denied) => Ruling {
                outcome: match denied.enforced {
                    true => Outcome::Deny,
                    false => Outcome::Audit,
                },
                reason: denied.reason,
                entries: denied.entry.into_iter().collect(),
            },
        }
    }

    /// The answer and how it came about.
    pub fn explain(&self, question: &Question) -> Explanation {
        question.put(|subject, target, request| {
            let own = self.own(subject, target, None);
            let mut connection = self.compiled.explain(subject, target, None);
            let by_rego = !connection.allowed;
            tell(&own, &mut connection);
            let (Some(request), true) = (request, connection.allowed) else {
                return connection;
            };
            let mut explanation = match by_rego {
                true => connection,
                false => self.compiled.explain(subject, target, Some(request)),
            };
            tell(&self.own(subject, target, Some(request)), &mut explanation);
            if let Decision::Allow(grant) = self.compiled.connect(subject, target) {
                note_body(&grant, request, &mut explanation);
            }
            explanation
        })
    }

    #[cfg(feature = "rego")]
    fn own(
        &self,
        subject: &Subject<'_>,
        target: &Target<'_>,
        request: Option<&Request<'_>>,
    ) -> Own {
        let verdict = self
            .rules
            .as_ref()
            .map(|rules| rules.ask(subject, target, request));
        verdict.map_or_else(Own::default, |verdict| Own {
            denied: verdict.denied,
            allowed: verdict.allowed,
        })
    }

    #[cfg(not(feature = "rego"))]
    fn own(&self, _: &Subject<'_>, _: &Target<'_>, _: Option<&Request<'_>>) -> Own {
        Own::default()
    }
}

/// The rules in Rego, compiled.
#[cfg(feature = "rego")]
fn rules(document: &Document) -> Result<Option<crate::rego::Rules>, PolicyError> {
    use crate::load;
    use crate::network::Rego;

    let Some(rego) = &document.network.rego else {
        return Ok(None);
    };
    let from_file;
    let (name, module) = match &rego.value {
        Rego::Inline(module) => (document.at(rego.position), module),
        Rego::File(path) => {
            let read = load::read(path, "module", "the folder of the policy");
            from_file =
                read.map_err(|why| refused(document, rego.position, why.message, why.hint))?;
            (path.display().to_string(), &from_file)
        }
    };
    let made = crate::rego::Rules::new(&name, module).map_err(|error| {
        let told = error.to_string();
        let (message, hint) = told.split_once("\nhint: ").unwrap_or((&told, ""));
        let hint = (!hint.is_empty()).then(|| hint.to_owned());
        refused(document, rego.position, message.to_owned(), hint)
    })?;
    Ok(Some(made))
}

fn refused(
    document: &Document,
    at: Position,
    message: String,
    hint: Option<String>,
) -> PolicyError {
    document.refused(vec![Problem {
        position: Some(at),
        message,
        hint,
        lint: None,
    }])
}

fn allowed(grant: &Grant<'_>) -> Ruling {
    let entries: Vec<_> = grant.entries().map(str::to_owned).collect();
    Ruling {
        outcome: Outcome::Allow,
        reason: String::new(),
        entries: match entries.is_empty() {
            true => vec![grant.entry().to_owned()],
            false => entries,
        },
    }
}

fn denied(denial: Denial) -> Ruling {
    let closest = match denial.closest {
        Closest::Binary { entries } => entries.into_iter().map(|missed| missed.entry).collect(),
        Closest::Entries | Closest::Host | Closest::Port { .. } => Vec::new(),
    };
    Ruling {
        outcome: Outcome::Deny,
        reason: denial.reason,
        entries: closest,
    }
}

fn denied_by_rego(own: Own) -> Ruling {
    Ruling {
        outcome: Outcome::Deny,
        reason: own.denied.join("; "),
        entries: vec!["rego".to_owned()],
    }
}

/// Adds what the rules in Rego say, if they change anything.
fn tell(own: &Own, explanation: &mut Explanation) {
    use crate::compiled::Outcome;

    let (outcome, found) = if !own.denied.is_empty() {
        (Outcome::Failed, own.denied.join("; "))
    } else if own.allowed && explanation.steps.last().is_some_and(fails) {
        (
            Outcome::Passed,
            "allowed by the policy's rules in Rego".to_owned(),
        )
    } else {
        return;
    };
    explanation.allowed = outcome == Outcome::Passed;
    explanation.steps.push(Step {
        about: "rego",
        outcome,
        found: crate::quote::escaped(&found),
    });
}

fn fails(step: &Step) -> bool {
    use crate::compiled::Outcome;
    matches!(step.outcome, Outcome::Failed | Outcome::Logged)
}

/// A question has no body, so what's decided by one is told as it would be without.
fn note_body(grant: &Grant<'_>, request: &Request<'_>, explanation: &mut Explanation) {
    let lead = grant.endpoint_for(request.path);
    let reads = |protocol| {
        matches!(
            protocol,
            Protocol::Graphql | Protocol::JsonRpc | Protocol::Mcp
        )
    };
    if lead.is_some_and(|own| reads(own.protocol())) {
        explanation.steps.push(Step {
            about: "body",
            outcome: crate::compiled::Outcome::Note,
            found: "it decides here, and can't be asked about: this is a request without one"
                .to_owned(),
        });
    }
}
