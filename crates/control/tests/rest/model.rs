//! Any sequence of operations, and of time, does what a small model says.

use crate::sim::{Rig, id};
use proptest::prelude::*;
use serde_json::json;

#[derive(Debug, Clone)]
enum Step {
    Pause,
    Connect(u16),
    Resume(u16),
    Timeout(u16),
    Refresh(u16),
    Wake,
    Kill,
    Pass(u16),
    Restart,
}

/// What is known of one sandbox: seconds, from the beginning.
#[derive(Debug, Clone, Copy)]
struct Model {
    now: u64,
    state: &'static str,
    end: u64,
    first: u64,
    pauses: bool,
    wakes: bool,
}

impl Model {
    /// Does the step; the status that the client gets.
    fn step(&mut self, step: &Step) -> Option<u16> {
        let at = |seconds: &u16| self.now + u64::from(*seconds);
        let running = self.state == "running";
        match step {
            Step::Pass(seconds) => {
                self.now = at(seconds);
                self.expire();
                return None;
            }
            Step::Restart => return None,
            _ if self.state == "stopped" => return Some(404),
            Step::Kill => {
                self.state = "stopped";
                return Some(204);
            }
            Step::Pause if running => {
                self.state = "paused";
                return Some(204);
            }
            Step::Pause => return Some(409),
            Step::Connect(seconds) if running => {
                self.end = self.end.max(at(seconds));
                self.expire();
                return Some(200);
            }
            Step::Resume(_) if running => return Some(409),
            Step::Connect(seconds) | Step::Resume(seconds) => {
                (self.end, self.state) = (at(seconds), "running")
            }
            Step::Timeout(_) | Step::Refresh(_) if !running => return Some(404),
            Step::Timeout(seconds) => {
                self.end = at(seconds);
                self.expire();
                return Some(204);
            }
            Step::Refresh(seconds) => {
                self.end = self.end.max(at(seconds));
                return Some(204);
            }
            Step::Wake if running => return Some(200),
            Step::Wake if !self.wakes => return Some(404),
            Step::Wake => {
                (self.end, self.state) = (self.now + self.first.max(300), "running");
                return Some(200);
            }
        }
        self.expire();
        Some(201)
    }

    fn expire(&mut self) {
        if self.state == "running" && self.end <= self.now {
            self.state = if self.pauses { "paused" } else { "stopped" };
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let seconds = || 0..400u16;
    let step = prop_oneof![
        2 => Just(Step::Pause),
        2 => seconds().prop_map(Step::Connect),
        1 => seconds().prop_map(Step::Resume),
        1 => seconds().prop_map(Step::Timeout),
        1 => seconds().prop_map(Step::Refresh),
        1 => Just(Step::Wake),
        1 => Just(Step::Kill),
        3 => seconds().prop_map(Step::Pass),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..25)
}

async fn check(first: u64, pauses: bool, wakes: bool, steps: Vec<Step>) {
    let mut rig = Rig::new().await;
    let fields = json!({"timeout": first, "autoPause": pauses, "autoResume": {"enabled": wakes}});
    let name = rig.sandbox(fields).await;
    let mut model = Model {
        now: 0,
        state: "running",
        end: first,
        first,
        pauses,
        wakes,
    };
    model.expire();
    rig.until(&name, model.state).await;
    for step in &steps {
        let post = async |action: &str, body| {
            let path = format!("/sandboxes/{name}/{action}");
            Some(rig.post(&path, body).await.status.as_u16())
        };
        let status = match step {
            Step::Pause => post("pause", json!({})).await,
            Step::Connect(seconds) => post("connect", json!({"timeout": seconds})).await,
            Step::Resume(seconds) => post("resume", json!({"timeout": seconds})).await,
            Step::Timeout(seconds) => post("timeout", json!({"timeout": seconds})).await,
            Step::Refresh(seconds) => post("refreshes", json!({"duration": seconds})).await,
            Step::Wake => Some(
                rig.control()
                    .wake(&id(&name))
                    .await
                    .map_or_else(|problem| problem.status.as_u16(), |_| 200),
            ),
            Step::Kill => Some(
                rig.delete(&format!("/sandboxes/{name}"))
                    .await
                    .status
                    .as_u16(),
            ),
            Step::Pass(seconds) => {
                rig.pass((*seconds).into()).await;
                None
            }
            Step::Restart => {
                rig.restart().await;
                None
            }
        };
        assert_eq!(status, model.step(step), "{step:?} of {steps:?}: {model:?}");
        rig.until(&name, model.state).await;
        let inside = rig.sim.inside(&id(&name)).map(|inside| inside.paused);
        let expected = match model.state {
            "running" => Some(false),
            "paused" => Some(true),
            _ => None,
        };
        assert_eq!(inside, expected, "{step:?} of {steps:?}");
    }
    assert_eq!(rig.sim.overlaps(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_life_is_as_the_model_says(first in 0..400u64, pauses: bool, wakes: bool, steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check(first, pauses, wakes, steps));
    }
}
