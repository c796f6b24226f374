use super::{Credentials, Form, Holds, Source, short};
use std::path::PathBuf;

const WHOLE: &str = r#"
version: 1
credentials:
  forge:
    env: FORGE_TOKEN
    prefix: ghp_
    secret: { file: tokens/forge }
    endpoints:
      - { host: API.forge.example, path: /v1 }
      - { host: "*.forge.example", ports: [443, 8443] }
    inject: { header: Authorization, value: "Bearer {secret}" }
  git:
    secret: { command: [pass, show, git] }
    endpoints: [{ host: git.example, port: 8080, scheme: http }]
    inject: { header: Authorization, basic: x-access-token }
  store:
    aws:
      access_key_id: { env: AWS_ACCESS_KEY_ID }
      secret_access_key: { env: AWS_SECRET_ACCESS_KEY }
    endpoints: [{ host: "*.s3.*.amazonaws.com" }]
"#;

#[test]
fn a_whole_file() {
    let read = Credentials::parse("/etc/c.yaml", WHOLE).unwrap();
    let [forge, git, store] = &read.entries[..] else {
        panic!("{read:?}")
    };
    assert_eq!(forge.env.as_ref().unwrap().value, "FORGE_TOKEN");
    assert_eq!(forge.prefix.as_deref(), Some("ghp_"));
    let file = PathBuf::from("/etc/tokens/forge");
    assert!(matches!(&forge.holds, Holds::Secret(own) if own.value == Source::File(file.clone())));
    assert_eq!(forge.endpoints[0].host, "api.forge.example");
    assert_eq!(forge.endpoints[0].ports, [443]);
    assert_eq!(forge.endpoints[0].path, "/v1");
    assert_eq!(forge.endpoints[1].ports, [443, 8443]);
    assert_eq!(
        forge.inject.as_ref().unwrap().form,
        Form::Text("Bearer ".to_owned(), String::new())
    );
    assert!(!git.endpoints[0].secure && git.endpoints[0].ports == [8080]);
    assert_eq!(
        git.inject.as_ref().unwrap().form,
        Form::Basic("x-access-token".to_owned())
    );
    assert_eq!(store.holds.sources().count(), 2);
    assert_eq!(read.at(forge.key.position), "/etc/c.yaml:4:3");
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let secret = "secret: { env: S }";
    let places = "endpoints: [{ host: a.example }]";
    for (entry, problem) in [
        (format!("env: T, {secret}"), "missing field `endpoints`"),
        (format!("env: T, {places}"), "missing field `secret`"),
        (format!("{secret}, {places}"), "nothing uses `it`"),
        (
            format!("env: 1x, {secret}, {places}"),
            "can't be the name of a variable",
        ),
        (
            format!("env: T, secret: s3cr3t, {places}"),
            "not what it is",
        ),
        (
            format!("env: T, secret: {{}}, {places}"),
            "needs one source, found 0",
        ),
        (
            format!("env: T, secret: {{ env: A, file: b }}, {places}"),
            "found 2",
        ),
        (
            format!("env: T, secret: {{ command: [] }}, {places}"),
            "names no program",
        ),
        (
            format!("env: T, secrets: {{}}, {places}"),
            "unknown field `secrets`",
        ),
        (format!("env: T, {secret}, endpoints: []"), "has no host"),
        (
            format!("env: T, {secret}, endpoints: [{{ host: '*.com' }}]"),
            "different owners",
        ),
        (
            format!("env: T, {secret}, endpoints: [{{ host: '**.a.example' }}]"),
            "too wide",
        ),
        (
            format!("env: T, {secret}, endpoints: [{{ host: 'x-*.a.example' }}]"),
            "too wide",
        ),
        (
            format!("env: T, {secret}, endpoints: [{{ host: 'https://a.example' }}]"),
            "is a URL",
        ),
        (
            format!("env: T, {secret}, endpoints: [{{ host: a.example, path: v1 }}]"),
            "is no path",
        ),
        (
            format!("env: T, {secret}, endpoints: [{{ host: a.example, path: '/v1/**' }}]"),
            "is no path",
        ),
        (
            format!("env: T, {secret}, endpoints: [{{ host: a.example, port: 0 }}]"),
            "from 1 to 65535",
        ),
        (
            format!("env: T, {secret}, endpoints: [{{ host: a.example, port: 1, ports: [2] }}]"),
            "the other form",
        ),
        (
            format!("env: T, {secret}, {places}, prefix: 'a b'"),
            "can't begin a placeholder",
        ),
        (
            format!(
                "{secret}, {places}, prefix: ghp_, inject: {{ header: X, value: '{{secret}}' }}"
            ),
            "has no effect without `env`",
        ),
        (
            format!("{secret}, {places}, inject: {{ header: Host, value: '{{secret}}' }}"),
            "no header to put",
        ),
        (
            format!("{secret}, {places}, inject: {{ header: X, value: none }}"),
            "doesn't have one `{secret}`",
        ),
        (
            format!("{secret}, {places}, inject: {{ header: X, value: '{{secret}}', basic: u }}"),
            "the other form",
        ),
        (
            format!("{secret}, {places}, inject: {{ header: X, basic: 'a:b' }}"),
            "name of a user",
        ),
        (
            format!(
                "env: T, aws: {{ access_key_id: {{ env: A }}, secret_access_key: {{ env: B }} }}, {places}"
            ),
            "doesn't go with `aws`",
        ),
        (
            format!("aws: {{ access_key_id: {{ env: A }} }}, {places}"),
            "missing field `secret_access_key`",
        ),
        (
            format!(
                "{secret}, aws: {{ access_key_id: {{ env: A }}, secret_access_key: {{ env: B }} }}, {places}"
            ),
            "both `secret` and `aws`",
        ),
    ] {
        let text = format!("version: 1\ncredentials:\n  it: {{ {entry} }}\n");
        let error = Credentials::parse("c.yaml", &text).unwrap_err().to_string();
        assert!(error.contains(problem), "{entry}: {error}");
        assert!(error.starts_with("c.yaml:3:"), "{entry}: {error}");
        assert!(!error.contains("s3cr3t"), "{error}");
    }
    for (text, problem) in [
        ("", "there are no credentials"),
        ("[]", "must be a mapping"),
        ("version: 1", "there are no credentials"),
        ("credentials: {}", "missing field `version`"),
        ("version: 2\ncredentials: {}", "must be the number 1"),
    ] {
        let error = Credentials::parse("c.yaml", text).unwrap_err().to_string();
        assert!(error.contains(problem), "{text}: {error}");
    }
}

#[test]
fn two_credentials_cannot_share_a_variable() {
    let entry = "{ env: T, secret: { env: S }, endpoints: [{ host: a.example }] }";
    let text = format!("version: 1\ncredentials:\n  one: {entry}\n  two: {entry}\n");
    let error = Credentials::parse("c.yaml", &text).unwrap_err().to_string();
    assert!(error.contains("`T` is used at 3:15 already"), "{error}");
}

#[test]
fn one_line_is_enough_for_a_simple_one() {
    for (text, source, host, port, path, secure) in [
        (
            "K@a.example",
            Source::Env("K".into()),
            "a.example",
            443,
            "/",
            true,
        ),
        (
            "K=env:V@a.example:8443/v1",
            Source::Env("V".into()),
            "a.example",
            8443,
            "/v1",
            true,
        ),
        (
            "K=file:/a@b/c@https://a.example",
            Source::File("/a@b/c".into()),
            "a.example",
            443,
            "/",
            true,
        ),
        (
            "K@http://10.0.0.1/x",
            Source::Env("K".into()),
            "10.0.0.1",
            80,
            "/x",
            false,
        ),
        (
            "K@[2001:db8::1]:1",
            Source::Env("K".into()),
            "2001:db8::1",
            1,
            "/",
            true,
        ),
        (
            "K@[2001:db8::1]",
            Source::Env("K".into()),
            "2001:db8::1",
            443,
            "/",
            true,
        ),
    ] {
        let read = short(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let place = &read.endpoints[0];
        assert_eq!(read.env.unwrap().value, "K");
        assert!(
            matches!(read.holds, Holds::Secret(own) if own.value == source),
            "{text}"
        );
        assert_eq!(
            (&*place.host, &place.ports[..], &*place.path),
            (host, &[port][..], path)
        );
        assert_eq!(place.secure, secure);
    }
    for text in [
        "",
        "K",
        "@a.example",
        "K@",
        "K=@a.example",
        "K=s3cr3t@a.example",
        "1K@a.example",
        "K@a.example:0",
        "K@a.example:x",
        "K@*.com",
        "K@x-*.a.example",
        "K@a.example/../b",
        "K=env:@a.example",
        "K@ftp://a.example",
    ] {
        let error = short(text).unwrap_err();
        assert!(!error.contains("s3cr3t"), "{error}");
    }
}
