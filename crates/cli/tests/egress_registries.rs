//! Real clients, real servers: a package index that one program may use and no other.
//!
//! Which index, its clients' own configuration says at run time. On a machine that reaches none,
//! these tests say so and are skipped.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/sandbox.rs"]
mod sandbox;

use sandbox::{Ended, Stage, both};
use std::path::Path;
use std::process::Command;

both!(
    pip_downloads_and_curl_does_not,
    npm_packs_and_curl_does_not,
    names_and_requests_are_learnt,
);

const CURL: &str = "/usr/bin/curl";
const NODE: &str = "/usr/bin/node";
const PYTHON: &str = "/usr/bin/python3";

/// What a program of the caller's prints, outside; empty if it fails.
fn told(program: &str, arguments: &[&str]) -> String {
    match Command::new(program).args(arguments).output() {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => String::new(),
    }
}

/// The hosts of links on a page, the page's own first. None if it can't be read.
fn hosts(page: &str) -> Option<Vec<String>> {
    let text = told(CURL, &["-sSfL", "-m", "30", page]);
    let mut found = vec![host(page)?];
    for part in text.split(['"', '\'']) {
        let Some(name) = host(part) else { continue };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
        if name.bytes().all(plain) && name.contains('.') && !found.contains(&name) {
            found.push(name);
        }
    }
    (!text.is_empty()).then_some(found)
}

fn host(url: &str) -> Option<String> {
    let rest = url.strip_prefix("https://")?;
    let name = rest.split(['/', ':', '?', '#']).next()?;
    (!name.is_empty()).then(|| name.to_owned())
}

fn run(stage: &Stage, hosts: &[String], binary: &str, command: &[&str]) -> Ended {
    let endpoints: Vec<String> = hosts
        .iter()
        .take(20)
        .map(|host| format!("{{ host: \"{host}\", port: 443, protocol: any }}"))
        .collect();
    stage.write(
        "outside/p.yaml",
        format!(
            "version: 1\nfilesystem_policy: {{ include_workdir: true }}\n\
             network_policies:\n  index:\n    endpoints: [{}]\n    binaries: [{{ path: {binary} }}]\n",
            endpoints.join(", ")
        ),
    );
    let policy = stage.text("outside/p.yaml");
    stage.run(["--policy", &policy, "--"].iter().chain(command))
}

/// Where the clients' servers are only known by a certificate of this machine's.
fn environment() -> Vec<String> {
    let bundle = Path::new("/etc/ssl/certs/ca-certificates.crt");
    match bundle.exists() {
        true => vec![
            format!("PIP_CERT={}", bundle.display()),
            format!("NODE_EXTRA_CA_CERTS={}", bundle.display()),
        ],
        false => Vec::new(),
    }
}

fn files(stage: &Stage, ending: &[&str]) -> usize {
    let entries = std::fs::read_dir(stage.workspace()).unwrap().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names
        .filter(|name| ending.iter().any(|end| name.ends_with(end)))
        .count()
}

fn curl_is_refused(stage: &Stage, hosts: &[String], binary: &str, url: &str) {
    let ended = run(stage, hosts, binary, &[CURL, "-sS", "-m", "60", url]);
    assert_ne!(ended.code, 0, "{ended:?}");
    assert_eq!(ended.out, "");
    assert!(ended.err.contains("/usr/bin/curl"), "{}", ended.err);
    assert!(ended.err.contains("denied"), "{}", ended.err);
    let log = stage.read("home/.local/state/casemate/audit.jsonl");
    let about = |activity: &str, program: &Path| {
        let event =
            |line: &&str| line.contains(activity) && line.contains(program.to_str().unwrap());
        log.lines().filter(event).count()
    };
    assert!(about("\"Refuse\"", Path::new(CURL)) > 0, "{log}");
    // The file came over the network, not out of a cache.
    let real = std::fs::canonicalize(binary).unwrap();
    assert!(about("\"Open\"", &real) > 0, "{log}");
}

/// Where pip looks, by its own word.
fn index() -> Option<String> {
    let own = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)";
    let index = [
        std::env::var("PIP_INDEX_URL").unwrap_or_default(),
        told(PYTHON, &["-m", "pip", "config", "get", "global.index-url"]),
        told(PYTHON, &["-c", own]),
    ];
    index.into_iter().find(|url| url.starts_with("https://"))
}

fn pip_downloads_and_curl_does_not(stage: &Stage) {
    let Some(index) = index() else {
        return println!("skipped: there is no pip, or it has no index");
    };
    let page = format!("{}/six/", index.trim_end_matches('/'));
    let Some(hosts) = hosts(&page) else {
        return println!("skipped: the Python package index can't be reached");
    };
    let script = format!(
        "{} {PYTHON} -m pip download -q --no-deps --no-cache-dir --disable-pip-version-check --index-url {index} six",
        environment().join(" ")
    );
    let ended = run(stage, &hosts, PYTHON, &["sh", "-c", &script]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(files(stage, &[".whl", ".tar.gz"]), 1, "{ended:?}");
    curl_is_refused(stage, &hosts, PYTHON, &page);
}

fn npm_packs_and_curl_does_not(stage: &Stage) {
    if !Path::new(NODE).exists() {
        return println!("skipped: {NODE} is not installed");
    }
    let registry = told("npm", &["config", "get", "registry"]);
    let page = format!("{}/is-number", registry.trim_end_matches('/'));
    let Some(mut hosts) = hosts(&page) else {
        return println!("skipped: the registry of npm can't be reached");
    };
    // The page is about the package, and links to its author's sites.
    hosts.truncate(1);
    let script = format!(
        "{} npm pack --silent --registry {registry} is-number",
        environment().join(" ")
    );
    let ended = run(stage, &hosts, NODE, &["sh", "-c", &script]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(files(stage, &[".tgz"]), 1, "{ended:?}");
    curl_is_refused(stage, &hosts, NODE, &page);
}

fn names_and_requests_are_learnt(stage: &Stage) {
    let Some(index) = index() else {
        return println!("skipped: there is no pip, or it has no index");
    };
    let page = format!("{}/six/", index.trim_end_matches('/'));
    let Some(name) = hosts(&page).and_then(|hosts| hosts.into_iter().next()) else {
        return println!("skipped: the Python package index can't be reached");
    };
    // It may be a mirror on a private network.
    let addresses = told("getent", &["ahosts", &name]);
    let addresses = addresses.lines().filter_map(|line| line.split(' ').next());
    let allowed: Vec<_> = addresses.map(|own| format!("--allow-ip={own}")).collect();
    let path = stage.text("outside/p.yaml");
    for (flags, rule) in [
        (&[][..], "protocol: any"),
        (&["--inspect"], "- allow: { method: GET, path: /"),
    ] {
        let mut learn = stage.casemate();
        learn.args(["policy", "learn", "--force", "--output", &path]);
        learn.args(&allowed).args(flags).arg("--");
        let ended = Ended::of(learn.args([CURL, "-sSf", "-m", "60", &page]));
        assert!(ended.code == 0 && ended.out.contains("six"), "{ended:?}");
        let text = stage.read("outside/p.yaml");
        // By its name alone, not by an address.
        assert!(text.contains(&format!("- host: {name}\n")), "{text}");
        assert_eq!(text.matches("- host: ").count(), 1, "{text}");
        assert!(
            text.contains(rule) && !text.contains("not connected to"),
            "{text}"
        );
        let run =
            |program: &[&str]| stage.run(["-q", "--policy", &path, "--"].iter().chain(program));
        let ended = run(&[CURL, "-sSf", "-m", "60", &page]);
        assert!(ended.code == 0 && ended.out.contains("six"), "{ended:?}");
        let open = format!("import socket; print(socket.getaddrinfo('{name}', 443))");
        let ended = run(&[PYTHON, "-c", &open]);
        assert!(ended.code != 0 && ended.out.is_empty(), "{ended:?}");
    }
    let ended = stage.run([
        "-q", "--policy", &path, "--", CURL, "-sS", "-m", "60", &index,
    ]);
    assert!(ended.out.contains("\"policy_denied\""), "{ended:?}");
}
