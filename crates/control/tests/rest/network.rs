//! Where a sandbox may connect to.

use crate::sim::{Rig, id};
use casemate_core::error::Error;
use casemate_core::node::Refusal;
use serde_json::json;

#[tokio::test]
async fn a_change_replaces_all_of_the_way_out_and_nothing_else() {
    let rig = Rig::new().await;
    let network = json!({"allowPublicTraffic": false, "maskRequestHost": "a.b", "allowOut": ["1.1.1.1"], "denyOut": ["0.0.0.0/0"],
                         "rules": {"api.x.y": [{"transform": {"headers": {"X-A": "1"}}}]}});
    let name = rig.sandbox(json!({"network": network})).await;
    let outward = || rig.sim.inside(&id(&name)).unwrap().wish.network;
    assert!(!outward().internet);
    assert_eq!(outward().headers["api.x.y"]["X-A"], "1");
    let put = async |body| {
        rig.send("PUT", &format!("/sandboxes/{name}/network"), body)
            .await
    };
    put(json!({"denyOut": ["8.8.8.8"], "dnsServers": ["9.9.9.9"]}))
        .await
        .ok(204);
    assert!(outward().internet && outward().allow.is_empty() && outward().headers.is_empty());
    assert_eq!(outward().deny, ["8.8.8.8"]);
    assert_eq!(
        outward().dns,
        ["9.9.9.9".parse::<std::net::IpAddr>().unwrap()]
    );
    let told = rig.get(&format!("/sandboxes/{name}")).await.ok(200);
    assert_eq!(
        told["network"],
        json!({"allowPublicTraffic": false, "maskRequestHost": "a.b", "denyOut": ["8.8.8.8"], "dnsServers": ["9.9.9.9"]})
    );
    put(json!({"allow_internet_access": false, "allowOut": ["*.x.y"]}))
        .await
        .ok(204);
    assert!(!outward().internet);
    assert_eq!(
        rig.get(&format!("/sandboxes/{name}")).await.ok(200)["allowInternetAccess"],
        false
    );
    // Wrong ones change nothing.
    for (body, says) in [
        (json!({"allowOut": ["x.y"]}), "network.allowOut[0]"),
        (json!({"allowOut": "x.y"}), "allowOut: invalid type"),
        (
            json!({"egressProxy": {"address": "a"}}),
            "network.egressProxy: not supported",
        ),
    ] {
        let text = put(body).await.problem(400);
        assert!(text.starts_with(says), "{text}");
    }
    rig.sim
        .refuse("restrict", Refusal::Failed(Error::errno("set rules", 1)));
    put(json!({})).await.problem(500);
    assert_eq!(outward().allow, ["*.x.y"]);
    rig.post(&format!("/sandboxes/{name}/pause"), json!({}))
        .await
        .ok(204);
    put(json!({})).await.problem(409);
}

#[tokio::test]
async fn a_whole_policy_goes_to_the_node() {
    let rig = Rig::new().await;
    let name = rig
        .sandbox(json!({"casemate": {"policy": "version: 1\n"}}))
        .await;
    let policy = || rig.sim.inside(&id(&name)).unwrap().wish.network.policy;
    assert_eq!(policy().as_deref(), Some("version: 1\n"));
    rig.send("PUT", &format!("/sandboxes/{name}/network"), json!({}))
        .await
        .ok(204);
    assert!(
        policy().is_some(),
        "an update of E2B's can't take a policy away"
    );
    assert_eq!(
        rig.get(&format!("/casemate/sandboxes/{name}"))
            .await
            .ok(200)["hasPolicy"],
        true
    );
}
