//! A client of an agent's files that speaks HTTP byte by byte.

use crate::support::{self, is_root};
use serde_json::Value;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// An agent, and a folder of files that it works on.
pub(crate) struct Agent {
    program: support::Agent,
    pub(crate) folder: tempfile::TempDir,
}

impl Agent {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    pub(crate) fn with(more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let workdir = ["--workdir", folder.path().to_str().unwrap()];
        Self {
            program: support::Agent::with(&[&workdir, more].concat()),
            folder,
        }
    }

    /// The most memory that the agent ever had, in bytes.
    pub(crate) fn peak(&self) -> usize {
        let status = format!("/proc/{}/status", self.program.pid());
        let status = std::fs::read_to_string(status).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .unwrap();
        line.trim()
            .trim_end_matches(" kB")
            .parse::<usize>()
            .unwrap()
            * 1024
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The target of a request for a file in the folder.
    pub(crate) fn file(&self, name: &str) -> String {
        format!("/files?path={}", self.path(name).display())
    }

    pub(crate) fn connect(&self) -> UnixStream {
        UnixStream::connect(self.program.folder().join("agent.sock")).unwrap()
    }

    /// Sends a request with a body of known length and reads the head of the answer.
    pub(crate) fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        let mut stream = self.connect();
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n");
        if method == "POST" {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        // A request that is refused early may be cut short; its answer counts.
        let _sent = stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(body));
        Reply::read(stream)
    }

    pub(crate) fn get(&self, target: &str, headers: &[(&str, &str)]) -> Reply {
        self.send("GET", target, headers, b"")
    }

    /// Uploads one file as it is.
    pub(crate) fn put(&self, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let all = [&[("Content-Type", "application/octet-stream")], headers].concat();
        self.send("POST", target, &all, body)
    }

    /// Uploads a form; each file has a name and its content.
    pub(crate) fn form(&self, target: &str, files: &[(&str, &str)]) -> Reply {
        let mut body = String::new();
        for (name, content) in files {
            body += &format!(
                "--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
                 Content-Type: application/octet-stream\r\n\r\n{content}\r\n"
            );
        }
        body += "--XX--\r\n";
        let kind = [("Content-Type", "multipart/form-data; boundary=XX")];
        self.send("POST", target, &kind, body.as_bytes())
    }

    /// A unary call in JSON: its message, or the code and text of its error.
    pub(crate) fn call(&self, method: &str, message: Value) -> Result<Value, (String, String)> {
        let target = format!("/filesystem.Filesystem/{method}");
        let headers = [
            ("Content-Type", "application/json"),
            ("Connect-Protocol-Version", "1"),
        ];
        let reply = self.send("POST", &target, &headers, message.to_string().as_bytes());
        let status = reply.status;
        let answer = reply.json();
        match status {
            200 => Ok(answer),
            _ => Err((
                answer["code"].as_str().unwrap_or_default().to_owned(),
                answer["message"].as_str().unwrap_or_default().to_owned(),
            )),
        }
    }

    /// The code of the error that a call ends with.
    pub(crate) fn refused(&self, method: &str, message: Value) -> String {
        self.call(method, message).unwrap_err().0
    }

    /// Begins to stream from WatchDir.
    pub(crate) fn watch(&self, message: &Value) -> Events {
        self.watch_at("", message)
    }

    /// Like [`Agent::watch`], with more header lines.
    pub(crate) fn watch_at(&self, headers: &str, message: &Value) -> Events {
        let mut stream = self.connect();
        let message = message.to_string();
        let body = [
            &[0][..],
            &u32::try_from(message.len()).unwrap().to_be_bytes(),
            message.as_bytes(),
        ]
        .concat();
        write!(
            stream,
            "POST /filesystem.Filesystem/WatchDir HTTP/1.1\r\nHost: a\r\n\
             Content-Type: application/connect+json\r\n{headers}Content-Length: {}\r\n\r\n",
            body.len()
        )
        .unwrap();
        stream.write_all(&body).unwrap();
        let reply = Reply::read(stream);
        assert_eq!(reply.status, 200);
        Events(reply)
    }
}

/// An answer whose body is read as it is asked for.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    body: BufReader<UnixStream>,
    /// What is left of the chunk at hand, if the body comes in chunks.
    chunk: Option<usize>,
    left: usize,
}

impl Reply {
    pub(crate) fn read(stream: UnixStream) -> Self {
        let mut body = BufReader::new(stream);
        let mut line = || {
            let mut line = String::new();
            body.read_line(&mut line).unwrap();
            line.trim_end().to_owned()
        };
        let first = line();
        let status = first
            .split(' ')
            .nth(1)
            .unwrap_or_else(|| panic!("'{first}'"))
            .parse()
            .unwrap();
        let mut headers = HashMap::new();
        loop {
            let line = line();
            let Some((name, value)) = line.split_once(": ") else {
                break;
            };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let chunked = headers
            .get("transfer-encoding")
            .is_some_and(|coding| coding == "chunked");
        let length = headers
            .get("content-length")
            .map_or(0, |length| length.parse().unwrap());
        Self {
            status,
            headers,
            body,
            chunk: chunked.then_some(0),
            left: length,
        }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The whole body; less than was promised is an error.
    pub(crate) fn bytes(mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes).unwrap();
        assert!(self.chunk.is_some() || self.left == 0, "cut short");
        bytes
    }

    pub(crate) fn json(self) -> Value {
        let bytes = self.bytes();
        serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&bytes)))
    }

    /// The status and the text of a refusal.
    pub(crate) fn refusal(self) -> (u16, String) {
        let status = self.status;
        (status, self.json()["message"].as_str().unwrap().to_owned())
    }
}

impl Read for Reply {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.chunk == Some(0) {
            let mut line = String::new();
            while line.trim().is_empty() {
                line.clear();
                if self.body.read_line(&mut line)? == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
            }
            self.chunk = Some(usize::from_str_radix(line.trim(), 16).unwrap());
            if self.chunk == Some(0) {
                self.chunk = None;
                self.left = 0;
                return Ok(0);
            }
        }
        let most = self.chunk.unwrap_or(self.left).min(buffer.len());
        let read = self.body.read(&mut buffer[..most])?;
        match &mut self.chunk {
            Some(chunk) => *chunk -= read,
            None => self.left -= read,
        }
        Ok(read)
    }
}

/// The messages of a stream.
pub(crate) struct Events(Reply);

impl Events {
    /// The next message, and whether it is the end.
    pub(crate) fn message(&mut self) -> (bool, Value) {
        let mut head = [0; 5];
        self.0.read_exact(&mut head).unwrap();
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let mut message = vec![0; length as usize];
        self.0.read_exact(&mut message).unwrap();
        (head[0] & 2 != 0, serde_json::from_slice(&message).unwrap())
    }

    /// The next event: its name and type.
    pub(crate) fn event(&mut self) -> (String, String) {
        let (_, message) = self.message();
        told(&message["filesystem"])
    }
}

/// An event's name, and its type without what all types begin with.
pub(crate) fn told(event: &Value) -> (String, String) {
    let kind = event["type"].as_str().unwrap_or_else(|| panic!("{event}"));
    let name = event["name"].as_str().unwrap();
    (
        name.to_owned(),
        kind.trim_start_matches("EVENT_TYPE_").to_owned(),
    )
}

/// Runs a test of this file again where it may mount a small file system over `at`; the reason
/// if that can't be.
pub(crate) fn with_small_disk(test: &str, at: &Path) -> Result<(), &'static str> {
    if !is_root() {
        return Err("only root mounts");
    }
    let script = "mount -t tmpfs -o size=3m,nr_inodes=64 small \"$1\" && shift && exec \"$@\"";
    let status = std::process::Command::new("unshare")
        .args([
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            script,
            "sh",
        ])
        .arg(at)
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--ignored", "--nocapture"])
        .env("CASEMATE_SMALL_DISK", at)
        .status();
    match status {
        Ok(status) => {
            assert!(status.success());
            Ok(())
        }
        Err(_) => Err("there is no unshare program"),
    }
}
