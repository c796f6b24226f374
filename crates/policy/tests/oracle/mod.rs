//! The second opinion: a policy and a question in the terms of `oracle.rego`, asked of an
//! interpreter.

mod data;

use casemate_policy::network::{Network, OperationType};
use regorus::{Engine, Value};

const PROGRAM: &str = include_str!("oracle.rego");

/// The program with the data of one policy.
pub(crate) struct Oracle {
    engine: Engine,
}

impl Oracle {
    /// Loads the policy.
    pub(crate) fn new(network: &Network) -> Self {
        let mut engine = Engine::new();
        let added = engine.add_policy("oracle.rego".to_owned(), PROGRAM.to_owned());
        added.expect("the oracle's program is sound");
        let data = Value::from(data::of(network));
        engine.add_data(data).expect("the policy's data is sound");
        Self { engine }
    }

    /// What becomes of a connection.
    pub(crate) fn connection(&mut self, input: &serde_json::Value) -> serde_json::Value {
        self.ask(input, "connection")
    }

    /// What becomes of a request on a connection that is allowed.
    pub(crate) fn verdict(&mut self, input: &serde_json::Value) -> serde_json::Value {
        self.ask(input, "verdict")
    }

    fn ask(&mut self, input: &serde_json::Value, rule: &str) -> serde_json::Value {
        self.engine.set_input(Value::from(input.clone()));
        let answer = self
            .engine
            .eval_rule(format!("data.casemate.oracle.{rule}"));
        let answer = answer.unwrap_or_else(|error| panic!("{error:#}\nabout {input}"));
        serde_json::to_value(answer).expect("an answer in JSON")
    }
}

/// As the original writes it.
pub(crate) fn kind(kind: OperationType) -> &'static str {
    match kind {
        OperationType::Query => "query",
        OperationType::Mutation => "mutation",
        OperationType::Subscription => "subscription",
        OperationType::Any => "*",
    }
}
