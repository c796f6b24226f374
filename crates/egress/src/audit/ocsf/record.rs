//! An event as one object of JSON.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Value, json};

use super::VERSION;
use super::kind::Kind;
use super::objects::{Actor, Endpoint, Metadata, PRODUCT, cut};
use crate::audit::event::{Event, Outcome, Severity};

/// What was requested.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpRequest {
    /// `https`.
    pub scheme: String,
    /// Its method.
    pub method: String,
    /// Its path without the query, which may hold what nobody should log.
    pub path: String,
}

/// Fields in the order in which a person would read them.
#[derive(Serialize)]
struct Record<'a> {
    time: u64,
    class_uid: u32,
    class_name: &'static str,
    category_uid: u32,
    category_name: &'static str,
    activity_id: u32,
    activity_name: &'static str,
    type_uid: u32,
    type_name: String,
    severity_id: u32,
    severity: &'static str,
    status_id: u32,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_detail: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Cow<'a, str>>,
    action_id: u32,
    action: &'static str,
    disposition_id: u32,
    disposition: &'static str,
    is_alert: bool,
    metadata: Metadata<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<Actor<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    src_endpoint: Option<Endpoint<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dst_endpoint: Option<Endpoint<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connection_info: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    traffic: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    http_request: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    http_response: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    firewall_rule: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finding_info: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unmapped: Option<Value>,
}

impl Event {
    /// The event in one line of JSON, without its end.
    pub fn to_json(&self) -> String {
        // Strings and numbers only: there is nothing in these that can't be written.
        serde_json::to_string(&self.record()).unwrap_or_default()
    }

    fn record(&self) -> Record<'_> {
        let class = self.kind.class();
        let (severity_id, severity) = self.severity.numbered();
        let decision = Decision::from(self.outcome);
        let network = matches!(self.kind, Kind::Network(_) | Kind::Http(_));
        Record {
            time: self.time,
            class_uid: class.uid,
            class_name: class.name,
            category_uid: class.uid / 1000,
            category_name: class.category,
            activity_id: class.activity,
            activity_name: class.activity_name,
            type_uid: class.uid * 100 + class.activity,
            type_name: format!("{}: {}", class.name, class.activity_name),
            severity_id,
            severity,
            status_id: decision.status.0,
            status: decision.status.1,
            status_detail: self.reason.as_deref().map(cut),
            message: self.message.as_deref().map(cut),
            action_id: decision.action.0,
            action: decision.action.1,
            disposition_id: decision.disposition.0,
            disposition: decision.disposition.1,
            is_alert: self.severity >= Severity::High,
            metadata: Metadata {
                version: VERSION,
                product: PRODUCT,
                profiles: ["security_control"],
                correlation_uid: self.sandbox.as_deref().map(cut),
            },
            actor: self.process.as_ref().map(Actor::from),
            src_endpoint: self.source.map(Endpoint::from),
            dst_endpoint: self.destination_endpoint(),
            connection_info: network.then(|| {
                json!({"protocol_name": "tcp", "protocol_num": 6, "direction_id": 2, "direction": "Outbound"})
            }),
            traffic: self.traffic.map(|(sent, received)| {
                json!({"bytes_out": sent, "bytes_in": received, "bytes": sent.saturating_add(received)})
            }),
            http_request: self.http_request(),
            http_response: self.status_code.map(|code| json!({"code": code})),
            policy: self.policy.as_deref().map(|name| json!({"name": cut(name)})),
            firewall_rule: self.firewall_rule(),
            finding_info: self.finding_info(),
            device: self.device(),
            app: matches!(self.kind, Kind::Lifecycle(_)).then(|| json!(PRODUCT)),
            unmapped: self.unmapped(),
        }
    }

    fn destination_endpoint(&self) -> Option<Endpoint<'_>> {
        let dialled = self.dialled.map(Endpoint::from);
        let Some((host, port)) = &self.destination else {
            return dialled;
        };
        Some(Endpoint {
            hostname: Some(cut(host)),
            ip: dialled.and_then(|endpoint| endpoint.ip),
            port: Some(*port),
        })
    }

    fn http_request(&self) -> Option<Value> {
        let request = self.request.as_ref()?;
        let (host, port) = self.destination.clone().unwrap_or_default();
        Some(json!({
            "http_method": cut(&request.method),
            "url": {
                "scheme": cut(&request.scheme),
                "hostname": cut(&host),
                "port": port,
                "path": cut(&request.path),
            },
        }))
    }

    fn firewall_rule(&self) -> Option<Value> {
        let name = self.rule.as_deref().or(self.policy.as_deref());
        if name.is_none() && self.engine.is_none() {
            return None;
        }
        Some(json!({"name": cut(name.unwrap_or("-")), "type": self.engine.unwrap_or("policy")}))
    }

    fn finding_info(&self) -> Option<Value> {
        let Kind::Finding { id, title, .. } = &self.kind else {
            return None;
        };
        Some(json!({"uid": cut(id), "title": cut(title), "created_time": self.time}))
    }

    /// The sandbox is what the change of a policy is about.
    fn device(&self) -> Option<Value> {
        let sandbox = self.sandbox.as_deref().unwrap_or("-");
        matches!(self.kind, Kind::ConfigState { .. })
            .then(|| json!({"type_id": 99, "type": "Sandbox", "uid": cut(sandbox)}))
    }

    fn unmapped(&self) -> Option<Value> {
        let Kind::ConfigState {
            revisions: (before, now),
        } = &self.kind
        else {
            return None;
        };
        let before = before.as_deref().map(cut);
        Some(json!({"policy_revision": cut(now), "previous_policy_revision": before}))
    }
}

/// A number of the schema with its caption.
type Numbered = (u32, &'static str);

/// An outcome as the profile `security_control` has it.
struct Decision {
    action: Numbered,
    disposition: Numbered,
    status: Numbered,
}

impl From<Outcome> for Decision {
    fn from(outcome: Outcome) -> Self {
        let (action, disposition, status) = match outcome {
            Outcome::Allowed => ((1, "Allowed"), (1, "Allowed"), (1, "Success")),
            Outcome::Denied => ((2, "Denied"), (2, "Blocked"), (2, "Failure")),
            Outcome::Audited => ((1, "Allowed"), (17, "Logged"), (1, "Success")),
            Outcome::Failed => ((1, "Allowed"), (1, "Allowed"), (2, "Failure")),
        };
        Self {
            action,
            disposition,
            status,
        }
    }
}

impl Severity {
    fn numbered(self) -> Numbered {
        match self {
            Self::Informational => (1, "Informational"),
            Self::Low => (2, "Low"),
            Self::Medium => (3, "Medium"),
            Self::High => (4, "High"),
            Self::Critical => (5, "Critical"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::*;
    use crate::audit::ocsf::{FindingActivity, HttpActivity, LifecycleActivity, NetworkActivity};
    use crate::audit::{Ancestor, Process};

    fn written(event: &Event) -> Value {
        let line = event.to_json();
        assert!(!line.contains('\n'));
        serde_json::from_str(&line).expect("JSON")
    }

    fn process(text: &str) -> Process {
        Process {
            path: PathBuf::from(format!("/usr/bin/{text}")),
            sha256: Some([0xab; 32]),
            pid: Some(64),
            command_line: Some(text.to_owned()),
            ancestors: vec![Ancestor::default(); 100],
        }
    }

    #[test]
    fn a_refused_connection_has_its_class_and_its_actor() {
        let event = Event::new(Kind::Network(NetworkActivity::Open), 7)
            .decided(Outcome::Denied, "ssrf", "an internal address")
            .policy("github")
            .sandbox("s1")
            .process(process("curl"))
            .to("a.example", 443);
        let json = written(&event);
        assert_eq!(
            (&json["class_uid"], &json["type_uid"]),
            (&json!(4001), &json!(400_101))
        );
        assert_eq!(
            (&json["category_uid"], &json["severity_id"]),
            (&json!(4), &json!(3))
        );
        assert_eq!(
            (&json["action_id"], &json["disposition_id"]),
            (&json!(2), &json!(2))
        );
        assert_eq!(json["metadata"]["version"], "1.8.0");
        assert_eq!(json["actor"]["process"]["file"]["path"], "/usr/bin/curl");
        let hash = &json["actor"]["process"]["file"]["hashes"][0];
        assert_eq!(
            (&hash["algorithm_id"], &hash["value"]),
            (&json!(3), &json!("ab".repeat(32)))
        );
        assert_eq!(
            json["actor"]["process"]["ancestry"]
                .as_array()
                .map(Vec::len),
            Some(32)
        );
        assert_eq!(
            json["dst_endpoint"],
            json!({"hostname": "a.example", "port": 443})
        );
        assert_eq!(
            json["firewall_rule"],
            json!({"name": "github", "type": "ssrf"})
        );
        assert_eq!(json["status_detail"], "an internal address");
    }

    #[test]
    fn a_request_has_its_method_and_its_place() {
        let mut event = Event::new(Kind::Http(HttpActivity::from("PATCH")), 7).to("a.example", 443);
        event.request = Some(HttpRequest {
            scheme: "https".to_owned(),
            method: "PATCH".to_owned(),
            path: "/x".to_owned(),
        });
        event.status_code = Some(204);
        event.dialled = Some("192.0.2.1:443".parse().expect("an address"));
        let json = written(&event);
        assert_eq!(
            (&json["type_uid"], &json["http_response"]["code"]),
            (&json!(400_209), &json!(204))
        );
        assert_eq!(json["http_request"]["url"]["hostname"], "a.example");
        assert_eq!(json["dst_endpoint"]["ip"], "192.0.2.1");
    }

    #[test]
    fn the_other_classes_have_what_they_require() {
        let finding = Kind::Finding {
            activity: FindingActivity::Create,
            id: "casemate.bypass".to_owned(),
            title: "t".to_owned(),
        };
        let json = written(&Event::new(finding, 7).severity(Severity::High));
        assert_eq!(
            (&json["type_uid"], &json["is_alert"]),
            (&json!(200_401), &json!(true))
        );
        assert_eq!(json["finding_info"]["uid"], "casemate.bypass");
        let change = Kind::ConfigState {
            revisions: (None, "2".to_owned()),
        };
        let json = written(&Event::new(change, 7).sandbox("s1"));
        assert_eq!(
            (&json["type_uid"], &json["category_uid"]),
            (&json!(501_901), &json!(5))
        );
        assert_eq!(
            (&json["device"]["uid"], &json["unmapped"]["policy_revision"]),
            (&json!("s1"), &json!("2"))
        );
        let json = written(&Event::new(Kind::Lifecycle(LifecycleActivity::Stop), 7));
        assert_eq!(
            (&json["type_uid"], &json["app"]["name"]),
            (&json!(600_204), &json!("Casemate"))
        );
        assert_eq!(HttpActivity::from("BREW"), HttpActivity::Other);
    }

    proptest! {
        #[test]
        fn whatever_the_sandbox_says_is_one_bounded_line(text in any::<String>(), times in 0usize..200) {
            let long = text.repeat(times);
            let event = Event::new(Kind::Http(HttpActivity::Other), u64::MAX)
                .decided(Outcome::Audited, "l7", long.clone())
                .policy(long.clone())
                .message(long.clone())
                .process(process(&long))
                .to(long, 1);
            let json = event.to_json();
            prop_assert!(json.len() < 500_000);
            written(&event);
        }
    }
}
