//! What a request costs that is looked into: of HTTP/1.1, over TLS, on a connection that is kept.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::stage::Stage;

const PYTHON: &str = "/usr/bin/python3";
const REQUESTS: &str = "2000";

/// Answers each request in one piece.
const SERVER: &str = r#"
import socket, ssl, sys, threading
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server = socket.create_server((sys.argv[3], 0))
print(server.getsockname()[1], flush=True)
def serve(plain):
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream = context.wrap_socket(plain, server_side=True)
    while stream.recv(65536):
        stream.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfine\n')
while True:
    threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()
"#;

/// Prints what each request took, in microseconds; the first ones are left out.
const CLIENT: &str = r#"
import json, socket, ssl, sys, time
host, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
plain = socket.create_connection((host, port))
plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
stream = ssl.create_default_context().wrap_socket(plain, server_hostname=host)
asked = f'GET /any HTTP/1.1\r\nHost: {host}:{port}\r\nUser-Agent: bench\r\n\r\n'.encode()
times = []
for _ in range(count + 100):
    begun = time.perf_counter()
    stream.sendall(asked)
    said = b''
    while not said.endswith(b'fine\n'):
        said += stream.recv(65536)
    times.append((time.perf_counter() - begun) * 1e6)
print(json.dumps(times[100:]))
"#;

/// A server whose certificate only those know who are told.
struct Server {
    process: Child,
    port: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended; then there is nothing to end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    fn start(folder: &Path, address: &str) -> Result<Self> {
        let made = Command::new("openssl")
            .current_dir(folder)
            .args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"])
            .args(["-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=b"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE"])
            .args(["-addext", &format!("subjectAltName=IP:{address}")])
            .args(["-keyout", "key.pem", "-out", "certificate.pem"])
            .stderr(Stdio::null())
            .status()
            .context("cannot start openssl")?;
        ensure!(made.success(), "openssl made no certificate: {made}");
        let mut process = Command::new(PYTHON)
            .current_dir(folder)
            .args(["-c", SERVER, "certificate.pem", "key.pem", address])
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a server")?;
        let said = process.stdout.take().context("no output")?;
        let mut port = String::new();
        BufReader::new(said).read_line(&mut port)?;
        let port = port.trim().to_owned();
        Ok(Self { process, port })
    }
}

/// Microseconds of each request without a sandbox, and of each that is looked into.
pub(super) fn measure(stage: &Stage, rounds: usize) -> Result<(Vec<f64>, Vec<f64>)> {
    let (folder, address) = (stage.folder.path(), stage.direct.ip().to_string());
    let server = Server::start(folder, &address)?;
    let policy = folder.join("requests.yaml");
    let text = format!(
        "version: 1\nnetwork_policies:\n  here:\n    endpoints:\n      - {{ host: \"{address}\", port: {}, protocol: rest, \
         enforcement: enforce, access: read-only }}\n    binaries: [ {{ path: \"/**\" }} ]\n",
        server.port
    );
    std::fs::write(&policy, text)?;
    let client = [PYTHON, "-c", CLIENT, &address, &server.port, REQUESTS];
    let (mut bare, mut inspected) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let mut command = Command::new(client[0]);
        command.args(&client[1..]);
        bare.extend(times(&mut command, folder)?);
        let mut command = Command::new(&stage.casemate);
        command.env("XDG_STATE_HOME", folder.join("state"));
        command.args(["run", "--quiet", "--policy"]).arg(&policy);
        inspected.extend(times(command.arg("--").args(client), folder)?);
    }
    Ok((bare, inspected))
}

fn times(command: &mut Command, folder: &Path) -> Result<Vec<f64>> {
    let output = command
        .env("SSL_CERT_FILE", folder.join("certificate.pem"))
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "requests: {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}
