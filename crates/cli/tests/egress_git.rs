//! An unmodified git over inspected TLS: it may fetch, and may not push.
//!
//! The server is git's own, `git http-backend`, behind a small HTTPS server on this host's address.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/sandbox.rs"]
mod sandbox;
#[path = "support/server.rs"]
mod server;

use sandbox::{Ended, Stage, both};
use std::io::{BufRead as _, BufReader};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

both!(clones_and_does_not_push);

const PYTHON: &str = "/usr/bin/python3";
const OPENSSL: &str = "/usr/bin/openssl";

/// Hands every request to git (gitprotocol-http(5), RFC 3875), and prints where it listens.
const SERVER: &str = r#"
import http.server, os, ssl, subprocess, sys, zlib
root, certificate, key, address = sys.argv[1:]
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def body(self):
        if 'chunked' not in self.headers.get('Transfer-Encoding', ''):
            return self.rfile.read(int(self.headers.get('Content-Length', 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b''.join(parts)
    def serve(self):
        path, _, query = self.path.partition('?')
        body = self.body()
        if self.headers.get('Content-Encoding') == 'gzip':
            body = zlib.decompress(body, 31)
        ended = subprocess.run(['git', '-c', 'safe.directory=*', 'http-backend'], input=body, stdout=subprocess.PIPE, env={
            'PATH': os.environ['PATH'], 'GIT_PROJECT_ROOT': root, 'GIT_HTTP_EXPORT_ALL': '1',
            'GIT_CONFIG_COUNT': '1', 'GIT_CONFIG_KEY_0': 'safe.directory', 'GIT_CONFIG_VALUE_0': '*',
            'GIT_PROTOCOL': self.headers.get('Git-Protocol', ''), 'REMOTE_USER': 'somebody',
            'PATH_INFO': path, 'QUERY_STRING': query, 'REQUEST_METHOD': self.command,
            'CONTENT_TYPE': self.headers.get('Content-Type', ''), 'CONTENT_LENGTH': str(len(body))})
        head, _, content = ended.stdout.partition(b'\r\n\r\n')
        fields = [line.split(': ', 1) for line in head.decode().split('\r\n')]
        status = [value for name, value in fields if name == 'Status']
        self.send_response(int(status[0].split()[0]) if status else 200)
        for name, value in fields:
            if name != 'Status': self.send_header(name, value)
        self.send_header('Content-Length', str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        print(self.command, self.path, file=sys.stderr, flush=True)
    do_GET = do_POST = serve
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer((address, 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print(server.server_address[1], flush=True)
server.serve_forever()
"#;

/// A repository behind HTTPS.
struct Forge {
    process: Child,
    address: IpAddr,
    port: u16,
    certificate: PathBuf,
}

impl Drop for Forge {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Forge {
    fn start(stage: &Stage, address: IpAddr) -> Self {
        stage.folder("forge");
        stage.write("forge/serve.py", SERVER);
        let forge = stage.text("forge");
        stage.outside(&format!(
            "cd {forge}; git init -q -b main --bare project.git; git -C project.git config http.receivepack true; \
             git init -q -b main seed; cd seed; echo content > file; git add file; \
             git -c user.name=n -c user.email=e commit -q -m first; git push -q ../project.git main; \
             {OPENSSL} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=forge \
             -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=IP:{address} \
             -keyout {forge}/key.pem -out {forge}/certificate.pem 2>/dev/null"
        ));
        let mut command = stage.command(PYTHON);
        command.arg(stage.path("forge/serve.py")).arg(&forge);
        command.args([
            stage.path("forge/certificate.pem"),
            stage.path("forge/key.pem"),
        ]);
        let requests = std::fs::File::create(stage.path("forge/requests")).unwrap();
        let mut process = command
            .arg(address.to_string())
            .stdout(Stdio::piped())
            .stderr(requests)
            .spawn()
            .unwrap();
        let mut port = String::new();
        let mut said = BufReader::new(process.stdout.take().unwrap());
        said.read_line(&mut port).unwrap();
        Self {
            process,
            address,
            port: port.trim().parse().unwrap(),
            certificate: stage.path("forge/certificate.pem"),
        }
    }

    fn url(&self) -> String {
        format!("https://{}:{}/project.git", self.address, self.port)
    }

    /// What it was asked.
    fn requests(&self, stage: &Stage) -> String {
        stage.read("forge/requests")
    }

    /// `casemate run --policy … -- sh -c SCRIPT`: fetching is what the policy allows.
    fn shell(&self, stage: &Stage, script: &str) -> Ended {
        let policy = format!(
            "version: 1\nfilesystem_policy: {{ include_workdir: true }}\n\
             network_policies:\n  forge:\n    endpoints:\n      - host: \"{}\"\n        port: {}\n        protocol: rest\n        \
             enforcement: enforce\n        rules:\n          \
             - allow: {{ method: GET, path: \"/**/info/refs\", query: {{ service: git-upload-pack }} }}\n          \
             - allow: {{ method: POST, path: \"/**/git-upload-pack\" }}\n    \
             binaries: [{{ path: \"{}\" }}]\n",
            self.address,
            self.port,
            git(stage)
        );
        stage.write("outside/p.yaml", policy);
        let mut casemate = stage.casemate();
        // The forge's certificate is one that this host trusts.
        casemate.env("SSL_CERT_FILE", &self.certificate);
        casemate.arg("run").arg("--policy");
        casemate.arg(stage.path("outside/p.yaml"));
        casemate.args(["--", "sh", "-c", script]);
        Ended::of(&mut casemate)
    }
}

/// Where git is.
fn git(stage: &Stage) -> String {
    let found = stage.outside("command -v git");
    let real = std::fs::canonicalize(found.trim()).unwrap();
    real.to_str().unwrap().to_owned()
}

fn clones_and_does_not_push(stage: &Stage) {
    for program in [PYTHON, OPENSSL, "/usr/lib/git-core/git-http-backend"] {
        if !Path::new(program).exists() {
            return println!("skipped: {program} is not installed");
        }
    }
    let Some(server) = server::Server::start() else {
        return println!("skipped: this machine has loopback addresses only");
    };
    let forge = Forge::start(stage, server.ip());
    let cloned = forge.shell(
        stage,
        &format!("git clone -q {} work && cat work/file", forge.url()),
    );
    cloned.assert_out("content\n");
    let asked = forge.requests(stage);
    assert!(
        asked.contains("GET /project.git/info/refs?service=git-upload-pack"),
        "{asked}"
    );
    assert!(
        asked.contains("POST /project.git/git-upload-pack"),
        "{asked}"
    );
    // TLS ended at the wall, whose certificate git believed: the requests are in the log.
    let log = stage.read("home/.local/state/casemate/audit.jsonl");
    assert!(log.contains("git-upload-pack"), "{log}");
    let script = "cd work && echo more >> file && git -c user.name=n -c user.email=e commit -q -a -m second && git push -q origin main";
    let pushed = forge.shell(stage, script);
    assert_ne!(pushed.code, 0, "{pushed:?}");
    assert!(
        pushed.err.contains("The requested URL returned error: 403"),
        "{pushed:?}"
    );
    // The reason is git's to show, not only the wall's.
    let reason =
        |line: &&str| line.starts_with("remote: ") && line.contains("not permitted by policy");
    assert!(pushed.err.lines().any(|line| reason(&line)), "{pushed:?}");
    let asked = forge.requests(stage);
    assert!(!asked.contains("receive-pack"), "{asked}");
    let count = stage.outside("git -C ../forge/project.git rev-list --count main");
    assert_eq!(count, "1\n");
    // What is allowed is git's, whatever certificate another program believes.
    let url = format!("{}/info/refs?service=git-upload-pack", forge.url());
    let other = forge.shell(
        stage,
        &format!("{PYTHON} -c \"import urllib.request; urllib.request.urlopen('{url}')\""),
    );
    assert_ne!(other.code, 0, "{other:?}");
    assert!(other.err.contains("python3"), "{other:?}");
}
