//! Where sandboxes of the platform may connect to: a server in a network of its own, beyond which
//! lies what stands for the Internet.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/sandbox.rs"]
mod sandbox;

use sandbox::{Stage, both};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

const WORLD: &str = include_str!("network/world.py");
const CLIENT: &str = include_str!("network/client.py");
const INSIDE: &str = include_str!("network/inside.py");

/// The server's side of the line to the world, the world's, and what no sandbox may reach there.
const HERE: &str = "10.99.0.1";
const ROUTER: &str = "10.99.0.2";
const PRIVATE: &str = "10.77.0.1";
const METADATA: &str = "169.254.169.254";
/// Public addresses. Several names are at the first; the third is one that nobody is told of.
const SHARED: &str = "93.184.216.10";
const OTHER: &str = "93.184.216.11";
const UNNAMED: &str = "93.184.216.12";
/// A server of names that the machine doesn't ask.
const NAMES: &str = "93.184.216.53";
/// An address that is no public one, which the operator may open.
const OPENED: &str = "203.0.113.7";

/// Makes a network with the world beyond it, and leaves the rest to the client.
const SETUP: &str = r#"
ip link set lo up
mkfifo "$FOLDER/ready"
unshare --net sh -c 'echo >"$FOLDER/ready"; exec sleep infinity' &
world=$!
web=
trap 'kill $world $web' EXIT
read -r _ <"$FOLDER/ready"
ip link add outer type veth peer name inner netns "$world"
ip addr add "$HERE/24" dev outer
ip link set outer up
nsenter -t "$world" --net sh -ec '
    ip link set lo up
    ip addr add "$ROUTER/24" dev inner
    ip link set inner up
    for address in $ADDRESSES; do ip addr add "$address/32" dev lo; done
    ip route add default via "$HERE"'
ip route add default via "$ROUTER"
nsenter -t "$world" --net /usr/bin/python3 "$FOLDER/world.py" "$FOLDER" "$ROUTER" "$KNOWN" "$NAMES" "$OTHERS" >"$FOLDER/ready" &
web=$!
read -r _ <"$FOLDER/ready"
echo "nameserver $ROUTER" >"$FOLDER/resolv.conf"
mount --bind "$FOLDER/resolv.conf" "$(readlink -f /etc/resolv.conf)"
$BECOME /usr/bin/python3 "$FOLDER/client.py" "$@"
"#;

/// The platform and its world, which end with this.
struct Platform {
    child: Child,
    asks: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    asked: std::path::PathBuf,
}

impl Platform {
    /// None, and said so, where it can't be made.
    fn start(stage: &Stage, flags: &[&str]) -> Option<Self> {
        let needed = ["ip", "unshare", "nsenter", "setpriv", "openssl", "python3"];
        let there = |program: &&str| {
            let mut which = Command::new("sh");
            which.args(["-c", "command -v \"$0\" >/dev/null", program]);
            which.status().unwrap().success()
        };
        if !needed.iter().all(there) {
            println!("skipped: needs {needed:?}");
            return None;
        }
        if !rustix::process::geteuid().is_root() {
            println!("skipped: networks are made by root");
            return None;
        }
        stage.folder("world");
        stage.write("world/world.py", WORLD);
        stage.write("world/client.py", CLIENT);
        certificates(stage);
        let known = json!({
            "api.example.org": SHARED,
            "cdn.example.org": SHARED,
            "evil.example.net": SHARED,
            "other.example.net": OTHER,
            "private.example.org": PRIVATE,
            "opened.example.org": OPENED,
        });
        // The network is root's in any case; who serves in it isn't.
        let uid = stage.uid();
        let becomes = match stage.is_root() {
            true => String::new(),
            false => format!("setpriv --reuid={uid} --regid={uid} --clear-groups"),
        };
        let mut command = Command::new("unshare");
        command
            .current_dir(stage.path("ws"))
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LANG", "C.UTF-8")
            .env("HOME", stage.path("home"))
            .env("BECOME", becomes)
            .args(["--net", "--mount", "--propagation", "private"])
            .args(["sh", "-euc", SETUP, "sh"])
            .arg(stage.path("casemate"))
            .arg("--data")
            .arg(stage.path("home/data"))
            .args(flags)
            .env("FOLDER", stage.path("world"))
            .env("HERE", HERE)
            .env("ROUTER", ROUTER)
            .env("NAMES", NAMES)
            .env("KNOWN", known.to_string())
            .env("OTHERS", json!({ "api.example.org": UNNAMED }).to_string())
            .env(
                "ADDRESSES",
                [SHARED, OTHER, UNNAMED, NAMES, PRIVATE, METADATA, OPENED].join(" "),
            )
            .env("SSL_CERT_FILE", stage.path("world/ca.pem"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        Some(Self {
            asks: child.stdin.take(),
            answers: BufReader::new(child.stdout.take().unwrap()),
            asked: stage.path("world/asked"),
            child,
        })
    }

    #[track_caller]
    fn ask(&mut self, name: &str, arguments: Value) -> Value {
        let asks = self.asks.as_mut().unwrap();
        writeln!(asks, "{}", json!([name, arguments])).unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{name}: the client said {line:?}"))
    }

    #[track_caller]
    fn create(&mut self, wish: Value) -> String {
        let made = self.ask("create", json!([wish]));
        let id = made["id"].as_str();
        id.unwrap_or_else(|| panic!("{wish}: {made}")).to_owned()
    }

    #[track_caller]
    fn update(&mut self, id: &str, wish: Value) {
        let done = self.ask("update", json!([id, wish]));
        assert_eq!(done["status"], 204, "{done}");
    }

    /// What a script shows that runs in a sandbox.
    #[track_caller]
    fn run(&mut self, id: &str, script: &str) -> Value {
        let done = self.ask("run", json!([id, python(script)]));
        shown(&done)
    }

    /// Names that left this machine.
    fn asked(&self) -> Vec<String> {
        let asked = fs::read_to_string(&self.asked).unwrap_or_default();
        let mut names: Vec<_> = asked.lines().map(str::to_owned).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        // The client ends the sandboxes and the server, and the script what it began.
        self.asks.take();
        let _ = self.child.wait();
    }
}

fn python(script: &str) -> Value {
    json!(["/usr/bin/python3", "-c", format!("{INSIDE}\n{script}")])
}

#[track_caller]
fn shown(done: &Value) -> Value {
    let out = done["out"].as_str().unwrap_or_default();
    serde_json::from_str(out).unwrap_or_else(|_| panic!("the program: {done}"))
}

fn certificates(stage: &Stage) {
    let folder = stage.path("world");
    let openssl = |arguments: &str| {
        let mut command = Command::new("openssl");
        let made = command.current_dir(&folder).args(arguments.split(' '));
        let made = made.output().unwrap();
        assert!(made.status.success(), "{made:?}");
    };
    let request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
    openssl(&format!(
        "{request} -subj /CN=own -keyout ca.key -out ca.pem"
    ));
    openssl(&format!(
        "{request} -subj /CN=server -keyout server.key -out server.pem -CA ca.pem -CAkey ca.key \
         -addext subjectAltName=DNS:*.example.org,DNS:*.example.net \
         -addext basicConstraints=CA:FALSE"
    ));
}

/// The platform, or the end of the test.
macro_rules! platform {
    ($stage:expr, $flags:expr) => {
        match Platform::start($stage, $flags) {
            Some(platform) => platform,
            None => return,
        }
    };
}

both!(
    everything_public_and_nothing_else,
    only_what_is_allowed,
    headers_are_set_on_the_way,
    changes_hold_at_once,
    what_can_not_be_is_refused,
    sandboxes_are_apart,
    the_published_client,
    connections_are_counted,
    bytes_take_their_time,
    programs_may_change,
    names_are_asked_of_others,
    a_whole_policy,
);

fn everything_public_and_nothing_else(stage: &Stage) {
    let mut platform = platform!(stage, &[]);
    let id = platform.create(json!({}));
    let script = format!(
        "show(line('{SHARED}'), line('api.example.org'), http('cdn.example.org'), \
         https('evil.example.net')['at'], udp('{SHARED}'))"
    );
    let at = |address: &str| json!(format!("at {address}"));
    let results = platform.run(&id, &script);
    assert_eq!(results[0], at(SHARED));
    assert_eq!(results[1], at(SHARED));
    assert_eq!(results[2]["host"], "cdn.example.org");
    assert_eq!(results[3], SHARED);
    assert_eq!(results[4], "refused");
    let private = [
        PRIVATE,
        METADATA,
        ROUTER,
        HERE,
        OPENED,
        "127.0.0.1",
        "0.0.0.0",
    ];
    let script = format!(
        "show(*[line(own) for own in {private:?}], line('private.example.org'), \
         line('opened.example.org'), line('127.0.0.1', 3000), line('{HERE}', 3000))"
    );
    let results = platform.run(&id, &script);
    for refused in results.as_array().unwrap() {
        assert_eq!(refused, "refused", "{results}");
    }
    // What is denied is, and what is allowed of that isn't.
    let network = json!({ "denyOut": ["93.184.216.0/24"], "allowOut": [UNNAMED] });
    let id = platform.create(json!({ "network": network }));
    let script = format!(
        "show(line('{SHARED}'), line('api.example.org'), http('api.example.org'), \
         https('api.example.org'), line('{UNNAMED}'))"
    );
    let expected = json!(["refused", "refused", "refused", "refused", at(UNNAMED)]);
    assert_eq!(platform.run(&id, &script), expected);
}

fn only_what_is_allowed(stage: &Stage) {
    let mut platform = platform!(stage, &["--allow-ip", OPENED]);
    let id = platform.create(json!({
        "allow_internet_access": false,
        "network": { "allowOut": ["api.example.org", "opened.example.org", "*.example.com", OTHER] },
    }));
    let script = format!(
        "show(name('secret.example.net'), name('cdn.example.org'), line('{SHARED}'), \
         line('api.example.org'), line('{OTHER}'), line('{UNNAMED}'), line('opened.example.org'), \
         http('api.example.org')['host'], https('api.example.org')['host'])"
    );
    let expected = json!([
        "unknown",
        "unknown",
        "refused",
        format!("at {SHARED}"),
        format!("at {OTHER}"),
        "refused",
        format!("at {OPENED}"),
        "api.example.org",
        "api.example.org",
    ]);
    assert_eq!(platform.run(&id, &script), expected);
    // Others at the same address aren't meant, however they are asked for.
    let script = format!(
        "show(http('{SHARED}', 'evil.example.net'), https('{SHARED}', 'evil.example.net'), \
         https('{OTHER}', 'other.example.net')['host'])"
    );
    let expected = json!(["refused", "refused", "other.example.net"]);
    assert_eq!(platform.run(&id, &script), expected);
    // Whoever is at another address isn't believed to be the host: the host is asked itself.
    let script = format!(
        "show(https('{UNNAMED}', 'api.example.org')['at'], \
         http('{UNNAMED}', 'api.example.org')['at'], http('{UNNAMED}', 'evil.example.net'), \
         https('{UNNAMED}', 'evil.example.net'))"
    );
    let expected = json!([SHARED, SHARED, "refused", "refused"]);
    assert_eq!(platform.run(&id, &script), expected);
    // And nothing was asked that couldn't be allowed.
    assert_eq!(platform.asked(), ["api.example.org", "opened.example.org"]);
}

fn headers_are_set_on_the_way(stage: &Stage) {
    let mut platform = platform!(stage, &[]);
    let rules = |value: &str| json!({ "api.example.org": [{ "transform": { "headers": { "X-Key": value } } }] });
    let id = platform.create(json!({ "network": { "rules": rules("s3cr3t") } }));
    let script = "show(https('api.example.org', None, 'X-Key: mine', 'x_key: mine', trusted=True)['keys'], \
                  https('cdn.example.org', None, 'X-Key: mine')['keys'], \
                  https('cdn.example.org', trusted=True), \
                  http('api.example.org', None, 'X-Key: mine')['keys'])";
    // In the clear, nobody has proven to be the host.
    let expected = json!([["s3cr3t"], ["mine"], "refused", ["mine"]]);
    assert_eq!(platform.run(&id, script), expected);
    platform.update(&id, json!({ "rules": rules("renewed") }));
    assert_eq!(platform.run(&id, script)[0], json!(["renewed"]));
    // Whoever says to be the host, and isn't, gets nothing.
    let script = format!(
        "show(https('{UNNAMED}', 'api.example.org', trusted=True)['keys'], \
         https('{PRIVATE}', 'api.example.org', trusted=True))"
    );
    let expected = json!([["renewed"], "refused"]);
    assert_eq!(platform.run(&id, &script), expected);
    platform.update(&id, json!({}));
    let script = "show(https('api.example.org', None, 'X-Key: mine')['keys'])";
    assert_eq!(platform.run(&id, script), json!([["mine"]]));
}

fn changes_hold_at_once(stage: &Stage) {
    let mut platform = platform!(stage, &[]);
    let id = platform.create(json!({}));
    // Once as the program's own socket, and once relayed.
    let script = format!(
        "import select\n\
         both = [socket.socket() for _ in 'ab']\n\
         both[1].settimeout(60)\n\
         for own in both: own.connect(('{SHARED}', 7000)); own.recv(100)\n\
         open('/tmp/open', 'w').close()\n\
         def end(own):\n\
         \x20   try: return len(own.recv(1))\n\
         \x20   except OSError: return 0\n\
         show(*map(end, both))"
    );
    let begun = platform.ask("begin", json!([id, python(&script)]));
    let wait = "import time\nwhile not os.path.exists('/tmp/open'): time.sleep(0.01)\nshow()";
    platform.run(&id, wait);
    platform.update(
        &id,
        json!({ "denyOut": ["0.0.0.0/0"], "allowOut": [OTHER] }),
    );
    let ended = platform.ask("wait", json!([begun["number"]]));
    assert_eq!(shown(&ended), json!([0, 0]), "{ended}");
    let script = format!("show(line('{SHARED}'), line('{OTHER}'), name('api.example.org'))");
    let expected = json!(["refused", format!("at {OTHER}"), "unknown"]);
    assert_eq!(platform.run(&id, &script), expected);
    // What comes next replaces all of it.
    platform.update(&id, json!({ "denyOut": [OTHER] }));
    let expected = json!([format!("at {SHARED}"), "refused", SHARED]);
    assert_eq!(platform.run(&id, &script), expected);
}

fn what_can_not_be_is_refused(stage: &Stage) {
    let mut platform = platform!(stage, &[]);
    let id = platform.create(json!({}));
    let header =
        |name: &str| json!({ "a.example": [{ "transform": { "headers": { name: "x" } } }] });
    for (network, field) in [
        (
            json!({ "allowOut": ["1.2.3.4/33"] }),
            "network.allowOut[0]: ",
        ),
        (json!({ "denyOut": ["a.example"] }), "network.denyOut[0]: "),
        (
            json!({ "dnsServers": ["10.0.0.53"] }),
            "network.dnsServers[0]: ",
        ),
        (
            json!({ "rules": header("Host") }),
            "network.rules.a.example: ",
        ),
    ] {
        let wish = json!({ "network": network });
        for (what, arguments) in [("create", json!([wish])), ("update", json!([id, network]))] {
            let answer = platform.ask(what, arguments);
            assert_eq!(answer["status"], 400, "{what} {network}: {answer}");
            let said = answer["said"].as_str().unwrap();
            assert!(said.starts_with(field), "{what} {network}: {said}");
        }
    }
    // What was in force still is.
    let script = format!("show(line('{SHARED}'))");
    assert_eq!(platform.run(&id, &script), json!([format!("at {SHARED}")]));
}

fn sandboxes_are_apart(stage: &Stage) {
    let mut platform = platform!(stage, &[]);
    let (one, other) = (platform.create(json!({})), platform.create(json!({})));
    let serve = "own = socket.create_server(('0.0.0.0', 8000))\n\
                 open('/tmp/up', 'w').close()\n\
                 while True: own.accept()[0].sendall(b'mine\\n')";
    platform.ask("begin", json!([one, python(serve)]));
    let wait =
        "while not os.path.exists('/tmp/up'): time.sleep(0.01)\nshow(line('127.0.0.1', 8000))";
    assert_eq!(platform.run(&one, wait), json!(["mine"]));
    let script = format!(
        "show(*[line(own, port) for own in ['127.0.0.1', '{HERE}', '{ROUTER}', '0.0.0.0', '::1'] \
         for port in [8000, 3000, 49983]])"
    );
    let results = platform.run(&other, &script);
    for refused in results.as_array().unwrap() {
        assert_eq!(refused, "refused", "{results}");
    }
    assert_eq!(platform.ask("kill", json!([one]))["status"], 204);
}

/// The published SDK's own words for all of this.
fn the_published_client(stage: &Stage) {
    let folder = tempfile::tempdir().unwrap();
    let python = folder.path().join("bin/python");
    let mut venv = Command::new("/usr/bin/python3");
    assert!(
        venv.args(["-m", "venv"])
            .arg(folder.path())
            .status()
            .unwrap()
            .success()
    );
    let mut pip = Command::new(&python);
    let got = pip
        .args(["-m", "pip", "install", "-q", "e2b==2.63.0"])
        .output();
    if !got.unwrap().status.success() {
        println!("skipped: no package index is reached");
        return;
    }
    let mut platform = platform!(stage, &[]);
    let text = format!(
        "import json\n\
         from e2b import Sandbox\n\
         def reached(own):\n\
         \x20   ask = 'import socket\\ndef line(host):\\n try: return socket.create_connection((host, 7000)).makefile().readline().strip() or \"refused\"\\n except OSError: return \"refused\"\\nprint(line(\"{SHARED}\"), line(\"{OTHER}\"), sep=\",\")'\n\
         \x20   own.files.write('/tmp/ask.py', ask)\n\
         \x20   return own.commands.run('/usr/bin/python3 /tmp/ask.py').stdout.strip().split(',')\n\
         own = Sandbox.create(timeout=120, network={{'deny_out': lambda ctx: [ctx.all_traffic], 'allow_out': ['{SHARED}']}})\n\
         first = reached(own)\n\
         own.update_network({{'deny_out': ['{SHARED}']}})\n\
         second = reached(own)\n\
         own.kill()\n\
         closed = Sandbox.create(timeout=120, allow_internet_access=False)\n\
         third = reached(closed)\n\
         closed.kill()\n\
         print(json.dumps([first, second, third]))"
    );
    let done = platform.ask("script", json!([python, text]));
    let (at, other) = (format!("at {SHARED}"), format!("at {OTHER}"));
    let expected = json!([[at, "refused"], ["refused", other], ["refused", "refused"]]);
    assert_eq!(shown(&done), expected, "{done}");
}

fn connections_are_counted(stage: &Stage) {
    let mut platform = platform!(stage, &["--connections", "4"]);
    let id = platform.create(json!({}));
    // Some are the program's own, and some are relayed: those that don't block.
    let script = format!(
        "held = []\n\
         def opened(own):\n\
         \x20   try:\n\
         \x20       own.connect(('{SHARED}', 7000))\n\
         \x20       said = own.recv(100)\n\
         \x20   except OSError: return 0\n\
         \x20   held.append(own)\n\
         \x20   return int(bool(said))\n\
         def patient():\n\
         \x20   own = socket.socket()\n\
         \x20   own.settimeout(60)\n\
         \x20   return own\n\
         before = sum(opened(socket.socket()) + opened(patient()) for _ in range(4))\n\
         for own in held: own.close()\n\
         show(0 < before <= 4)"
    );
    assert_eq!(platform.run(&id, &script), json!([true]));
    let log = fs::read_to_string(stage.path("home/.local/state/casemate/audit.jsonl")).unwrap();
    assert!(log.contains("connections"), "{log}");
}

fn bytes_take_their_time(stage: &Stage) {
    let mut platform = platform!(stage, &["--bandwidth", "64K"]);
    let id = platform.create(json!({}));
    let script = format!(
        "began = time.monotonic()\n\
         own = socket.create_connection(('{SHARED}', 7000))\n\
         own.sendall(b'x' * 65536)\n\
         own.shutdown(socket.SHUT_WR)\n\
         while own.recv(65536): pass\n\
         show(time.monotonic() - began > 0.5)"
    );
    assert_eq!(platform.run(&id, &script), json!([true]));
}

fn programs_may_change(stage: &Stage) {
    let mut platform = platform!(stage, &[]);
    let id = platform.create(json!({}));
    let script = format!(
        "import shutil, subprocess\n\
         def built(tail):\n\
         \x20   shutil.copy(os.path.realpath(sys.executable), '/tmp/program')\n\
         \x20   open('/tmp/program', 'ab').write(tail)\n\
         \x20   text = \"import socket; print(socket.create_connection(('{SHARED}', 7000)).makefile().readline())\"\n\
         \x20   done = subprocess.run(['/tmp/program', '-c', text], capture_output=True, text=True)\n\
         \x20   return done.stdout.strip() or done.stderr\n\
         show(built(b''), built(b'1'), built(b'12'))"
    );
    let at = format!("at {SHARED}");
    assert_eq!(platform.run(&id, &script), json!([at, at, at]));
}

fn names_are_asked_of_others(stage: &Stage) {
    let mut platform = platform!(stage, &[]);
    let id = platform.create(json!({ "network": { "dnsServers": [NAMES] } }));
    let script = "show(name('api.example.org'), name('cdn.example.org'), line('api.example.org'))";
    let expected = json!([UNNAMED, "unknown", format!("at {UNNAMED}")]);
    assert_eq!(platform.run(&id, script), expected);
    platform.update(&id, json!({}));
    assert_eq!(
        platform.run(&id, "show(name('api.example.org'))"),
        json!([SHARED])
    );
}

fn a_whole_policy(stage: &Stage) {
    let mut platform = platform!(stage, &[]);
    let policy = format!(
        "version: 1\nnetwork_policies:\n  here:\n    endpoints: [{{ host: {SHARED}, port: 7000, protocol: any }}]\n    \
         binaries: [{{ path: /usr/bin/python3* }}]\n"
    );
    let id = platform.create(json!({ "casemate": { "policy": policy } }));
    let script = format!("show(line('{SHARED}'), line('{OTHER}'), line('{SHARED}', 80))");
    let expected = json!([format!("at {SHARED}"), "refused", "refused"]);
    assert_eq!(platform.run(&id, &script), expected);
    let wrong = json!({ "casemate": { "policy": "version: 1\nnetwork_policies: 3\n" } });
    let answer = platform.ask("create", json!([wrong]));
    assert_eq!(answer["status"], 400, "{answer}");
    let said = answer["said"].as_str().unwrap();
    assert!(said.starts_with("casemate.policy: "), "{said}");
}
