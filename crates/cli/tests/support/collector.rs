//! A collector of OpenTelemetry's.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use serde_json::Value;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A collector: what it was sent. The first request has to be repeated.
pub(crate) fn collector() -> (String, Arc<Mutex<Vec<Value>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let requests: Arc<Mutex<Vec<Value>>> = Arc::default();
    let there = Arc::clone(&requests);
    thread::spawn(move || {
        for (number, stream) in listener.incoming().flatten().enumerate() {
            let busy = number == 0;
            let request = answer(stream, busy);
            there.lock().unwrap().extend(request.filter(|_| !busy));
        }
    });
    (url, requests)
}

fn answer(mut stream: TcpStream, busy: bool) -> Option<Value> {
    let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        read.extend_from_slice(&buffer[..count]);
        let Some(end) = read.windows(4).position(|own| own == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8(read[..end].to_vec())
            .unwrap()
            .to_lowercase();
        assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
        assert!(head.contains("content-type: application/json"), "{head}");
        let length = head.split("content-length: ").nth(1).unwrap();
        let length: usize = length.lines().next().unwrap().parse().unwrap();
        if read.len() < end + 4 + length {
            continue;
        }
        let (status, body) = match busy {
            true => ("503 Service Unavailable", ""),
            false => ("200 OK", "{\"partialSuccess\":{}}"),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream
            .write_all(format!("{head}{body}").as_bytes())
            .unwrap();
        return Some(serde_json::from_slice(&read[end + 4..]).unwrap());
    }
}

/// An attribute of a span.
pub(crate) fn attribute(span: &Value, name: &str) -> Option<String> {
    let attributes = span["attributes"].as_array().unwrap();
    let found = attributes.iter().find(|own| own["key"] == name)?;
    let value = &found["value"];
    let text = value["stringValue"].as_str().or(value["intValue"].as_str());
    Some(text.unwrap().to_owned())
}
