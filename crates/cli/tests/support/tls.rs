//! An HTTPS server on an address of this machine that isn't loopback; what it was asked is kept.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]
#![allow(dead_code, reason = "each test program uses a part of it")]

use crate::sandbox::{Stage, wait_until};
use serde_json::Value;
use std::fs::{self, File};
use std::net::IpAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Says its port and then, for each request, what it was; `/reflect` gives back `Authorization`.
const SERVER: &str = r#"
import http.server, json, ssl, sys

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def answer(self):
        body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
        seen = {'method': self.command, 'target': self.path, 'body': body.decode('latin-1'),
                'headers': [[name.lower(), value] for name, value in self.headers.items()]}
        print(json.dumps(seen), flush=True)
        said = self.headers.get('Authorization', '') if self.path == '/reflect' else 'ok'
        self.send_response(200)
        self.send_header('Content-Length', str(len(said)))
        self.end_headers()
        self.wfile.write(said.encode())
    do_GET = do_POST = do_PUT = answer
    def log_message(self, *arguments):
        pass

server = http.server.ThreadingHTTPServer((sys.argv[1], 0), Handler)
if sys.argv[2]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[2])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
"#;

/// The server, which ends with this.
pub(crate) struct Tls {
    child: Child,
    seen: std::path::PathBuf,
    /// The file with its certificate.
    pub(crate) certificate: String,
    pub(crate) ip: IpAddr,
    pub(crate) port: u16,
}

impl Tls {
    /// None if the machine has no such address.
    pub(crate) fn start(stage: &Stage) -> Option<Self> {
        Self::begin(stage, true)
    }

    /// The same without TLS.
    pub(crate) fn plain(stage: &Stage) -> Option<Self> {
        Self::begin(stage, false)
    }

    fn begin(stage: &Stage, secure: bool) -> Option<Self> {
        let ip = crate::server::Server::start()?.ip();
        // Below a folder that no sandbox sees.
        let folder = stage.path("server");
        fs::create_dir_all(&folder).unwrap();
        let (key, both) = (folder.join("key.pem"), folder.join("both.pem"));
        let certificate = folder.join("certificate.pem");
        if secure && !both.exists() {
            let made = Command::new("openssl")
                .args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"])
                .args(["-pkeyopt", "ec_paramgen_curve:P-256", "-subj", "/CN=test"])
                .args(["-addext", &format!("subjectAltName=IP:{ip}")])
                .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
                .arg(&key)
                .arg("-out")
                .arg(&certificate)
                .output()
                .unwrap();
            assert!(made.status.success(), "{made:?}");
            let joined = [fs::read(&key).unwrap(), fs::read(&certificate).unwrap()].concat();
            fs::write(&both, joined).unwrap();
        }
        let seen = tempfile::NamedTempFile::new_in(&folder).unwrap();
        let seen = seen.keep().unwrap().1;
        let child = Command::new("python3")
            .args(["-c", SERVER, &ip.to_string()])
            .arg(if secure { both.to_str().unwrap() } else { "" })
            .stdin(Stdio::null())
            .stdout(File::create(&seen).unwrap())
            .spawn()
            .unwrap();
        let mut port = 0;
        wait_until(Duration::from_secs(20), "the server to listen", || {
            let said = fs::read_to_string(&seen).unwrap();
            let line = said.split_once('\n').map(|(line, _)| line.parse().unwrap());
            port = line.unwrap_or_default();
            port != 0
        });
        Some(Self {
            child,
            seen,
            certificate: certificate.to_str().unwrap().to_owned(),
            ip,
            port,
        })
    }

    /// What it was asked so far.
    pub(crate) fn seen(&self) -> Vec<Value> {
        let said = fs::read_to_string(&self.seen).unwrap();
        let asked = said.lines().skip(1);
        asked
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// All values of a header of a request.
pub(crate) fn header(seen: &Value, name: &str) -> Vec<String> {
    let fields = seen["headers"].as_array().unwrap().iter();
    let named = fields.filter(|field| field[0] == name);
    named
        .map(|field| field[1].as_str().unwrap().to_owned())
        .collect()
}

impl Drop for Tls {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
