//! `casemate policy learn`: what is learnt is allowed afterwards, and nothing else is.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/sandbox.rs"]
mod sandbox;
#[path = "support/server.rs"]
mod server;

use sandbox::{Ended, Stage, both, wait_until};
use server::{GREETING, Server};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

both!(
    a_learnt_policy_allows_the_same_and_nothing_else,
    requests_become_rules,
    requests_inside_of_tls,
    a_client_that_trusts_its_own_roots_only,
    a_server_that_speaks_first,
    a_name_that_only_tls_says,
    a_base_is_extended,
    rules_of_a_base_hold,
    rules_in_rego_hold,
    a_run_that_goes_on_takes_what_was_learnt,
    what_is_not_public_stays_refused,
    names_that_are_only_resolved,
    an_interrupted_run_is_learnt_from,
    files_are_not_overwritten,
    a_program_can_not_put_a_file_in_the_way,
    flags_that_can_not_be_meant,
);

const CURL: &str = "/usr/bin/curl";
const PATIENCE: Duration = Duration::from_secs(30);

/// Two servers with files in them, of which one speaks TLS; ended when dropped.
struct Web {
    ip: IpAddr,
    port: u16,
    child: Child,
}

const SERVE: &str = r#"
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        self.rfile.read(int(self.headers.get('Content-Length') or 0))
        said = (self.command + ' ' + self.path).encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(said)))
        self.end_headers()
        self.wfile.write(said)
    do_POST = do_GET
server = http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler)
if len(sys.argv) > 3:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(sys.argv[3])
    server.socket = tls.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"#;

impl Web {
    /// Answers each request with its method and target.
    fn start(certificate: Option<&str>) -> Option<Self> {
        let ip = Server::start()?.ip();
        let port = TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap();
        let port = port.port();
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-c", SERVE, &ip.to_string(), &port.to_string()]);
        command.args(certificate).stderr(Stdio::null());
        let web = Self {
            ip,
            port,
            child: command.spawn().unwrap(),
        };
        wait_until(PATIENCE, "the server to listen", || {
            TcpStream::connect((ip, port)).is_ok()
        });
        Some(web)
    }

    /// One with a certificate for its address and for `web.example`, in `outside/tls.pem`.
    fn secure(stage: &Stage) -> Option<Self> {
        let (ip, pem) = (Server::start()?.ip(), stage.text("outside/tls.pem"));
        stage.outside(&format!(
            "cd {}\n\
             ec='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'\n\
             openssl req -x509 $ec -days 2 -subj /CN=roots -keyout ca.key -out roots.pem 2>log\n\
             openssl req -x509 $ec -days 2 -subj /CN=web -CA roots.pem -CAkey ca.key \
             -addext subjectAltName=IP:{ip},DNS:web.example -addext basicConstraints=CA:FALSE \
             -keyout key.pem -out cert.pem 2>log\n\
             cat key.pem cert.pem >tls.pem",
            stage.text("outside")
        ));
        stage.mode("outside/tls.pem", 0o644);
        Self::start(Some(&pem))
    }

    fn url(&self, target: &str) -> String {
        format!("http://{}:{}{target}", self.ip, self.port)
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a test needs, or the word that this machine lacks it.
macro_rules! needs {
    ($made:expr) => {
        match $made {
            Some(made) => made,
            None => return println!("skipped: this machine has loopback addresses only"),
        }
    };
}

/// `casemate policy learn --output outside/p.yaml FLAGS -- COMMAND`; the server may be reached.
fn learn(stage: &Stage, ip: IpAddr, flags: &[&str], command: &[&str]) -> Ended {
    let ended = Ended::of(
        learning(stage, flags)
            .arg(format!("--allow-ip={ip}"))
            .arg("--")
            .args(command),
    );
    assert!(
        ended
            .err
            .contains("LEARNING: the program may connect to ANY public address"),
        "{ended:?}"
    );
    if stage.path("outside/p.yaml").exists() {
        let checked = policy(
            stage,
            &["check", "--deny-warnings", &stage.text("outside/p.yaml")],
        );
        assert_eq!(checked.code, 0, "{checked:?}\n{}", learnt(stage));
    }
    ended
}

fn learning(stage: &Stage, flags: &[&str]) -> Command {
    let mut command = stage.casemate();
    command.args(["policy", "learn", "--output"]);
    command.arg(stage.path("outside/p.yaml")).args(flags);
    command
}

fn policy(stage: &Stage, args: &[&str]) -> Ended {
    Ended::of(stage.casemate().arg("policy").args(args))
}

fn learnt(stage: &Stage) -> String {
    stage.read("outside/p.yaml")
}

/// `casemate run --policy outside/p.yaml -- COMMAND`
fn run(stage: &Stage, command: &[&str]) -> Ended {
    let path = stage.text("outside/p.yaml");
    let mut casemate = stage.casemate();
    casemate.env("SSL_CERT_FILE", stage.path("outside/roots.pem"));
    casemate
        .args(["run", "--policy", &path, "--"])
        .args(command);
    Ended::of(&mut casemate)
}

fn a_learnt_policy_allows_the_same_and_nothing_else(stage: &Stage) {
    let (web, other) = (needs!(Web::start(None)), needs!(Server::start()));
    let script = format!("{CURL} -s {}; touch made; exit 7", web.url("/a"));
    let command = ["sh", "-c", &script];
    let ended = learn(stage, web.ip, &[], &command);
    assert_eq!((ended.code, &*ended.out), (7, "GET /a"), "{ended:?}");
    assert!(
        ended
            .err
            .contains("learnt 1 connection and 0 requests of 1 program: "),
        "{}",
        ended.err
    );
    let text = learnt(stage);
    // A policy is shared, and arguments may have secrets in them.
    assert!(text.starts_with("# Learnt from one run of: sh\n"), "{text}");
    assert!(
        text.contains("HTTP\n") && text.contains("protocol: any"),
        "{text}"
    );
    assert!(!text.contains("rules:"), "{text}");
    let ended = run(stage, &command);
    assert_eq!((ended.code, &*ended.out, &*ended.err), (7, "GET /a", ""));
    // Neither another program there, nor this one elsewhere.
    let connect = format!(
        "import socket; socket.create_connection(('{}', {}), 30).recv(1)",
        web.ip, web.port
    );
    let ended = run(stage, &["/usr/bin/python3", "-c", &connect]);
    assert_ne!(ended.code, 0);
    assert!(ended.err.contains("net:refuse denied"), "{}", ended.err);
    let ended = run(stage, &[CURL, "-s", &format!("http://{}/", other.address)]);
    assert!(
        ended.code != 0 && ended.err.contains("net:refuse denied"),
        "{ended:?}"
    );
    assert_eq!(other.accepted(), 0);
}

fn requests_become_rules(stage: &Stage) {
    let web = needs!(Web::start(None));
    let proxied = format!("{CURL} -s -x http://127.0.0.1:1 {}", web.url("/proxied"));
    let script = format!(
        "{CURL} -s {} {}; {CURL} -sg -d x '{}'; {proxied}",
        web.url("/a?b=c"),
        web.url("/a"),
        web.url("/{post}"),
    );
    let command = ["sh", "-c", &script];
    // Requests go out in the spelling that was judged.
    let said = "GET /a?b=cGET /aPOST /%7Bpost%7DGET /proxied";
    let ended = learn(stage, web.ip, &["--inspect"], &command);
    assert_eq!(&*ended.out, said, "{ended:?}");
    let text = learnt(stage);
    for rule in [
        "GET, path: /a }",
        "POST, path: \"/",
        "GET, path: /proxied }",
    ] {
        assert!(text.contains(rule), "{rule}: {text}");
    }
    assert!(
        text.contains("# 2 times\n") && !text.contains("protocol: any"),
        "{text}"
    );
    run(stage, &command).assert_out(said);
    let ended = run(stage, &[CURL, "-s", "-d", "x", &web.url("/a")]);
    assert!(
        ended.err.contains("POST /a not permitted by policy"),
        "{ended:?}"
    );
}

fn requests_inside_of_tls(stage: &Stage) {
    let web = needs!(Web::secure(stage));
    let url = web.url("/a").replace("http:", "https:");
    let mut learning = learning(stage, &["--inspect"]);
    learning.env("SSL_CERT_FILE", stage.path("outside/roots.pem"));
    learning.arg(format!("--allow-ip={}", web.ip));
    let ended = Ended::of(learning.args(["--", CURL, "-s", &url]));
    assert_eq!((ended.code, &*ended.out), (0, "GET /a"), "{ended:?}");
    assert!(
        ended
            .err
            .contains("LEARNING: its TLS connections are opened"),
        "{}",
        ended.err
    );
    assert!(
        learnt(stage).contains("GET, path: /a }"),
        "{}",
        learnt(stage)
    );
    run(stage, &[CURL, "-s", &url]).assert_out("GET /a");
    let ended = run(stage, &[CURL, "-s", &url.replace("/a", "/b")]);
    assert!(
        ended.err.contains("GET /b not permitted by policy"),
        "{ended:?}"
    );
}

fn a_client_that_trusts_its_own_roots_only(stage: &Stage) {
    let web = needs!(Web::secure(stage));
    let (url, roots) = (
        web.url("/a").replace("http:", "https:"),
        stage.text("outside/roots.pem"),
    );
    stage.write("ws/roots.pem", fs::read(&roots).unwrap());
    let curl = format!("{CURL} -s --cacert roots.pem {url}");
    // What can't be looked into is relayed the next time.
    let ended = learn(
        stage,
        web.ip,
        &["--inspect"],
        &["sh", "-c", &format!("{curl} || {curl}")],
    );
    assert_eq!((ended.code, &*ended.out), (0, "GET /a"), "{ended:?}");
    let text = learnt(stage);
    assert!(
        text.contains("# refused while learning: ") && text.contains("TLS\n"),
        "{text}"
    );
    run(stage, &["sh", "-c", &curl]).assert_out("GET /a");
}

fn a_server_that_speaks_first(stage: &Stage) {
    let server = needs!(Server::start());
    let hear = format!(
        "exec 3<>/dev/tcp/{}/{}; read -r line <&3; echo $line",
        server.ip(),
        server.port()
    );
    let ended = learn(stage, server.ip(), &["--inspect"], &["bash", "-c", &hear]);
    assert_eq!(ended.out, format!("{GREETING}\n"), "{ended:?}");
    run(stage, &["bash", "-c", &hear]).assert_out(&format!("{GREETING}\n"));
}

fn a_name_that_only_tls_says(stage: &Stage) {
    let web = needs!(Web::secure(stage));
    let resolved = format!("web.example:{}:{}", web.port, web.ip);
    let url = format!("https://web.example:{}/a", web.port);
    let command = [CURL, "-s", "-k", "--resolve", &resolved, &url];
    for flags in [&[][..], &["--inspect", "--force"]] {
        let ended = learn(stage, web.ip, flags, &command);
        assert_eq!((ended.code, &*ended.out), (0, "GET /a"), "{ended:?}");
        let text = learnt(stage);
        assert!(text.contains("- host: web.example\n"), "{text}");
        assert!(
            text.contains(&format!("- host: \"{}\"\n", web.ip)),
            "{text}"
        );
        run(stage, &command).assert_out("GET /a");
    }
}

fn a_base_is_extended(stage: &Stage) {
    let (known, new) = (needs!(Web::start(None)), needs!(Web::start(None)));
    let base = format!(
        "version: 1\nfilesystem_policy: {{ include_workdir: true }}\nnetwork_policies:\n  curl:\n    \
         endpoints: [{{ host: \"{}\", port: {}, protocol: any }}]\n    binaries: [{{ path: {CURL} }}]\n",
        known.ip, known.port
    );
    stage.write("outside/base.yaml", base);
    let script = format!("{CURL} -s {} {}", known.url("/a"), new.url("/b"));
    let path = stage.text("outside/base.yaml");
    let ended = learn(stage, new.ip, &["--policy", &path], &["sh", "-c", &script]);
    assert_eq!((ended.code, &*ended.out), (0, "GET /aGET /b"), "{ended:?}");
    let text = learnt(stage);
    assert!(
        text.contains("\nextends: base.yaml\n") && text.contains("\n  curl-2:\n"),
        "{text}"
    );
    assert!(!text.contains(&format!("port: {}\n", known.port)), "{text}");
    run(stage, &["sh", "-c", &script]).assert_out("GET /aGET /b");
}

fn rules_of_a_base_hold(stage: &Stage) {
    let web = needs!(Web::start(None));
    let base = format!(
        "version: 1\nnetwork_policies:\n  web:\n    binaries: [{{ path: {CURL} }}]\n    endpoints:\n      \
         - host: \"{}\"\n        port: {}\n        protocol: rest\n        enforcement: enforce\n        \
         rules: [{{ allow: {{ method: GET, path: /a }} }}]\n        \
         deny_rules: [{{ method: \"*\", path: /secret }}]\n",
        web.ip, web.port
    );
    stage.write("outside/base.yaml", base);
    let path = stage.text("outside/base.yaml");
    let script = ["/a", "/new", "/secret"].map(|target| format!("{CURL} -sf {}", web.url(target)));
    let ended = learn(
        stage,
        web.ip,
        &["--policy", &path],
        &["sh", "-c", &script.join(";")],
    );
    assert_eq!(
        (ended.code, &*ended.out),
        (22, "GET /aGET /new"),
        "{ended:?}"
    );
    let text = learnt(stage);
    assert!(
        text.contains("path: /new }") && !text.contains("path: /a }"),
        "{text}"
    );
    assert!(text.contains("GET /secret blocked by deny rule"), "{text}");
    let ended = run(stage, &["sh", "-c", &script.join(";")]);
    assert_eq!(
        (ended.code, &*ended.out),
        (22, "GET /aGET /new"),
        "{ended:?}"
    );
}

fn rules_in_rego_hold(stage: &Stage) {
    let (web, other) = (needs!(Web::start(None)), needs!(Web::start(None)));
    let base = format!(
        "version: 1\nrego: |\n  package casemate.policy\n  \
         deny contains \"not there\" if input.network.port == {}\n",
        other.port
    );
    stage.write("outside/base.yaml", base);
    let path = stage.text("outside/base.yaml");
    let script = format!("{CURL} -s {}; {CURL} -s {}", web.url("/a"), other.url("/b"));
    let ended = learn(stage, web.ip, &["--policy", &path], &["sh", "-c", &script]);
    assert_eq!(ended.out, "GET /a", "{ended:?}");
    let refused = format!(
        "# refused while learning: {}:{}: not there\n",
        other.ip, other.port
    );
    assert!(learnt(stage).contains(&refused), "{}", learnt(stage));
    assert_eq!(run(stage, &["sh", "-c", &script]).out, "GET /a");
}

fn a_run_that_goes_on_takes_what_was_learnt(stage: &Stage) {
    let web = needs!(Web::start(None));
    stage.write("outside/base.yaml", "version: 1\n");
    stage.symlink("base.yaml", "outside/current.yaml");
    let script = format!(
        "while read -r _; do {CURL} -s {} || echo no; echo; done",
        web.url("/a")
    );
    let mut command = stage.casemate();
    command.args(["run", "-q", "--net", "policy", "--policy"]);
    command.arg(stage.path("outside/current.yaml"));
    command.args(["--", "sh", "-c", &script]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut ask = || {
        writeln!(stdin).unwrap();
        let said = lines.next().unwrap().unwrap();
        if said == "no" {
            lines.next().unwrap().unwrap();
        }
        said
    };
    assert_eq!(ask(), "no");
    let base = stage.text("outside/base.yaml");
    let ended = learn(
        stage,
        web.ip,
        &["--policy", &base],
        &[CURL, "-s", &web.url("/a")],
    );
    assert_eq!(ended.out, "GET /a", "{ended:?}");
    stage.symlink("p.yaml", "outside/next");
    fs::rename(
        stage.path("outside/next"),
        stage.path("outside/current.yaml"),
    )
    .unwrap();
    wait_until(PATIENCE, "the policy to be in force", || ask() == "GET /a");
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

fn what_is_not_public_stays_refused(stage: &Stage) {
    let web = needs!(Web::start(None));
    let metadata = "http://169.254.169.254/latest/";
    let script = format!(
        "{CURL} -s -m 30 {}; {CURL} -s -m 30 {metadata}",
        web.url("/a")
    );
    let mut command = learning(
        stage,
        &["--allow-ip=169.254.0.0/16", "--allow-ip=127.0.0.1"],
    );
    let ended = Ended::of(command.args(["--", "sh", "-c", &script]));
    assert_eq!(ended.out, "", "{ended:?}");
    let text = learnt(stage);
    assert!(text.ends_with("\nnetwork_policies: {}\n"), "{text}");
    for place in [
        format!("{}:{}", web.ip, web.port),
        "169.254.169.254:80".to_owned(),
    ] {
        assert!(
            text.contains(&format!("# refused while learning: {place}: ")),
            "{text}"
        );
    }
    assert!(
        ended.err.contains("2 refused while learning"),
        "{}",
        ended.err
    );
}

fn names_that_are_only_resolved(stage: &Stage) {
    // A name of this machine's own that a sandbox doesn't have by itself.
    let name = stage.outside("getent hosts \"$(uname -n)\" >/dev/null && uname -n || true");
    let name = name.trim();
    if name.is_empty() {
        return println!("skipped: this machine's name can't be resolved");
    }
    let ask = format!(
        "import socket\ntry: socket.getaddrinfo('{name}', 80); print('yes')\nexcept socket.gaierror: print('no')"
    );
    let ask = ["/usr/bin/python3", "-c", &ask];
    let none = IpAddr::from([192, 0, 2, 1]);
    let ended = learn(stage, none, &[], &ask);
    assert_eq!(ended.out, "yes\n", "{ended:?}");
    assert!(
        learnt(stage).contains(&format!("# resolved, and not connected to: {name}\n")),
        "{}",
        learnt(stage)
    );
    stage.write(
        "outside/base.yaml",
        format!("version: 1\ndns: {{ deny: [\"{name}\"] }}\n"),
    );
    let path = stage.text("outside/base.yaml");
    let ended = learn(stage, none, &["--force", "--policy", &path], &ask);
    assert_eq!(ended.out, "no\n", "{ended:?}");
}

fn an_interrupted_run_is_learnt_from(stage: &Stage) {
    let web = needs!(Web::start(None));
    let script = format!(
        "{CURL} -s {} >got; mv got done; exec sleep 1000",
        web.url("/a")
    );
    let mut command = learning(stage, &[&format!("--allow-ip={}", web.ip)]);
    command
        .args(["--", "sh", "-c", &script])
        .stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    wait_until(PATIENCE, "the program to have been there", || {
        stage.path("ws/done").exists()
    });
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(
        learnt(stage).contains(&format!("port: {}\n", web.port)),
        "{}",
        learnt(stage)
    );
    // Neither does a limit lose it.
    let flags = ["--force", "--time=2s"];
    let ended = learn(stage, web.ip, &flags, &["sh", "-c", &script]);
    assert_eq!(ended.code, 124, "{ended:?}");
    assert!(
        learnt(stage).contains(&format!("port: {}\n", web.port)),
        "{}",
        learnt(stage)
    );
}

fn files_are_not_overwritten(stage: &Stage) {
    stage.write("outside/p.yaml", "mine");
    stage.write("outside/other", "theirs");
    let ended = Ended::of(learning(stage, &[]).args(["--", "touch", "ran"]));
    let hint = "it is there already\nhint: --force replaces it\n";
    assert!(ended.code == 125 && ended.err.ends_with(hint), "{ended:?}");
    assert!(learnt(stage) == "mine" && !stage.path("ws/ran").exists());
    // A link is replaced, and not what it leads to.
    fs::remove_file(stage.path("outside/p.yaml")).unwrap();
    stage.symlink("other", "outside/p.yaml");
    let ended = Ended::of(learning(stage, &["--force"]).args(["--", "true"]));
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(
        learnt(stage).ends_with("network_policies: {}\n"),
        "{}",
        learnt(stage)
    );
    assert_eq!(stage.read("outside/other"), "theirs");
    // By default it's in the folder where one is.
    assert_eq!(policy(stage, &["learn", "-q", "--", "true"]).code, 0);
    assert!(
        stage
            .read("ws/policy.learned.yaml")
            .starts_with("# Learnt from one run of: true\n")
    );
}

fn a_program_can_not_put_a_file_in_the_way(stage: &Stage) {
    stage.write("outside/other", "theirs");
    let put = format!("ln -s {} policy.learned.yaml", stage.text("outside/other"));
    let ended = policy(stage, &["learn", "--", "sh", "-c", &put]);
    assert_eq!(ended.code, 125, "{ended:?}");
    let kept = ended
        .err
        .lines()
        .find_map(|line| line.strip_prefix("hint: what was learnt is in "))
        .unwrap();
    assert!(
        stage
            .read(&format!("ws/{kept}"))
            .ends_with("network_policies: {}\n")
    );
    assert_eq!(stage.read("outside/other"), "theirs");
}

fn flags_that_can_not_be_meant(stage: &Stage) {
    stage.write("outside/base.yaml", "version: 1\n");
    let base = stage.text("outside/base.yaml");
    for (flags, why) in [
        (
            &["--output", "-"][..],
            "standard output is the program's own",
        ),
        (
            &["--output", "none/p.yaml"],
            "its folder must be there and writable",
        ),
        (&["--output", "."], "this is no name of a file"),
        (&["--net", "none"], "casemate: error: use --net: "),
        (&["--allow-ip", "10.0.0"], "expected an address such as"),
        (&["--policy", "none.yaml"], "none.yaml"),
        (
            &["--force", "--policy", &base, "--output", &base],
            "it would extend itself",
        ),
    ] {
        let args = ["learn"].iter().chain(flags).chain(&["--", "touch", "ran"]);
        let ended = policy(stage, &args.copied().collect::<Vec<_>>());
        assert_eq!((ended.code, &*ended.out), (125, ""), "{flags:?}: {ended:?}");
        assert!(ended.err.contains(why), "{flags:?}: {}", ended.err);
    }
    assert!(!stage.path("ws/ran").exists());
    // What never ran leaves no policy.
    assert_eq!(policy(stage, &["learn", "--", "no-such-program"]).code, 127);
    assert!(!stage.path("ws/policy.learned.yaml").exists());
}
