//! Web sites.

use crate::stand::{Stand, replied};
use candid::{CandidType, Deserialize, Principal, define_function, encode_one};
use casemate_wasm_http::{Settings, Sites};

#[derive(CandidType, Deserialize)]
struct Asked {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    certificate_version: Option<u16>,
}

#[derive(CandidType)]
struct Token {
    piece: u32,
}

define_function!(Callback : (Token) -> () query);

#[derive(CandidType)]
enum Strategy {
    Callback { callback: Callback, token: Token },
}

#[derive(CandidType, Default)]
struct Page {
    status_code: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    upgrade: Option<bool>,
    streaming_strategy: Option<Strategy>,
}

#[derive(CandidType)]
struct More {
    body: Vec<u8>,
    token: Option<Token>,
}

fn page(status_code: u16, body: &str) -> Page {
    Page {
        status_code,
        body: body.as_bytes().to_vec(),
        ..Page::default()
    }
}

fn header(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// A site that says what it was asked.
fn site(stand: &Stand) {
    stand.fake.method("http_request", |ask| {
        let asked: Asked = candid::decode_one(&ask.argument).unwrap();
        assert_eq!(asked.certificate_version, None);
        let told: Vec<_> = asked
            .headers
            .iter()
            .filter(|(name, _)| name.starts_with("x-"))
            .collect();
        let body = String::from_utf8(asked.body).unwrap();
        let text = format!("{} {} {told:?} {body}", asked.method, asked.url);
        let page = Page {
            headers: vec![
                header("Content-Type", "text/plain"),
                header("Set-Cookie", "a=b"),
                header("Connection", "close"),
                header("Content-Length", "1"),
            ],
            ..page(200, &text)
        };
        Ok(replied(&encode_one(page).unwrap()))
    });
}

const NOBODY: (&str, &str) = ("x-api-key", "-");

#[tokio::test]
async fn a_site_is_served_in_its_folder() {
    let stand = Stand::new();
    site(&stand);
    let headers = [
        NOBODY,
        ("x-own", "1"),
        ("cookie", "c"),
        ("x-secret", "e2b_1"),
    ];
    let answer = stand
        .send("GET", "/wasm/c/www/a%20b/?q=%31", &headers, "")
        .await;
    let text = String::from_utf8(answer.body.clone()).unwrap();
    assert_eq!(text, "GET /a%20b/?q=%31 [(\"x-own\", \"1\")] ");
    assert_eq!(answer.status.as_u16(), 200);
    assert_eq!(answer.header("content-type"), Some("text/plain"));
    let policy = answer.header("content-security-policy").unwrap();
    assert!(
        policy.starts_with("sandbox ") && !policy.contains("allow-same-origin"),
        "{policy}"
    );
    for gone in ["set-cookie", "connection"] {
        assert_eq!(answer.header(gone), None, "{gone}");
    }
    assert_ne!(answer.header("content-length"), Some("1"));
    let posted = stand
        .send("PROPFIND", "/wasm/c/www/", &[NOBODY], "body")
        .await;
    assert_eq!(posted.body, b"PROPFIND / [] body");
    let bare = stand.send("GET", "/wasm/c/www", &[NOBODY], "").await;
    assert_eq!(
        (bare.status.as_u16(), bare.header("location")),
        (308, Some("/wasm/c/www/"))
    );
    let head = stand.send("HEAD", "/wasm/c/www/", &[NOBODY], "").await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
}

#[tokio::test]
async fn a_site_has_a_host_of_its_own() {
    let stand = Stand::with(Settings {
        domain: Some("Sbx.Test".to_owned()),
        ..Settings::default()
    });
    site(&stand);
    let host = [NOBODY, ("host", "wasm-c.sbx.test:3000")];
    let answer = stand.send("GET", "/sandboxes?a", &host, "").await;
    assert_eq!(answer.body, b"GET /sandboxes?a [] ");
    assert_eq!(answer.header("set-cookie"), Some("a=b"));
    assert_eq!(answer.header("content-security-policy"), None);
    // Under it nothing is the API's, whoever asks.
    let api = stand
        .send("GET", "/wasm", &[("host", "wasm-c.sbx.test")], "")
        .await;
    assert_eq!(api.body, b"GET /wasm [] ");
    let none = stand
        .send("GET", "/", &[NOBODY, ("host", "wasm-d.sbx.test")], "")
        .await;
    assert_eq!(none.fault(404), "no_canister");
    let other = stand
        .send("GET", "/", &[NOBODY, ("host", "wasm-c.other.test")], "")
        .await;
    assert_eq!(other.body, b"the platform");
}

#[tokio::test]
async fn what_changes_something_is_asked_again_as_an_update() {
    let stand = Stand::new();
    stand.fake.method("http_request", |_| {
        let again = Page {
            upgrade: Some(true),
            ..page(200, "not this")
        };
        Ok(replied(&encode_one(again).unwrap()))
    });
    stand.fake.method("http_request_update", |ask| {
        let asked: Asked = candid::decode_one(&ask.argument).unwrap();
        // One that wants to be asked again and again isn't.
        let done = Page {
            upgrade: Some(true),
            ..page(201, &format!("changed by {}", asked.method))
        };
        Ok(replied(&encode_one(done).unwrap()))
    });
    let answer = stand.send("POST", "/wasm/c/www/x", &[NOBODY], "").await;
    assert_eq!(
        (answer.status.as_u16(), &answer.body[..]),
        (201, &b"changed by POST"[..])
    );
    let asked = stand.fake.asked.lock().unwrap();
    let kinds: Vec<_> = asked
        .iter()
        .map(|(kind, ask)| (*kind, ask.method.as_str()))
        .collect();
    assert_eq!(
        kinds,
        [("query", "http_request"), ("call", "http_request_update")]
    );
}

/// A body of pieces, the rest of which belongs to a canister of this name.
fn streaming(stand: &Stand, owner: &'static [u8], pieces: u32) {
    stand.fake.method("http_request", move |_| {
        let strategy = Strategy::Callback {
            callback: Callback::new(Principal::from_slice(owner), "more".to_owned()),
            token: Token { piece: 1 },
        };
        let first = Page {
            streaming_strategy: Some(strategy),
            ..page(200, "0,")
        };
        Ok(replied(&encode_one(first).unwrap()))
    });
    stand.fake.method("more", move |ask| {
        #[derive(CandidType, Deserialize)]
        struct Given {
            piece: u32,
        }
        let Given { piece } = candid::decode_one(&ask.argument).unwrap();
        let more = More {
            body: format!("{piece},").into_bytes(),
            token: (piece < pieces).then_some(Token { piece: piece + 1 }),
        };
        Ok(replied(&encode_one(more).unwrap()))
    });
}

#[tokio::test]
async fn a_long_body_comes_in_pieces() {
    let stand = Stand::new();
    streaming(&stand, b"c", 4);
    *stand.fake.principal.lock().unwrap() = Some(Principal::from_slice(b"c").to_text());
    let answer = stand.send("GET", "/wasm/c/www/", &[NOBODY], "").await;
    assert_eq!(answer.body, b"0,1,2,3,4,");
    // Another canister's method isn't asked, and a body that never ends is broken off.
    streaming(&stand, b"d", 4);
    let answer = stand.send("GET", "/wasm/c/www/", &[NOBODY], "").await;
    assert!(answer.body.starts_with(b"broken off"), "{answer:?}");
    streaming(&stand, b"c", u32::MAX);
    let answer = stand.send("GET", "/wasm/c/www/", &[NOBODY], "").await;
    assert!(answer.body.starts_with(b"broken off"), "{answer:?}");
}

#[tokio::test]
async fn an_answer_that_is_none_is_not_passed_on() {
    let stand = Stand::new();
    for bad in [
        encode_one(page(99, "")).unwrap(),
        encode_one(page(101, "")).unwrap(),
        encode_one("text").unwrap(),
        b"no Candid".to_vec(),
        encode_one(Page {
            headers: vec![header("a", "b\r\nset-cookie: c=d")],
            ..page(200, "")
        })
        .unwrap(),
    ] {
        stand
            .fake
            .method("http_request", move |_| Ok(replied(&bad)));
        let answer = stand.send("GET", "/wasm/c/www/", &[NOBODY], "").await;
        assert_eq!(answer.fault(502), "answer");
    }
    stand.fake.methods.lock().unwrap().clear();
    let none = stand.send("GET", "/wasm/c/www/", &[NOBODY], "").await;
    assert_eq!(none.fault(404), "no_method");
    assert!(
        none.json()["message"]
            .as_str()
            .unwrap()
            .contains("has no web site")
    );
}

#[tokio::test]
async fn sites_may_be_for_those_with_a_key() {
    let stand = Stand::with(Settings {
        sites: Sites::Keyed,
        ..Settings::default()
    });
    site(&stand);
    let nobody = stand.send("GET", "/wasm/c/www/", &[NOBODY], "").await;
    assert_eq!(nobody.fault(401), "no_key");
    let read = [("x-api-key", "read")];
    assert_eq!(
        stand
            .send("GET", "/wasm/c/www/", &read, "")
            .await
            .status
            .as_u16(),
        200
    );
}
