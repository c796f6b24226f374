//! What the gateway asks.

use crate::sim::{Rig, id};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use casemate_control::Signed;
use casemate_core::sandbox::lifecycle::State;
use serde_json::json;
use sha2::{Digest as _, Sha256};

fn signature(text: &str) -> String {
    format!("v1_{}", STANDARD_NO_PAD.encode(Sha256::digest(text)))
}

#[tokio::test]
async fn a_signature_leads_to_its_sandbox() {
    let rig = Rig::new().await;
    let mut names = Vec::new();
    for _ in 0..20 {
        names.push(rig.sandbox(json!({})).await);
    }
    let name = &names[13];
    let way = rig.control().look_up(&id(name)).await.unwrap();
    assert_eq!(
        (way.state, way.traffic_token, way.mask_host),
        (State::Running, None, None)
    );
    let token = way.access_token.unwrap();
    let find = async |text: String, user, expiration| {
        let signature = signature(&text);
        let signed = Signed {
            signature: &signature,
            path: "/a:b é",
            operation: "read",
            user,
            expiration,
        };
        rig.control()
            .find_by_signature(signed)
            .await
            .map(|id| id.to_string())
    };
    let found = Some(name.clone());
    assert_eq!(find(format!("/a:b é:read::{token}"), "", None).await, found);
    assert_eq!(
        find(format!("/a:b é:read:root:{token}:99"), "root", Some(99)).await,
        found
    );
    assert_eq!(
        find(format!("/a:b é:read:root:{token}:99"), "root", Some(98)).await,
        None
    );
    assert_eq!(find(format!("/a:b é:write::{token}"), "", None).await, None);
    assert_eq!(find("/a:b é:read::".into(), "", None).await, None);
    for signature in ["", "v1_", "v1_!!", "v2_AAAA"] {
        let signed = Signed {
            signature,
            path: "/a",
            operation: "read",
            user: "",
            expiration: None,
        };
        assert_eq!(rig.control().find_by_signature(signed).await, None);
    }
    rig.delete(&format!("/sandboxes/{name}")).await.ok(204);
    assert_eq!(find(format!("/a:b é:read::{token}"), "", None).await, None);
    assert_eq!(rig.control().look_up(&id(name)).await, None);
    assert_eq!(rig.control().wake(&id(name)).await.unwrap_err().status, 404);
}

#[tokio::test]
async fn an_open_sandbox_has_no_signature() {
    let rig = Rig::new().await;
    let made = rig
        .post("/sandboxes", json!({"templateID": "base", "secure": false}))
        .await
        .ok(201);
    let way = rig
        .control()
        .look_up(&id(made["sandboxID"].as_str().unwrap()))
        .await
        .unwrap();
    assert_eq!(way.access_token, None);
    let signature = signature("/a:read::");
    let signed = Signed {
        signature: &signature,
        path: "/a",
        operation: "read",
        user: "",
        expiration: None,
    };
    assert_eq!(rig.control().find_by_signature(signed).await, None);
}
