//! Connections and requests at random, more of them allowed than pure chance would have.

use std::borrow::Cow;

use casemate_policy::compiled::{
    Ancestor, Compiled, Decision, Grant, Graphql, Operation, Params, Persisted, Request, Rpc,
    Subject, Target,
};
use casemate_policy::network::{Network, OperationType, Protocol};

use crate::chance::Chance;
use crate::words;

/// Who asks for which host.
pub(crate) struct Question {
    own: Ancestor<'static>,
    ancestors: Vec<Ancestor<'static>>,
    target: Target<'static>,
}

impl Question {
    /// One that is allowed, if so many attempts find one.
    pub(crate) fn about(
        network: &Network,
        compiled: &Compiled,
        attempts: usize,
        chance: &mut Chance,
    ) -> Self {
        let mut question = Self::new(network, chance);
        for _ in 1..attempts {
            let decision = compiled.connect(&question.subject(), &question.target);
            if matches!(decision, Decision::Allow(_)) {
                break;
            }
            question = Self::new(network, chance);
        }
        question
    }

    fn new(network: &Network, chance: &mut Chance) -> Self {
        let entry = &network.entries[chance.below(network.entries.len())];
        let ports = &entry.endpoints[chance.below(entry.endpoints.len())].ports;
        let port = chance.of(ports);
        let ancestors = chance.below(3);
        Self {
            own: program(chance),
            ancestors: (0..ancestors).map(|_| program(chance)).collect(),
            target: Target {
                host: chance.of(&words::HOSTS),
                port: if chance.percent(85) {
                    port
                } else {
                    chance.of(&words::PORTS)
                },
            },
        }
    }

    pub(crate) fn subject(&self) -> Subject<'_> {
        Subject {
            executable: self.own.executable,
            sha256: self.own.sha256,
            script: self.own.script,
            ancestors: &self.ancestors,
        }
    }

    pub(crate) fn target(&self) -> Target<'static> {
        self.target
    }
}

fn program(chance: &mut Chance) -> Ancestor<'static> {
    Ancestor {
        executable: chance.of(&words::PROGRAMS).as_bytes(),
        sha256: chance.percent(70).then(|| &words::DIGESTS[chance.below(3)]),
        script: chance
            .percent(40)
            .then(|| chance.of(&words::SCRIPTS).as_bytes()),
    }
}

/// A request.
pub(crate) struct Said {
    method: &'static str,
    path: &'static str,
    query: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    graphql: Option<(Vec<OwnOperation>, Option<&'static str>)>,
    rpc: Option<Rpc<'static>>,
    params: Vec<(&'static str, &'static str)>,
}

struct OwnOperation {
    kind: OperationType,
    name: &'static str,
    fields: Vec<&'static str>,
    persisted: Option<Persisted<'static>>,
}

impl Said {
    /// Half of the time, one that passes if a few attempts find one.
    pub(crate) fn on(grant: &Grant<'_>, protocols: &[Protocol], chance: &mut Chance) -> Self {
        let attempts = if chance.percent(50) { 1 } else { 8 };
        let mut said = Self::new(grant, protocols, chance);
        for _ in 1..attempts {
            let mut passes = false;
            said.with(|request| passes = grant.request(request).passes());
            if passes {
                break;
            }
            said = Self::new(grant, protocols, chance);
        }
        said
    }

    /// Mostly in the protocol that is spoken at the path.
    fn new(grant: &Grant<'_>, protocols: &[Protocol], chance: &mut Chance) -> Self {
        let path = chance.of(&words::PATHS);
        let spoken = grant.endpoint_for(path).map(|endpoint| endpoint.protocol());
        let protocol = match spoken {
            Some(protocol) if chance.percent(92) => protocol,
            _ => chance.of(protocols),
        };
        let keys = chance.some(&words::KEYS, 0, 3);
        let query = keys
            .into_iter()
            .map(|key| (key.into(), chance.of(&words::VALUES).into()));
        let mut said = Self {
            method: "POST",
            path,
            query: query.collect(),
            graphql: None,
            rpc: None,
            params: Vec::new(),
        };
        match protocol {
            Protocol::Graphql => said.graphql = Some(graphql(chance)),
            Protocol::JsonRpc | Protocol::Mcp => said.fill_rpc(chance),
            Protocol::Websocket if chance.percent(40) => {
                said.method = "WEBSOCKET_TEXT";
                said.graphql = Some(graphql(chance));
            }
            _ => said.method = chance.of(&words::METHODS),
        }
        said
    }

    fn fill_rpc(&mut self, chance: &mut Chance) {
        let mut rpc = Rpc {
            method: chance.of(&words::RPC_METHODS),
            error: chance.percent(5).then_some("not JSON"),
            ..Rpc::default()
        };
        match chance.below(20) {
            0 => (rpc.receive_stream, rpc.method, self.method) = (true, "", "GET"),
            1 | 2 => (rpc.has_response, rpc.method) = (true, ""),
            _ if rpc.method == "tools/call" => rpc.tool = Some(chance.of(&words::TOOLS)),
            _ => {}
        }
        if chance.percent(60) {
            self.params
                .push((words::ARGUMENT, chance.of(&words::ARGUMENTS)));
        }
        self.rpc = Some(rpc);
    }

    /// Lends the request.
    pub(crate) fn with(&self, ask: impl FnOnce(&Request<'_>)) {
        let (operations, error) = match &self.graphql {
            Some((operations, error)) => (&operations[..], *error),
            None => (&[][..], None),
        };
        let operations: Vec<_> = operations.iter().map(OwnOperation::lend).collect();
        let params = Listed(&self.params);
        let request = Request {
            method: self.method,
            path: self.path,
            query: &self.query,
            graphql: self.graphql.as_ref().map(|_| Graphql {
                operations: &operations,
                error,
            }),
            rpc: self.rpc.map(|rpc| Rpc {
                params: Some(&params),
                ..rpc
            }),
        };
        ask(&request);
    }
}

/// A slice has no size that is known, so something that has one stands for it.
struct Listed<'a>(&'a [(&'a str, &'a str)]);

impl Params for Listed<'_> {
    fn value(&self, key: &str) -> casemate_policy::compiled::Param<'_> {
        self.0.value(key)
    }

    fn data(&self) -> serde_json::Value {
        self.0.data()
    }
}

impl OwnOperation {
    fn lend(&self) -> Operation<'_> {
        Operation {
            kind: self.kind,
            name: self.name,
            fields: &self.fields,
            persisted: self.persisted,
        }
    }
}

fn graphql(chance: &mut Chance) -> (Vec<OwnOperation>, Option<&'static str>) {
    let count = chance.of(&[0, 1, 1, 1, 1, 1, 1, 1, 2, 2]);
    let operations = (0..count).map(|_| operation(chance));
    let operations = operations.collect();
    (operations, chance.percent(6).then_some("unexpected end"))
}

fn operation(chance: &mut Chance) -> OwnOperation {
    let kinds = [
        OperationType::Query,
        OperationType::Query,
        OperationType::Mutation,
        OperationType::Subscription,
    ];
    let stored = |chance: &mut Chance| Some(chance.of(&words::STORED));
    let persisted = match chance.below(12) {
        0 => Some(Persisted {
            hash: stored(chance),
            id: None,
        }),
        1 => Some(Persisted {
            hash: None,
            id: stored(chance),
        }),
        2 => Some(Persisted {
            hash: Some("h1"),
            id: stored(chance),
        }),
        3 if chance.percent(10) => Some(Persisted::default()),
        _ => None,
    };
    OwnOperation {
        kind: chance.of(&kinds),
        name: chance.of(&words::OPERATIONS),
        fields: chance.some(&words::FIELDS, 0, 2),
        persisted,
    }
}
