//! `rego`: rules of the policy's author that are consulted besides the entries.
//!
//! The module is in the package `casemate.policy` and has one or both of two rules:
//!
//! ```rego
//! package casemate.policy
//!
//! # A set of texts. If it isn't empty, the connection or request is refused, whatever else allows it.
//! deny contains "no uploads at night" if {
//!     input.request.method == "POST"
//!     input.network.host == "files.example.com"
//! }
//!
//! # A boolean. If it's true, a connection that no entry allows is allowed all the same, or a request
//! # that no rule allows.
//! allow if {
//!     input.exec.path == "/usr/bin/git"
//!     endswith(input.network.host, ".example.org")
//! }
//! ```
//!
//! The input is that of [`compiled::input`](crate::compiled::input): `request` is null when it's
//! about a connection. There is no data and no way to the outside. A module that is asked too long a
//! question, takes too long, or fails in any other way denies.

use std::cell::RefCell;
use std::fmt;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, Value};

use crate::compiled::{Request, Subject, Target, input};

/// An answer takes at most this long.
const MAX_TIME: Duration = Duration::from_millis(50);

/// A question is at most this long, in bytes of JSON.
const MAX_INPUT_BYTES: usize = 256 * 1024;

/// So many reasons are kept of an answer.
const MAX_REASONS: usize = 20;

const PACKAGE: &str = "data.casemate.policy";

thread_local! {
    /// The engine that this thread used last, and whose it is: asking changes an engine.
    static ENGINE: RefCell<Option<(u64, Engine)>> = const { RefCell::new(None) };
}

/// A module that can be asked, from many threads at once.
pub struct Rules {
    id: u64,
    engine: Engine,
    declared: Declared,
}

/// Which rules the module has.
#[derive(Clone, Copy)]
struct Declared {
    deny: bool,
    allow: bool,
}

/// What the module says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Why it refuses; it doesn't if there is no reason.
    pub denied: Vec<String>,
    /// Whether it allows what nothing else does.
    pub allowed: bool,
}

/// Why a module can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegoError(String);

impl std::error::Error for RegoError {}

impl fmt::Display for RegoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Rules {
    /// Compiles a module. `name` is what messages call it.
    ///
    /// # Errors
    /// Why it isn't one, or that it has neither rule.
    pub fn new(name: &str, module: &str) -> Result<Self, RegoError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let unusable = |error: &dyn fmt::Display, hint| {
            RegoError(format!(
                "cannot use the rules in {name}: {error}\nhint: {hint}"
            ))
        };
        let mut engine = Engine::new();
        let package = engine.add_policy(name.to_owned(), module.to_owned());
        let package = package.map_err(|error| unusable(&error, "try it with `opa check`"))?;
        if package != PACKAGE {
            let hint = "begin the module with `package casemate.policy`";
            return Err(unusable(&format!("it is the package {package}"), hint));
        }
        let declares = |rule| {
            let declared = engine.has_declared_rule_rooted_at(name, rule);
            declared.map_err(|error| unusable(&error, "write it as `deny` or `allow`"))
        };
        let declared = Declared {
            deny: declares("deny")?,
            allow: declares("allow")?,
        };
        if !declared.deny && !declared.allow {
            let hint = "add `deny contains \"why\" if { … }` or `allow if { … }`";
            return Err(unusable(&"it has neither `deny` nor `allow`", hint));
        }
        engine.set_execution_timer_config(ExecutionTimerConfig {
            limit: MAX_TIME,
            check_interval: NonZeroU32::MIN,
        });
        // The first question of all compiles the module; what that finds wrong is said now.
        let trial = declared.ask(&mut engine, Value::new_object());
        trial.map_err(|error| unusable(&error, "a missing input must not be an error"))?;
        Ok(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            engine,
            declared,
        })
    }

    /// Asks about a connection, or about a request on one.
    pub fn ask(
        &self,
        subject: &Subject<'_>,
        target: &Target<'_>,
        request: Option<&Request<'_>>,
    ) -> Verdict {
        let question = input(subject, target, request);
        if question.to_string().len() > MAX_INPUT_BYTES {
            return Verdict::failed(&format!("the question exceeds {MAX_INPUT_BYTES} bytes"));
        }
        ENGINE.with_borrow_mut(|kept| {
            let engine = match kept {
                Some((id, engine)) if *id == self.id => engine,
                _ => &mut kept.insert((self.id, self.engine.clone())).1,
            };
            let answer = self.declared.ask(engine, Value::from(question));
            answer.unwrap_or_else(|error| Verdict::failed(&error))
        })
    }
}

impl Declared {
    fn ask(self, engine: &mut Engine, question: Value) -> Result<Verdict, String> {
        engine.set_input(question);
        let mut value = |wanted: bool, rule: &str| match wanted {
            true => engine
                .eval_rule(format!("{PACKAGE}.{rule}"))
                .map_err(|error| one_line(&error.to_string())),
            false => Ok(Value::Undefined),
        };
        let denied = match value(self.deny, "deny")? {
            Value::Undefined => Vec::new(),
            Value::Set(reasons) => reasons.iter().take(MAX_REASONS).map(reason).collect(),
            _ => return Err("`deny` is not a set".to_owned()),
        };
        let allowed = match value(self.allow, "allow")? {
            Value::Undefined => false,
            Value::Bool(allowed) => allowed,
            _ => return Err("`allow` is not a boolean".to_owned()),
        };
        Ok(Verdict { denied, allowed })
    }
}

impl Verdict {
    fn failed(why: &str) -> Self {
        Self {
            denied: vec![format!("the rules in Rego failed: {why}")],
            allowed: false,
        }
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rules({})", self.id)
    }
}

fn reason(value: &Value) -> String {
    match value {
        Value::String(text) => crate::quote::escaped(text),
        other => crate::quote::escaped(&other.to_string()),
    }
}

/// The last line says what is wrong; those before show where.
fn one_line(error: &str) -> String {
    let last = error.lines().rev().find(|line| !line.trim().is_empty());
    crate::quote::escaped(last.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Rules, Subject, Target, Verdict};
    use crate::compiled::Request;

    fn ask(module: &str, request: Option<&Request<'_>>) -> Verdict {
        let rules = Rules::new("rules.rego", module).expect("rules");
        let subject = Subject::of(Path::new("/usr/bin/git"));
        let target = Target {
            host: "git.example.org",
            port: 443,
        };
        rules.ask(&subject, &target, request)
    }

    #[test]
    fn rules_allow_and_deny() {
        let module = r#"
            package casemate.policy
            deny contains "no uploads" if input.request.method == "POST"
            allow if endswith(input.network.host, ".example.org")
        "#;
        let allowed = Verdict {
            allowed: true,
            ..Verdict::default()
        };
        assert_eq!(ask(module, None), allowed);
        let post = Request {
            method: "POST",
            ..Request::default()
        };
        assert_eq!(ask(module, Some(&post)).denied, ["no uploads"]);
    }

    #[test]
    fn what_fails_denies() {
        let slow = "package casemate.policy
            deny contains \"x\" if {
                input.exec
                some a in numbers.range(1, 10000)
                some b in numbers.range(1, 10000)
                a * b == -1
            }";
        for (module, why) in [
            (slow, "limit"),
            (
                "package casemate.policy\nallow if to_number(input.exec.path) == 1",
                "number",
            ),
            (
                "package casemate.policy\nallow := 1 if input.exec",
                "boolean",
            ),
        ] {
            let verdict = ask(module, None);
            assert!(!verdict.allowed);
            assert!(verdict.denied[0].contains(why), "{verdict:?}");
        }
    }

    #[test]
    fn what_is_no_module_is_refused() {
        for (module, why) in [
            ("package other\nallow := true", "`package casemate.policy`"),
            ("package casemate.policy\nallowed := true", "neither"),
            ("package casemate.policy\nallow if {", "cannot use"),
            (
                "package casemate.policy\nallow if nothing_known(1)",
                "nothing_known",
            ),
        ] {
            let error = Rules::new("rules.rego", module).expect_err(module);
            assert!(error.to_string().contains(why), "{error}");
        }
    }

    #[test]
    fn each_module_has_its_own_engine() {
        let rules = ["true", "false"].map(|value| {
            let module = format!("package casemate.policy\nallow := {value}");
            Rules::new("rules.rego", &module).expect("rules")
        });
        let subject = Subject::of(Path::new("/x"));
        let target = Target { host: "h", port: 1 };
        for _ in 0..2 {
            let answers = rules
                .each_ref()
                .map(|own| own.ask(&subject, &target, None).allowed);
            assert_eq!(answers, [true, false]);
        }
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| rules[0].ask(&subject, &target, None).allowed);
            assert!(asked.join().expect("an answer"));
        });
    }
}
