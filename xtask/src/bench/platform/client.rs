//! A client: HTTP/1.1, one request after the other, and as little besides as possible.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// A connection, and the key.
pub(in crate::bench) struct Client {
    stream: RefCell<BufReader<TcpStream>>,
    key: String,
}

impl Client {
    pub(super) fn new(address: SocketAddr, key: String) -> Result<Self> {
        let stream = TcpStream::connect(address).context("cannot connect to the server")?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: RefCell::new(BufReader::new(stream)),
            key,
        })
    }

    /// A sandbox; its id and the token of its agent, with a space in between.
    pub(in crate::bench) fn create(&self) -> Result<String> {
        self.create_with(&json!({}))
    }

    /// One with these settings of ours.
    pub(super) fn create_with(&self, settings: &Value) -> Result<String> {
        let body = json!({ "templateID": "base", "timeout": 600, "casemate": settings });
        let body = body.to_string();
        let head = format!(
            "POST /v2/sandboxes HTTP/1.1\r\nX-API-KEY: {}\r\nContent-Type: application/json\r\n",
            self.key
        );
        let (status, body) = self.ask(&head, body.as_bytes())?;
        let value: Value = serde_json::from_slice(&body).unwrap_or_default();
        match (
            status,
            value["sandboxID"].as_str(),
            value["envdAccessToken"].as_str(),
        ) {
            (201, Some(id), Some(token)) => Ok(format!("{id} {token}")),
            _ => bail!("create: {status} {}", String::from_utf8_lossy(&body)),
        }
    }

    pub(in crate::bench) fn kill(&self, sandbox: &str) -> Result<()> {
        let (id, _) = sandbox.split_once(' ').unwrap_or((sandbox, ""));
        let head = format!(
            "DELETE /sandboxes/{id} HTTP/1.1\r\nX-API-KEY: {}\r\n",
            self.key
        );
        match self.ask(&head, b"")? {
            (204, _) => Ok(()),
            (status, body) => bail!("kill: {status} {}", String::from_utf8_lossy(&body)),
        }
    }

    /// Runs `echo`, and looks whether it was heard.
    pub(in crate::bench) fn echo(&self, sandbox: &str) -> Result<()> {
        let said = self.start(sandbox, "/bin/echo", &["heard"])?;
        // "heard\n" in base64, as the JSON form of the protocol has bytes.
        match String::from_utf8_lossy(&said).contains("aGVhcmQK") {
            true => Ok(()),
            false => bail!("echo: {}", String::from_utf8_lossy(&said)),
        }
    }

    /// Runs a program to its end.
    pub(super) fn run(&self, sandbox: &str, program: &str) -> Result<()> {
        let said = self.start(sandbox, program, &[])?;
        match String::from_utf8_lossy(&said).contains("exit status 0") {
            true => Ok(()),
            false => bail!("{program}: {}", String::from_utf8_lossy(&said)),
        }
    }

    /// The whole stream of process.Process/Start.
    fn start(&self, sandbox: &str, program: &str, args: &[&str]) -> Result<Vec<u8>> {
        let (id, token) = sandbox.split_once(' ').context("no token")?;
        let message =
            json!({ "process": { "cmd": program, "args": args }, "stdin": false }).to_string();
        let mut body = vec![0];
        body.extend((message.len() as u32).to_be_bytes());
        body.extend(message.as_bytes());
        let head = format!(
            "POST /process.Process/Start HTTP/1.1\r\nX-Access-Token: {token}\r\nE2b-Sandbox-Id: {id}\r\nE2b-Sandbox-Port: 49983\r\nConnect-Protocol-Version: 1\r\nContent-Type: application/connect+json\r\n"
        );
        match self.ask(&head, &body)? {
            (200, body) => Ok(body),
            (status, body) => bail!("{program}: {status} {}", String::from_utf8_lossy(&body)),
        }
    }

    /// What the interface answers to this, with a body of JSON.
    pub(in crate::bench) fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nX-API-KEY: {}\r\nContent-Type: application/json\r\n",
            self.key
        );
        match self.ask(&head, body.to_string().as_bytes())? {
            (200..300, body) => Ok(serde_json::from_slice(&body).unwrap_or_default()),
            (status, body) => bail!("{path}: {status} {}", String::from_utf8_lossy(&body)),
        }
    }

    fn ask(&self, head: &str, body: &[u8]) -> Result<(u16, Vec<u8>)> {
        let mut stream = self.stream.borrow_mut();
        let mut request = head.as_bytes().to_vec();
        request
            .extend(format!("Host: 127.0.0.1\r\nContent-Length: {}\r\n\r\n", body.len()).bytes());
        request.extend(body);
        stream.get_mut().write_all(&request)?;
        let status = line(&mut stream)?;
        let status = status.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status: u16 = status.context("no status")?;
        let (mut length, mut chunked) = (0, false);
        loop {
            let header = line(&mut stream)?.to_ascii_lowercase();
            match header
                .split_once(':')
                .map(|(name, value)| (name, value.trim()))
            {
                None => break,
                Some(("content-length", value)) => length = value.parse()?,
                Some(("transfer-encoding", value)) => chunked = value == "chunked",
                Some(_) => {}
            }
        }
        let mut body = Vec::new();
        loop {
            if chunked {
                length = usize::from_str_radix(&line(&mut stream)?, 16)?;
            }
            let from = body.len();
            body.resize(from + length, 0);
            stream.read_exact(&mut body[from..])?;
            if !chunked {
                break;
            }
            line(&mut stream)?;
            if length == 0 {
                break;
            }
        }
        Ok((status, body))
    }
}

/// A line of a head, without its end.
fn line(stream: &mut BufReader<TcpStream>) -> Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        bail!("the server closed the connection");
    }
    line.truncate(line.trim_end().len());
    Ok(line)
}
