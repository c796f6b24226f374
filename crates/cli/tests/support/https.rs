//! An HTTPS server with a certificate of an authority that nobody else trusts.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use crate::sandbox::Stage;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const SERVER: &str = r#"
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        self.send_response(200)
        self.send_header('Content-Length', '6')
        self.end_headers()
        self.wfile.write(b'secret')
    def log_message(self, *arguments): pass
class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *arguments): pass
server = Server((sys.argv[1], 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('server.pem', 'server.key')
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
"#;

/// See the module. It ends with the test.
pub(crate) struct Https {
    pub(crate) address: SocketAddr,
    /// The file of the authority's certificate.
    pub(crate) authority: String,
    child: Child,
}

impl Https {
    /// At this address; none without openssl, which makes the certificates.
    pub(crate) fn start(stage: &Stage, ip: IpAddr) -> Option<Self> {
        if !Path::new("/usr/bin/openssl").exists() {
            println!("skipped: needs /usr/bin/openssl");
            return None;
        }
        stage.folder("outside/tls");
        let folder = stage.path("outside/tls");
        let openssl = |arguments: &str| {
            let mut command = Command::new("/usr/bin/openssl");
            command.current_dir(&folder).stderr(Stdio::null());
            assert!(
                command
                    .args(arguments.split(' '))
                    .status()
                    .unwrap()
                    .success()
            );
        };
        let request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
        let (ca, server) = (
            "-subj /CN=own -keyout ca.key -out ca.pem",
            "-subj /CN=server -keyout server.key -out server.pem -CA ca.pem -CAkey ca.key",
        );
        openssl(&format!("{request} {ca}"));
        let own = format!("-addext subjectAltName=IP:{ip} -addext basicConstraints=CA:FALSE");
        openssl(&format!("{request} {server} {own}"));
        let mut command = Command::new("/usr/bin/python3");
        command.current_dir(&folder).stdout(Stdio::piped());
        let mut child = command
            .args(["-c", SERVER, &ip.to_string()])
            .spawn()
            .unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut port)
            .unwrap();
        Some(Self {
            address: SocketAddr::new(ip, port.trim().parse().unwrap()),
            authority: stage.text("outside/tls/ca.pem"),
            child,
        })
    }
}

impl Drop for Https {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
