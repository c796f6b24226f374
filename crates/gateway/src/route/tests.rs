use super::*;
use http::Request;
use proptest::prelude::*;

const ID_TEXT: &str = "i0123456789abcdefghij";

fn parts(uri: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn routed(uri: &str, headers: &[(&str, &str)]) -> Result<Route, Answer> {
    let parts = parts(uri, headers);
    let host = Authority::of(&parts)?;
    route(&parts, &host, Some("sbx.example"))
}

fn at(port: u16) -> Route {
    Route::Sandbox(Target::new(ID_TEXT.parse().unwrap(), port))
}

#[test]
fn a_host_names_port_and_sandbox() {
    for host in [
        format!("3000-{ID_TEXT}.sbx.example"),
        format!("3000-{ID_TEXT}.sbx.example:8443"),
        format!("3000-{ID_TEXT}.SBX.Example."),
        format!("3000-{ID_TEXT}-0a1b2c.sbx.example"),
        format!("3000-{ID_TEXT}.127.0.0.1.nip.io:80"),
    ] {
        assert_eq!(routed("/x", &[("host", &host)]), Ok(at(3000)), "{host}");
    }
    let agent = format!("49983-{ID_TEXT}.sbx.example");
    let Ok(Route::Sandbox(target)) = routed("/x", &[("host", &agent)]) else {
        panic!("no sandbox");
    };
    assert_eq!((target.door, target.port()), (Door::Agent, AGENT));
}

#[test]
fn a_host_that_names_no_sandbox_is_the_apis() {
    for host in [
        "api.sbx.example",
        "sbx.example",
        "3000-machines.example.com",
        "3000-i0123456789abcdefghi.sbx.example",
        "localhost",
        &format!("3000-{ID_TEXT}"),
        &format!("wasm-{ID_TEXT}.sbx.example"),
    ] {
        assert_eq!(routed("/x", &[("host", host)]), Ok(Route::Api), "{host}");
    }
}

#[test]
fn a_port_that_is_none_is_bad() {
    for port in ["0", "65536", "", "+80", "8x", "99999999999999999999"] {
        let host = format!("{port}-{ID_TEXT}.sbx.example");
        assert!(
            matches!(routed("/", &[("host", &host)]), Err(Answer::Bad(_))),
            "{port}"
        );
    }
}

#[test]
fn headers_name_it_where_the_host_is_general() {
    let headers = |host| [("host", host), (ID, ID_TEXT), (PORT, "3000")];
    for host in [
        "localhost:3000",
        "127.0.0.1",
        "[::1]:80",
        "sandbox.sbx.example",
        "casemate:3000",
    ] {
        assert_eq!(routed("/x", &headers(host)), Ok(at(3000)), "{host}");
    }
    for host in ["api.sbx.example", "sbx.example"] {
        assert_eq!(routed("/x", &headers(host)), Ok(Route::Api), "{host}");
    }
    let host = format!("81-{ID_TEXT}.sbx.example");
    assert_eq!(routed("/x", &headers(&host)), Ok(at(81)));
}

#[test]
fn headers_that_are_half_or_double_are_bad() {
    let host = ("host", "localhost");
    for headers in [
        vec![host, (ID, ID_TEXT)],
        vec![host, (ID, "x"), (PORT, "80")],
        vec![host, (ID, ID_TEXT), (ID, ID_TEXT), (PORT, "80")],
        vec![host, (ID, ID_TEXT), (PORT, "80"), (PORT, "81")],
        vec![host, ("host", "localhost")],
        vec![],
    ] {
        let answer = routed("/", &headers);
        assert!(matches!(answer, Err(Answer::Bad(_))), "{headers:?}");
    }
}

#[test]
fn hosts_that_can_be_read_in_two_ways_are_bad() {
    for host in [
        "a@b", "a/b", "a b", "[::1", "[::1]x", "[zz]", "a:b", "a:99999", "a,b",
    ] {
        assert!(
            matches!(routed("/", &[("host", host)]), Err(Answer::Bad(_))),
            "{host}"
        );
    }
}

#[test]
fn the_request_line_wins_over_host() {
    let uri = format!("http://81-{ID_TEXT}.sbx.example/x");
    assert_eq!(routed(&uri, &[("host", "localhost")]), Ok(at(81)));
}

#[test]
fn a_path_names_it() {
    let of = |rest: &str| routed(&format!("/proxy/{ID_TEXT}{rest}"), &[("host", "localhost")]);
    for rest in ["/80", "/80/", "/80/x/../y?z", "/80/%2F"] {
        let Ok(Route::Sandbox(target)) = of(rest) else {
            panic!("{rest}");
        };
        let path = format!("/proxy/{ID_TEXT}/80");
        assert_eq!(target.prefix, Some(Prefix { path, kept: false }));
    }
    assert_eq!(of(""), Ok(Route::Api));
    assert!(matches!(of("/x/"), Err(Answer::Bad(_))));
    assert_eq!(
        routed("/proxy/x/80/", &[("host", "localhost")]),
        Ok(Route::Api)
    );
}

#[test]
fn a_path_names_a_program_that_knows_it() {
    let of = |rest: &str| {
        let uri = format!("/proxy/absolute/{ID_TEXT}{rest}");
        routed(&uri, &[("host", "localhost")])
    };
    let Ok(Route::Sandbox(target)) = of("/80/x") else {
        panic!("it names none");
    };
    let path = format!("/proxy/absolute/{ID_TEXT}/80");
    assert_eq!(target.prefix, Some(Prefix { path, kept: true }));
    assert_eq!(of(""), Ok(Route::Api));
    assert_eq!(of("/49983/health"), Err(Answer::NotFound));
}

#[test]
fn a_signature_is_read_with_what_it_is_for() {
    let uri = "/files?path=%2Fa+b%2Bc&username=u&signature=v1_%2Bx&signature_expiration=12";
    let Ok(Route::Signed(signed)) = routed(uri, &[("host", "localhost")]) else {
        panic!("not signed");
    };
    assert_eq!(signed.path, "/a b+c");
    assert_eq!(signed.signature, "v1_+x");
    assert_eq!(signed.expiration.as_deref(), Some("12"));
    assert_eq!(
        (signed.user.as_str(), signed.operation.as_str()),
        ("u", "read")
    );
    assert_eq!(
        routed("/files?path=x", &[("host", "localhost")]),
        Ok(Route::Api)
    );
    assert_eq!(
        routed("/file?signature=x", &[("host", "localhost")]),
        Ok(Route::Api)
    );
}

#[test]
fn internal_routes_are_known_however_they_are_spelt() {
    for path in [
        "/init",
        "//init",
        "/init/",
        "/INIT",
        "/%69nit",
        "/./init",
        "/x/../init",
        "/init;x",
        "/upgrade/now",
        "/%2finit",
        "/..//fsthaw",
        "/freeze%20",
        "/unfreeze",
        "/collapse",
        "/fsfreeze",
    ] {
        assert!(is_internal(path), "{path}");
    }
    for path in [
        "/",
        "/health",
        "/files",
        "/initial",
        "/files/init",
        "/process.Process/Start",
    ] {
        assert!(!is_internal(path), "{path}");
    }
}

proptest! {
    #[test]
    fn any_host_is_read_without_a_panic(host in "\\PC{0,60}", path in "/[!-~]{0,60}") {
        let mut request = Request::builder();
        if let Ok(uri) = path.parse::<Uri>() {
            request = request.uri(uri);
        }
        if let Ok(parts) = request.header("host", host.as_bytes()).body(()) {
            let parts = parts.into_parts().0;
            if let Ok(host) = Authority::of(&parts) {
                let _ = route(&parts, &host, None);
            }
            is_internal(parts.uri.path());
        }
    }
}
