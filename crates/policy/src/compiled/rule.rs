//! One rule: when it's met.
//!
//! The same rule is read with opposite care depending on what it does. What a rule doesn't say (a
//! path, a method, a type of operation) is met by anything if it denies and by nothing if it allows;
//! and a value that can't be compared meets a rule that denies and never one that allows.

use std::collections::{BTreeMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::glob::{BadGlob, Dialect, Glob, Globs};
use super::methods::{Methods, Operations};
use super::request::{Operation, Param, Request, Rpc};
use crate::network::{self, Matcher, OperationType, Protocol};
use crate::position::{Located, Position};

/// What meeting the rule leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Effect {
    Allow,
    Deny,
}

/// A rule, ready to be compared. Where it stands is not a part of it: see [`Rules`].
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Rule {
    effect: Effect,
    methods: Option<Methods>,
    rpc_method: Option<Pattern>,
    path: Option<Pattern>,
    query: Keyed,
    operations: Option<Operations>,
    operation_name: Option<Pattern>,
    fields: Vec<Pattern>,
    params: Keyed,
}

/// A pattern, which is the same as another if it was made as the same ([`Globs`]).
#[derive(Clone, Debug)]
struct Pattern(Arc<Glob>);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Pattern {}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Arc::as_ptr(&self.0).hash(state);
    }
}

/// Everything that an endpoint says of requests. Endpoints that say the same share it, so that a
/// long policy is not much larger in the processor's caches than a short one.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Rules {
    pub(super) methods: Methods,
    pub(super) operations: Operations,
    /// In the order of the file, as are those below.
    pub(super) allow: Vec<Rule>,
    pub(super) deny: Vec<Rule>,
}

/// Makes rules and patterns, each different one once.
#[derive(Default)]
pub(super) struct Made {
    pub(super) globs: Globs,
    rules: HashSet<Arc<Rules>>,
}

impl Made {
    pub(super) fn share(&mut self, rules: Rules) -> Arc<Rules> {
        if let Some(same) = self.rules.get(&rules) {
            return Arc::clone(same);
        }
        let rules = Arc::new(rules);
        self.rules.insert(Arc::clone(&rules));
        rules
    }
}

/// By key, patterns of which one has to match.
type Keyed = Vec<(String, Vec<Pattern>)>;

/// A pattern that is none, and where it stands.
pub(super) type BadPattern = (Position, String, BadGlob);

impl Rule {
    pub(super) fn new(
        rule: &network::Rule,
        effect: Effect,
        protocol: Protocol,
        globs: &mut Globs,
    ) -> Result<Self, BadPattern> {
        let method = rule.method.as_ref();
        let rpc_method = match (method, protocol) {
            (Some(method), Protocol::JsonRpc | Protocol::Mcp) if method.value == "*" => {
                Some(Pattern(Arc::new(Glob::Everything)))
            }
            (Some(method), Protocol::JsonRpc) => Some(Pattern(Arc::new(Glob::Literal(
                method.value.as_bytes().into(),
            )))),
            (Some(method), Protocol::Mcp) => Some(dotted(method, globs)?),
            _ => None,
        };
        let path = rule.path.as_ref();
        let path = path.map(|path| pattern(path, Dialect::Path, globs));
        let name = rule.operation_name.as_ref();
        let name = name.map(|name| dotted(name, globs));
        let fields = rule.fields.iter().map(|field| dotted(field, globs));
        Ok(Rule {
            effect,
            methods: method.map(|text| Methods::of_rule(&text.value)),
            rpc_method,
            path: path.transpose()?,
            operation_name: name.transpose()?,
            fields: fields.collect::<Result<_, _>>()?,
            operations: rule.operation_type.map(Operations::of_rule),
            query: keyed(&rule.query, globs)?,
            params: keyed(&rule.params, globs)?,
        })
    }

    /// Whether the rule is about operations of GraphQL.
    pub(super) fn is_graphql(&self) -> bool {
        self.operations.is_some() || self.operation_name.is_some() || !self.fields.is_empty()
    }

    /// By method, path and query.
    pub(super) fn meets_http(&self, request: &Request<'_>) -> bool {
        let method = self.methods.as_ref();
        let method = method.map_or(self.denies(), |methods| methods.contains(request.method));
        let path = || match &self.path {
            Some(Pattern(path)) => path.matches(request.path.as_bytes()),
            None => self.denies(),
        };
        method && path() && self.meets_query(request)
    }

    /// All values of a key have to match to allow; one is enough to deny.
    fn meets_query(&self, request: &Request<'_>) -> bool {
        self.query.iter().all(|(key, patterns)| {
            let own = request.query.iter().filter(|(name, _)| name == key);
            let mut own = own.map(|(_, value)| self.meets_any(patterns, value));
            match self.effect {
                Effect::Deny => own.any(|met| met),
                Effect::Allow => own.next() == Some(true) && own.all(|met| met),
            }
        })
    }

    /// By type, name and root fields. All fields have to match to allow; one is enough to deny.
    pub(super) fn meets_operation(
        &self,
        kind: OperationType,
        name: &str,
        fields: impl Iterator<Item = impl AsRef<str>>,
    ) -> bool {
        let operations = self.operations;
        let kind = operations.map_or(self.denies(), |operations| operations.contains(kind));
        let name = || {
            let own = self.operation_name.as_ref();
            own.is_none_or(|pattern| self.meets(pattern, name))
        };
        let fields = || {
            let mut fields = fields.map(|field| self.meets_any(&self.fields, field.as_ref()));
            match self.effect {
                _ if self.fields.is_empty() => true,
                Effect::Deny => fields.any(|met| met),
                Effect::Allow => fields.next() == Some(true) && fields.all(|met| met),
            }
        };
        kind && name() && fields()
    }

    /// By method and arguments.
    pub(super) fn meets_rpc(&self, rpc: &Rpc<'_>) -> bool {
        let method = match &self.rpc_method {
            Some(pattern) => self.meets(pattern, rpc.method),
            None => self.denies(),
        };
        method
            && self
                .params
                .iter()
                .all(|(key, patterns)| match param(rpc, key) {
                    Param::Absent => false,
                    Param::Text(text) => self.meets_any(patterns, &text),
                    Param::Opaque => self.denies(),
                })
    }

    fn meets_any(&self, patterns: &[Pattern], text: &str) -> bool {
        patterns.iter().any(|pattern| self.meets(pattern, text))
    }

    /// NUL stands for a separator while a text is compared, so one from outside can't be compared.
    fn meets(&self, Pattern(pattern): &Pattern, text: &str) -> bool {
        if text.contains('\0') {
            return self.denies();
        }
        pattern.matches(text.as_bytes())
    }

    fn denies(&self) -> bool {
        self.effect == Effect::Deny
    }
}

/// An argument; a tool is called by its `name`.
fn param<'a>(rpc: &'a Rpc<'_>, key: &str) -> Param<'a> {
    match (rpc.tool, rpc.params) {
        (Some(tool), _) if key == "name" => Param::Text(tool.into()),
        (_, Some(params)) => params.value(key),
        _ => Param::Absent,
    }
}

fn keyed(matchers: &BTreeMap<String, Matcher>, globs: &mut Globs) -> Result<Keyed, BadPattern> {
    let mut keyed = Keyed::new();
    for (key, matcher) in matchers {
        let any = matcher.any.iter().map(|text| dotted(text, globs));
        keyed.push((key.clone(), any.collect::<Result<_, _>>()?));
    }
    Ok(keyed)
}

fn dotted(text: &Located<String>, globs: &mut Globs) -> Result<Pattern, BadPattern> {
    pattern(text, Dialect::Dotted, globs)
}

fn pattern(
    text: &Located<String>,
    dialect: Dialect,
    globs: &mut Globs,
) -> Result<Pattern, BadPattern> {
    let glob = globs.get(&text.value, dialect);
    glob.map(Pattern)
        .map_err(|bad| (text.position, text.value.clone(), bad))
}

impl Operation<'_> {
    /// Whether `rule` is met by what the request itself says.
    pub(super) fn meets(&self, rule: &Rule) -> bool {
        rule.meets_operation(self.kind, self.name, self.fields.iter())
    }
}
