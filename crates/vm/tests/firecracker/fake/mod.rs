//! A Firecracker of our own, without machines: it answers the API by its documented rules
//! (`src/firecracker/swagger/firecracker.yaml` of Firecracker, 1.17, and its `docs/`), and has for a
//! guest a few lines of this program. What it gets wrong of the real one, the tests get wrong too.
//!
//! - `http`: requests and answers; `rules`: which call is right when, and what it holds
//! - `machine`: what calls do; `memory`: its guest's pages; `guest`: what that answers over vsock
//! - `pages`: how it meets a page server
//! - `will`: how it misbehaves

mod guest;
mod http;
mod machine;
mod memory;
mod pages;
mod rules;
mod will;

pub(crate) use http::Request;
pub(crate) use will::Will;

use machine::Machine;
use serde_json::json;
use std::sync::{Arc, Mutex};
use tokio::io::BufReader;
use tokio::net::{UnixListener, UnixStream};

/// The release that it says it is.
pub(crate) const VERSION: &str = "1.17.0-fake";

/// It.
#[derive(Clone)]
pub(crate) struct Fake {
    machine: Arc<Mutex<Machine>>,
    will: Arc<Will>,
    heard: Arc<Mutex<Vec<Request>>>,
}

impl Fake {
    pub(crate) fn new(will: Will) -> Self {
        Self {
            machine: Arc::default(),
            will: Arc::new(will),
            heard: Arc::default(),
        }
    }

    /// What it was asked for, in order.
    pub(crate) fn heard(&self) -> Vec<Request> {
        self.heard.lock().expect("no panic").clone()
    }

    pub(crate) async fn listen(self, listener: UnixListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let fake = self.clone();
            tokio::spawn(async move { fake.serve(stream).await });
        }
    }

    pub(crate) async fn serve(self, stream: UnixStream) {
        let mut stream = BufReader::new(stream);
        while let Some(request) = http::read(&mut stream).await {
            self.heard.lock().expect("no panic").push(request.clone());
            match self.will.misbehaves(&request, stream.get_mut()).await {
                None => {}
                Some(true) => continue,
                Some(false) => return,
            }
            let answer = match rules::check(&self.machine, &request) {
                Ok(()) => machine::done(&self.machine, &request),
                Err(why) => Err(why),
            };
            let (status, body) = match answer {
                Ok(None) => (204, String::new()),
                Ok(Some(value)) => (200, value.to_string()),
                Err(why) => (400, json!({ "fault_message": why }).to_string()),
            };
            http::write(stream.get_mut(), status, &body).await;
        }
    }
}

/// As a process of its own, with Firecracker's arguments.
pub(crate) async fn run(args: &str, will: &str) {
    let mut words = args.split_whitespace();
    let socket = loop {
        match words.next() {
            Some("--api-sock") => break words.next().expect("a path"),
            Some(_) => {}
            None => panic!("no --api-sock in {args:?}"),
        }
    };
    println!("a fake starts");
    let listener = UnixListener::bind(socket).expect("it listens");
    Fake::new(Will::of(will)).listen(listener).await;
}
