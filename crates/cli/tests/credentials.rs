//! `casemate run --credentials`: secrets that a program uses and doesn't see, with real servers.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/sandbox.rs"]
mod sandbox;
#[path = "support/server.rs"]
mod server;
#[path = "support/tls.rs"]
mod tls;

use sandbox::{Ended, Stage, both, wait_until};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;
use std::time::Duration;
use tls::{Tls, header};

both!(
    a_placeholder_becomes_the_secret_on_the_way_out,
    a_secret_goes_nowhere_else,
    a_secret_is_not_sent_in_the_clear,
    bodies_are_filled_in_where_the_policy_says_so,
    a_header_is_put_on_and_the_programs_own_taken_off,
    what_a_server_sends_back_is_not_hidden,
    secrets_come_from_variables_files_and_commands,
    one_flag_is_enough,
    what_would_give_a_secret_away_is_refused,
    where_nothing_is_inspected_a_credential_is_refused,
    a_policy_that_stops_looking_is_not_put_in_force,
    only_the_named_provider_is_used,
    aws_requests_are_signed_with_the_real_keys,
    keys_are_taken_out_of_requests,
    middlewares_that_are_not_there,
    the_supervisor_is_closed_to_its_own_user,
);

const SECRET: &str = "hunter2-the-real-one";

/// A server, or the word that there is no address for one.
macro_rules! server {
    ($stage:expr) => {
        match Tls::start($stage) {
            Some(server) => server,
            None => return println!("skipped: this machine has loopback addresses only"),
        }
    };
}

/// A policy that opens one server to Python.
fn policy(server: &Tls, endpoint: &str) -> String {
    let (ip, port) = (server.ip, server.port);
    format!(
        "version: 1\nfilesystem_policy: {{ include_workdir: true }}\nnetwork_policies:\n  here:\n    \
         endpoints: [{{ host: \"{ip}\", port: {port}, {endpoint} }}]\n    \
         binaries: [{{ path: /usr/bin/python3 }}]\n"
    )
}

const REST: &str = "protocol: rest, enforcement: enforce, access: full";

/// One credential in a variable of the caller, below `/v1` of the server.
fn credentials(server: &Tls, more: &str) -> String {
    let (ip, port) = (server.ip, server.port);
    format!(
        "version: 1\ncredentials:\n  it:\n    env: TOKEN\n    secret: {{ env: REAL }}\n    \
         endpoints: [{{ host: \"{ip}\", port: {port}, path: /v1 }}]\n{more}"
    )
}

/// `ask(path, headers, body)` of the server.
fn client(server: &Tls, script: &str) -> String {
    let (ip, port) = (server.ip, server.port);
    format!(
        "import base64, http.client, json, os, ssl\n\
         token = os.environ.get('TOKEN')\n\
         def ask(path, headers={{}}, body=None, method=None, connection=http.client.HTTPSConnection):\n    \
         c = connection('{ip}', {port}, timeout=50)\n    \
         c.request(method or ('POST' if body is not None else 'GET'), path, body, headers)\n    \
         r = c.getresponse()\n    \
         said = r.read().decode()\n    \
         try: print(r.status, json.loads(said)['error'])\n    \
         except ValueError: print(r.status, said)\n{script}"
    )
}

/// `casemate run` with a policy and a file of credentials, which the program doesn't see.
fn command(stage: &Stage, server: &Tls, policy: &str, credentials: &str) -> std::process::Command {
    stage.write("outside/p.yaml", policy);
    let mut casemate = stage.casemate();
    casemate
        .arg("run")
        .arg("--policy")
        .arg(stage.path("outside/p.yaml"));
    if !credentials.is_empty() {
        stage.write("outside/c.yaml", credentials);
        stage.mode("outside/c.yaml", 0o600);
        casemate
            .arg("--credentials")
            .arg(stage.path("outside/c.yaml"));
    }
    casemate
        .env("REAL", SECRET)
        .env("SSL_CERT_FILE", &server.certificate);
    casemate
}

fn run(stage: &Stage, server: &Tls, endpoint: &str, credentials: &str, script: &str) -> Ended {
    let policy = policy(server, endpoint);
    let mut command = command(stage, server, &policy, credentials);
    let script = client(server, script);
    command.args([
        "--report",
        "report.json",
        "--",
        "/usr/bin/python3",
        "-c",
        &script,
    ]);
    let ended = Ended::of(&mut command);
    // Whatever happens, the secret is written nowhere.
    let mut written = vec![ended.out.clone(), ended.err.clone()];
    let log = stage.path("home/.local/state/casemate/audit.jsonl");
    written.extend(fs::read_to_string(log));
    written.extend(fs::read_to_string(stage.path("ws/report.json")));
    for text in written {
        assert!(!text.contains(SECRET), "{text}");
    }
    ended
}

fn a_placeholder_becomes_the_secret_on_the_way_out(stage: &Stage) {
    let server = server!(stage);
    let script = "print(token)\n\
        ask('/v1/a', {'Authorization': 'Bearer ' + token})\n\
        basic = base64.b64encode(('user:' + token).encode()).decode()\n\
        ask('/v1/b', {'Authorization': 'Basic ' + basic})\n\
        ask('/v1/c?key=' + token + '&x=y')\n\
        ask('/v1/bot' + token + '/send')\n\
        ask('/v1/d', {'X-Key': 'openshell:resolve:env:TOKEN'})\n\
        print('REAL' in os.environ)\n";
    let ended = run(stage, &server, REST, &credentials(&server, ""), script);
    ended.assert_out(&format!(
        "casemate:credential:TOKEN\n{}False\n",
        "200 ok\n".repeat(5)
    ));
    let seen = server.seen();
    assert_eq!(
        header(&seen[0], "authorization"),
        [format!("Bearer {SECRET}")]
    );
    let basic = "Basic dXNlcjpodW50ZXIyLXRoZS1yZWFsLW9uZQ==";
    assert_eq!(header(&seen[1], "authorization"), [basic]);
    assert_eq!(seen[2]["target"], format!("/v1/c?key={SECRET}&x=y"));
    assert_eq!(seen[3]["target"], format!("/v1/bot{SECRET}/send"));
    assert_eq!(header(&seen[4], "x-key"), [SECRET]);
}

fn a_secret_goes_nowhere_else(stage: &Stage) {
    let (server, other) = (server!(stage), server!(stage));
    let script = format!(
        "bearer = {{'Authorization': 'Bearer ' + token}}\n\
         ask('/v2/a', bearer)\n\
         ask('/v1x', bearer)\n\
         ask('/v1/../v2', bearer)\n\
         ask('/v2?k=' + token)\n\
         ask('/v1/a', {{'X': 'casemate:credential:OTHER'}})\n\
         ask('/v1/a', {{'X-OPENSHELL-RESOLVE-ENV-TOKEN': 'y'}})\n\
         ask('/v1/a', bearer, method='TRACE')\n\
         ask('/v1/a', {{'X': token + 'x'}})\n\
         c = http.client.HTTPSConnection('{}', {}, timeout=50)\n\
         c.request('GET', '/v1/a', None, bearer)\n\
         r = c.getresponse()\n\
         print(r.status, json.loads(r.read())['error'])\n\
         ask('/v1/%2563asemate%253Acredential%253ATOKEN')\n\
         ask('/v2', {{}}, token)\n",
        other.ip, other.port
    );
    let both = policy(&server, REST)
        + &format!(
            "  there:\n    endpoints: [{{ host: \"{}\", port: {}, {REST} }}]\n    \
             binaries: [{{ path: /usr/bin/python3 }}]\n",
            other.ip, other.port
        );
    let mut command = command(stage, &server, &both, &credentials(&server, ""));
    command.args(["--", "/usr/bin/python3", "-c", &client(&server, &script)]);
    let ended = Ended::of(&mut command);
    let (mismatch, invalid) = (
        "403 credential_endpoint_mismatch\n",
        "400 invalid_credential_placeholder\n",
    );
    let expected = [mismatch.repeat(4), invalid.repeat(4), mismatch.to_owned()].concat();
    let expected = format!("{expected}400 invalid_request_target\n200 ok\n");
    assert_eq!(ended.out, expected, "{ended:?}");
    // What got through stands for nothing there: the text of a body that nobody looks into.
    let seen = server.seen();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(seen[0]["body"], "casemate:credential:TOKEN");
    assert!(other.seen().is_empty());
    assert!(!format!("{seen:?}{ended:?}").contains(SECRET));
    let log = stage.read("home/.local/state/casemate/audit.jsonl");
    assert!(log.contains("casemate.credentials.not-bound"), "{log}");
    assert!(log.contains("isn't bound to"), "{log}");
    assert!(log.contains("there is no credential `OTHER`"), "{log}");
}

fn a_secret_is_not_sent_in_the_clear(stage: &Stage) {
    let Some(server) = Tls::plain(stage) else {
        return println!("skipped: this machine has loopback addresses only");
    };
    let script = "ask('/v1/a', {'X': token}, connection=http.client.HTTPConnection)\n";
    let secure = credentials(&server, "");
    let ended = run(stage, &server, REST, &secure, script);
    assert_eq!(ended.out, "403 credential_endpoint_mismatch\n", "{ended:?}");
    assert!(server.seen().is_empty());
    let plain = secure.replace("path: /v1", "path: /v1, scheme: http");
    run(stage, &server, REST, &plain, script).assert_out("200 ok\n");
    assert_eq!(header(&server.seen()[0], "x"), [SECRET]);
}

fn bodies_are_filled_in_where_the_policy_says_so(stage: &Stage) {
    let server = server!(stage);
    let script = "ask('/v1/a', {'Content-Type': 'application/json'}, json.dumps({'k': token}))\n\
        ask('/v1/a', {'Content-Type': 'application/x-www-form-urlencoded'}, 'k=' + token + '&x=1')\n\
        ask('/v1/a', {'Content-Type': 'application/octet-stream'}, token)\n\
        ask('/v2/a', {'Content-Type': 'application/json'}, json.dumps({'k': token}))\n";
    let endpoint = format!("{REST}, request_body_credential_rewrite: true");
    let ended = run(stage, &server, &endpoint, &credentials(&server, ""), script);
    let expected = format!("{}403 credential_endpoint_mismatch\n", "200 ok\n".repeat(3));
    assert_eq!(ended.out, expected, "{ended:?}");
    let bodies: Vec<_> = server
        .seen()
        .iter()
        .map(|own| own["body"].clone())
        .collect();
    let (json, form) = (
        format!("{{\"k\": \"{SECRET}\"}}"),
        format!("k={SECRET}&x=1"),
    );
    assert_eq!(bodies, [&*json, &*form, "casemate:credential:TOKEN"]);
}

fn a_header_is_put_on_and_the_programs_own_taken_off(stage: &Stage) {
    let server = server!(stage);
    let script = "print(token)\n\
        ask('/v1/a', {'Authorization': 'Bearer mine', 'X': 'y'})\n\
        ask('/v1/b')\n\
        ask('/v2', {'Authorization': 'Bearer mine'})\n";
    let inject = "    inject: { header: Authorization, value: \"token {secret}\" }\n";
    let without = credentials(&server, inject).replace("    env: TOKEN\n", "");
    let ended = run(stage, &server, REST, &without, script);
    ended.assert_out(&format!("None\n{}", "200 ok\n".repeat(3)));
    let seen = server.seen();
    let injected = [format!("token {SECRET}")];
    assert_eq!(header(&seen[0], "authorization"), injected);
    assert_eq!(header(&seen[0], "x"), ["y"]);
    assert_eq!(header(&seen[1], "authorization"), injected);
    assert_eq!(header(&seen[2], "authorization"), ["Bearer mine"]);
    let basic = "    inject: { header: authorization, basic: user }\n";
    let ended = run(
        stage,
        &server,
        REST,
        &credentials(&server, basic),
        "ask('/v1', {'AUTHORIZATION': token})\n",
    );
    ended.assert_out("200 ok\n");
    let basic = "Basic dXNlcjpodW50ZXIyLXRoZS1yZWFsLW9uZQ==";
    assert_eq!(header(&server.seen()[3], "authorization"), [basic]);
}

/// A server that has a secret may show it to whom it likes: so it's documented, and nothing more.
fn what_a_server_sends_back_is_not_hidden(stage: &Stage) {
    let server = server!(stage);
    let everywhere = credentials(&server, "").replace("path: /v1", "path: /");
    let mut command = command(stage, &server, &policy(&server, REST), &everywhere);
    let script = client(&server, "ask('/reflect', {'Authorization': token})\n");
    command.args(["--", "/usr/bin/python3", "-c", &script]);
    Ended::of(&mut command).assert_out(&format!("200 {SECRET}\n"));
}

fn secrets_come_from_variables_files_and_commands(stage: &Stage) {
    let server = server!(stage);
    stage.write("outside/token", format!("{SECRET}\n"));
    stage.mode("outside/token", 0o600);
    let script = "ask('/v1', {'X': token})\n";
    for source in [
        "{ file: token }".to_owned(),
        format!("{{ file: {} }}", stage.text("outside/token")),
        format!("{{ command: [printf, {SECRET}] }}"),
    ] {
        let credentials = credentials(&server, "").replace("{ env: REAL }", &source);
        let ended = run(stage, &server, REST, &credentials, script);
        ended.assert_out("200 ok\n");
    }
    let seen = server.seen();
    assert!(
        seen.iter().all(|own| header(own, "x") == [SECRET]),
        "{seen:?}"
    );
    stage.mode("outside/token", 0o644);
    let file = credentials(&server, "").replace("{ env: REAL }", "{ file: token }");
    let ended = run(stage, &server, REST, &file, script);
    assert!(
        ended
            .err
            .contains("others than its owner can read the secret"),
        "{ended:?}"
    );
    stage.mode("outside/token", 0o622);
    for (source, why) in [
        ("{ file: token }", "others than its owner can change it"),
        ("{ file: nothing }", "No such file"),
        ("{ file: . }", "this is no regular file"),
        ("{ env: NOT_THERE }", "the variable NOT_THERE is not set"),
        (
            "{ command: [sh, -c, 'echo hunter2-the-real-one; exit 3'] }",
            "exit status: 3",
        ),
        ("{ command: [sh, -c, ':'] }", "it is empty"),
        ("{ command: [cat, /dev/zero] }", "longer than 65536 bytes"),
        ("{ command: [/nonexistent] }", "No such file"),
    ] {
        let credentials = credentials(&server, "").replace("{ env: REAL }", source);
        let ended = run(stage, &server, REST, &credentials, script);
        assert_eq!(ended.code, 125, "{ended:?}");
        assert!(ended.err.contains(why), "{source}: {}", ended.err);
    }
    assert_eq!(server.seen().len(), 4);
}

fn one_flag_is_enough(stage: &Stage) {
    let server = server!(stage);
    let mut command = command(stage, &server, &policy(&server, REST), "");
    let flag = format!("KEY=env:REAL@{}:{}/v1", server.ip, server.port);
    let script = client(&server, "ask('/v1', {'X': os.environ['KEY']})\n");
    command.args([
        "--credential",
        &flag,
        "--",
        "/usr/bin/python3",
        "-c",
        &script,
    ]);
    Ended::of(&mut command).assert_out("200 ok\n");
    assert_eq!(header(&server.seen()[0], "x"), [SECRET]);
    let mut wrong = stage.casemate();
    wrong.args(["run", "--credential", "KEY=s3cr3t@a.example", "--", "true"]);
    let ended = Ended::of(&mut wrong);
    assert_ne!(ended.code, 0);
    assert!(ended.err.contains("is no source"), "{}", ended.err);
}

fn what_would_give_a_secret_away_is_refused(stage: &Stage) {
    let server = server!(stage);
    let refused = |credentials: &str, flags: &[&str], why: &str| {
        let mut command = command(stage, &server, &policy(&server, REST), credentials);
        let ended = Ended::of(command.args(flags));
        assert_eq!((ended.code, &*ended.out), (125, ""), "{flags:?}: {ended:?}");
        assert!(ended.err.contains(why), "{flags:?}: {}", ended.err);
        assert!(!ended.err.contains(SECRET), "{}", ended.err);
    };
    let usual = credentials(&server, "");
    let run = ["--", "/usr/bin/python3", "-c", "print(1)"];
    let with = |flags: &[&'static str]| [flags, &run].concat();
    refused(
        &usual,
        &with(&["--env", "REAL"]),
        "would show the program the secret",
    );
    refused(
        &usual,
        &with(&["--env", "TOKEN=x"]),
        "is for the same variable",
    );
    refused(
        &usual,
        &with(&["--env", "X=a hunter2-the-real-one"]),
        "--env X has the secret in it",
    );
    refused(
        &usual,
        &["--", "/usr/bin/python3", "-c", SECRET],
        "the command line has the secret in it",
    );
    refused(
        &usual,
        &with(&["--net", "none"]),
        "nothing can fill them in",
    );
    stage.write("ws/token", SECRET);
    stage.mode("ws/token", 0o600);
    let inside = usual.replace(
        "{ env: REAL }",
        &format!("{{ file: {} }}", stage.text("ws/token")),
    );
    refused(&inside, &run, "the program could read this file");
    fs::remove_file(stage.path("ws/token")).unwrap();
    // What the program can write is what the next run would believe.
    stage.write("ws/c.yaml", &usual);
    let path = stage.text("ws/c.yaml");
    refused(
        "",
        &["--credentials", &path, "--", "true"],
        "the program could change this file",
    );
    stage.write("outside/open.yaml", &usual);
    stage.mode("outside/open.yaml", 0o666);
    let path = stage.text("outside/open.yaml");
    refused(
        "",
        &["--credentials", &path, "--", "true"],
        "others can change this file",
    );
    let typo = usual.replace("secret:", "sercet:");
    refused(&typo, &run, "c.yaml:5:5: unknown field `sercet`");
    assert!(server.seen().is_empty());
}

fn where_nothing_is_inspected_a_credential_is_refused(stage: &Stage) {
    let server = server!(stage);
    for endpoint in ["protocol: any", "protocol: rest, access: full, tls: skip"] {
        let ended = run(
            stage,
            &server,
            endpoint,
            &credentials(&server, ""),
            "print(1)\n",
        );
        assert_eq!((ended.code, &*ended.out), (125, ""), "{ended:?}");
        assert!(
            ended.err.contains("uninspected_credentials"),
            "{}",
            ended.err
        );
        assert!(ended.err.contains("p.yaml:5:"), "{}", ended.err);
    }
    let accepted = "protocol: any, allow_uninspected_credentials: true";
    let ended = run(
        stage,
        &server,
        accepted,
        &credentials(&server, ""),
        "print(1)\n",
    );
    ended.assert_out("1\n");
    let elsewhere = credentials(&server, "")
        .replace("path: /v1", "path: /v1, scheme: https")
        .replace(&format!("port: {}", server.port), "port: 1");
    let ended = run(stage, &server, REST, &elsewhere, "print(1)\n");
    assert!(
        ended.err.contains("where the policy opens nothing"),
        "{ended:?}"
    );
}

fn a_policy_that_stops_looking_is_not_put_in_force(stage: &Stage) {
    let server = server!(stage);
    let before = policy(&server, REST);
    let mut command = command(stage, &server, &before, &credentials(&server, ""));
    let script =
        "import sys\nopen('up', 'w').close()\nsys.stdin.read()\nask('/v1', {'X': token})\n";
    command.args(["--", "/usr/bin/python3", "-c", &client(&server, script)]);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = child.stderr(Stdio::piped()).spawn().unwrap();
    let log = stage.path("home/.local/state/casemate/audit.jsonl");
    let patience = Duration::from_secs(20);
    let up = stage.path("ws/up");
    wait_until(patience, "the program to run", || up.exists());
    stage.write("outside/p.yaml", policy(&server, "protocol: any"));
    wait_until(patience, "the policy to be refused", || {
        fs::read_to_string(&log).is_ok_and(|log| log.contains("uninspected_credentials"))
    });
    drop(child.stdin.take());
    let ended = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ended.stdout), "200 ok\n");
    assert_eq!(header(&server.seen()[0], "x"), [SECRET]);
}

fn only_the_named_provider_is_used(stage: &Stage) {
    let server = server!(stage);
    let script = "ask('/v1', {'X': token})\n";
    for (provider, said) in [
        ("it", "200 ok\n"),
        ("other", "403 credential_endpoint_mismatch\n"),
    ] {
        let endpoint = format!("{REST}, credential_binding: {{ provider: {provider} }}");
        let ended = run(stage, &server, &endpoint, &credentials(&server, ""), script);
        assert_eq!(ended.out, said, "{ended:?}");
        let noted = ended.err.contains("there is no credential `other`");
        assert_eq!(noted, provider == "other", "{ended:?}");
    }
}

/// Signature Version 4 as AWS's documentation says it, by another implementation.
const VERIFY: &str = r#"
import hashlib, hmac, json, sys, urllib.parse
seen, secret, key_id = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
headers = {}
for name, value in seen['headers']:
    headers.setdefault(name, []).append(' '.join(value.split()))
words = headers['authorization'][0].split(' ', 1)
assert words[0] == 'AWS4-HMAC-SHA256' and len(headers['authorization']) == 1
parts = dict(part.strip().split('=', 1) for part in words[1].split(','))
known, day, region, service, end = parts['Credential'].split('/')
assert (known, end) == (key_id, 'aws4_request'), parts
names = parts['SignedHeaders'].split(';')
assert 'host' in names and 'x-amz-date' in names, names
path, _, query = seen['target'].partition('?')
if service != 's3':
    path = urllib.parse.quote(path, safe='/-_.~')
quote = lambda text: urllib.parse.quote(text, safe='-_.~')
pairs = sorted((quote(k), quote(v)) for k, v in urllib.parse.parse_qsl(query, True))
payload = headers.get('x-amz-content-sha256', [None])[0]
if payload != 'UNSIGNED-PAYLOAD':
    digest = hashlib.sha256(seen['body'].encode('latin-1')).hexdigest()
    assert payload in (None, digest), payload
    payload = digest
canonical = '\n'.join([seen['method'], path, '&'.join(k + '=' + v for k, v in pairs),
    ''.join(n + ':' + ','.join(headers[n]) + '\n' for n in names), ';'.join(names), payload])
scope = '/'.join([day, region, service, end])
to_sign = '\n'.join(['AWS4-HMAC-SHA256', headers['x-amz-date'][0], scope,
    hashlib.sha256(canonical.encode()).hexdigest()])
key = ('AWS4' + secret).encode()
for part in (day, region, service, end):
    key = hmac.new(key, part.encode(), 'sha256').digest()
right = hmac.new(key, to_sign.encode(), 'sha256').hexdigest()
print(region, service, payload == 'UNSIGNED-PAYLOAD', right == parts['Signature'])
"#;

fn aws_requests_are_signed_with_the_real_keys(stage: &Stage) {
    let server = server!(stage);
    let (ip, port) = (server.ip, server.port);
    let keys = format!(
        "version: 1\ncredentials:\n  aws:\n    aws:\n      access_key_id: {{ command: [echo, AKIDREAL] }}\n      \
         secret_access_key: {{ env: REAL }}\n      session_token: {{ command: [echo, real-session] }}\n    \
         endpoints: [{{ host: \"{ip}\", port: {port}, path: /bucket }}]\n"
    );
    let sign = "print(os.environ['AWS_ACCESS_KEY_ID'], 'real' in os.environ['AWS_SECRET_ACCESS_KEY'])\n\
        def signed(path, body=None, more={}, region='eu-west-1'):\n    \
        credential = os.environ['AWS_ACCESS_KEY_ID'] + '/20200101/' + region + '/x/aws4_request'\n    \
        headers = {'Authorization': 'AWS4-HMAC-SHA256 Credential=' + credential + ', SignedHeaders=host, Signature=00', \
        'X-Amz-Date': '20200101T000000Z', 'X-Amz-Security-Token': 'mine', 'X-Amz-Meta-A': 'a  b', **more}\n    \
        ask(path, headers, body)\n\
        signed('/bucket/a%20b?list-type=2&prefix=x%2Fy')\n\
        signed('/bucket/k', 'the body')\n\
        signed('/other/k')\n\
        ask('/bucket/k', {'X-Amz-Date': 'x'})\n\
        signed('/bucket/k?X-Amz-Signature=00')\n\
        signed('/bucket/k', 'x', {'X-Amz-Content-Sha256': 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD'})\n";
    // A request that isn't signed has no region, and one that is signed in its query is another kind.
    for (how, service, unsigned, streaming) in [
        ("sigv4", "dynamodb", false, "400 malformed_request\n"),
        ("sigv4:body", "s3", false, "200 ok\n"),
        ("sigv4:no_body", "s3", true, "200 ok\n"),
    ] {
        let before = server.seen().len();
        let endpoint = format!("{REST}, credential_signing: \"{how}\", signing_service: {service}");
        let ended = run(stage, &server, &endpoint, &keys, sign);
        let expected = format!(
            "CASEMATEPLACEHOLDER0 False\n200 ok\n200 ok\n403 credential_endpoint_mismatch\n\
             400 malformed_request\n400 malformed_request\n{streaming}"
        );
        assert_eq!(ended.out, expected, "{how}: {ended:?}");
        let seen = server.seen();
        for own in &seen[before..] {
            assert_eq!(header(own, "x-amz-security-token"), ["real-session"]);
            let text = own.to_string();
            let verified = stage
                .command("python3")
                .args(["-c", VERIFY, &text, SECRET, "AKIDREAL"])
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&verified.stdout).into_owned();
            let python = |yes| if yes { "True" } else { "False" };
            let expected = format!("eu-west-1 {service} {} True\n", python(unsigned));
            assert_eq!(said, expected, "{how}: {own} {verified:?}");
        }
    }
    // Without keys, that is said, and nothing is sent unsigned.
    let before = server.seen().len();
    let endpoint = format!("{REST}, credential_signing: sigv4, signing_service: s3");
    let ended = run(stage, &server, &endpoint, "", "ask('/bucket/k')\n");
    assert_eq!(ended.out, "403 credential_endpoint_mismatch\n", "{ended:?}");
    let noted = ended.err.contains("no AWS keys are bound to this endpoint");
    assert!(noted && server.seen().len() == before, "{ended:?}");
    // The region of the policy counts more than what the program says.
    let endpoint = format!(
        "{REST}, credential_signing: sigv4, signing_service: sts, signing_region: us-east-1"
    );
    let ended = run(
        stage,
        &server,
        &endpoint,
        &keys,
        "ask('/bucket/x', {}, 'Action=GetCallerIdentity')\n",
    );
    ended.assert_out("200 ok\n");
    let last = server.seen().pop().unwrap().to_string();
    let verified = stage
        .command("python3")
        .args(["-c", VERIFY, &last, SECRET, "AKIDREAL"])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&verified.stdout),
        "us-east-1 sts False True\n"
    );
}

fn middleware(server: &Tls, endpoint: &str, middleware: &str) -> String {
    let ip = server.ip;
    policy(server, endpoint)
        + &format!(
            "network_middlewares:\n  keys: {{ {middleware}, endpoints: {{ include: [\"{ip}\"] }} }}\n"
        )
}

const REDACT: &str = "middleware: openshell/regex, config: { mode: redact }";

fn keys_are_taken_out_of_requests(stage: &Stage) {
    let server = server!(stage);
    let script = client(
        &server,
        "key = 'sk-abcdefghijklmnopqrstuv'\n\
         ask('/v1', {'X': token, 'Content-Type': 'application/json'}, json.dumps({'a': key, 'b': token}))\n\
         ask('/v1?q=' + key)\n\
         ask('/v1', {'Content-Encoding': 'gzip'}, 'x')\n\
         ask('/v1', {}, b'\\xff\\xfe')\n\
         try: ask('/v1', {}, 'x' * 2000000)\n\
         except OSError: print('413 malformed_request')\n",
    );
    let endpoint = format!("{REST}, request_body_credential_rewrite: true");
    for (more, refused) in [("", true), (", on_error: fail_open", false)] {
        let before = server.seen().len();
        let policy = middleware(&server, &endpoint, &format!("{REDACT}{more}"));
        // What a credential holds is not seen by a middleware, even if it looks like a key.
        let mut command = command(stage, &server, &policy, &credentials(&server, ""));
        command.env("REAL", "sk-the-real-one-is-not-touched");
        command.args(["--", "/usr/bin/python3", "-c", &script]);
        let ended = Ended::of(&mut command);
        let (failed, large) = match refused {
            true => ("503 middleware_failed\n", "413 malformed_request\n"),
            false => ("200 ok\n", "200 ok\n"),
        };
        assert_eq!(
            ended.out,
            format!("200 ok\n200 ok\n{failed}{failed}{large}"),
            "{ended:?}"
        );
        let seen = &server.seen()[before..];
        assert_eq!(header(&seen[0], "x"), ["sk-the-real-one-is-not-touched"]);
        assert_eq!(
            seen[0]["body"],
            "{\"a\": \"REDACTED\", \"b\": \"sk-the-real-one-is-not-touched\"}"
        );
        assert_eq!(seen[1]["target"], "/v1?q=REDACTED");
        assert_eq!(seen.len(), if refused { 2 } else { 5 });
    }
    let log = stage.read("home/.local/state/casemate/audit.jsonl");
    assert!(log.contains("casemate.middleware.redacted"), "{log}");
    assert!(!log.contains("sk-the-real"), "{log}");
}

fn middlewares_that_are_not_there(stage: &Stage) {
    let server = server!(stage);
    let ended = |policy: &str| {
        let mut command = command(stage, &server, policy, "");
        let script = client(&server, "ask('/')\n");
        Ended::of(command.args(["--", "/usr/bin/python3", "-c", &script]))
    };
    let unknown = ended(&middleware(&server, REST, "middleware: acme/dlp"));
    assert_eq!(unknown.code, 125, "{unknown:?}");
    assert!(
        unknown.err.contains("there is no middleware `acme/dlp`"),
        "{unknown:?}"
    );
    let open = ended(&middleware(
        &server,
        REST,
        "middleware: acme/dlp, on_error: fail_open",
    ));
    assert_eq!(open.out, "200 ok\n", "{open:?}");
    assert!(
        open.err.contains("there is no middleware `acme/dlp` here"),
        "{open:?}"
    );
    let unseen = ended(&middleware(&server, "protocol: any", REDACT));
    assert_eq!(unseen.code, 125, "{unseen:?}");
    assert!(unseen.err.contains("middleware_required"), "{unseen:?}");
}

/// Another process of the same user, outside, can't look into the one that has the secrets.
fn the_supervisor_is_closed_to_its_own_user(stage: &Stage) {
    if stage.is_root() {
        return println!("skipped: nothing is closed to root");
    }
    let server = server!(stage);
    let policy = policy(&server, REST);
    let mut command = command(stage, &server, &policy, &credentials(&server, ""));
    let script = "import sys; sys.stdin.read()";
    command.args(["--", "/usr/bin/python3", "-c", script]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let files = format!("/proc/{}", child.id());
    wait_until(Duration::from_secs(20), "its files to be root's", || {
        fs::metadata(format!("{files}/environ")).unwrap().uid() == 0
    });
    let look = format!(
        "for name in environ mem maps smaps; do cat {files}/$name > /dev/null 2>&1 && echo $name; done; true"
    );
    assert_eq!(stage.outside(&look), "");
    let limits = fs::read_to_string(format!("{files}/limits")).unwrap();
    let cores = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    assert_eq!(cores.unwrap().split_whitespace().nth(4), Some("0"));
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}
