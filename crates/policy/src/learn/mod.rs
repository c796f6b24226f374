//! The least policy that allows what was seen.
//!
//! ```text
//!  observations ──gather──▶ programs, what each did where ──write──▶ the policy's text
//!                   └── what no policy can allow, and why ─────────▶ left out
//! ```
//!
//! Each program gets an entry of its own, by path, digest and script, with an endpoint for each
//! host and port that it connected to. Where all that it said there were requests, each of them
//! becomes a rule; where it wasn't, any bytes may pass. Comments say what was seen and how often.
//!
//! What was seen was chosen by a program that isn't trusted, so a name that the format would take
//! for a pattern, or can't have at all, is left out and told apart.

mod gather;
mod write;

use std::collections::BTreeSet;
use std::fmt;

use crate::document::Document;
use crate::question::{Asked, Question};
use gather::Gathered;

/// Something that a program did.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Observation {
    /// The executable's path.
    pub binary: String,
    /// Its digest, if it's known.
    pub sha256: Option<[u8; 32]>,
    /// The script that it interpreted.
    pub script: Option<String>,
    /// Where it connected to: a name or an address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Method and canonical path of a request; none if it was a connection that wasn't understood.
    pub request: Option<(String, String)>,
    /// What was spoken on connections that weren't looked into, as far as that is known.
    pub spoken: BTreeSet<Spoken>,
    /// How often.
    pub times: u64,
    /// How many bytes went in both directions.
    pub bytes: u64,
}

/// What a connection begins like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Spoken {
    /// A ClientHello.
    Tls,
    /// A request of HTTP/1.
    Http,
    /// Something else.
    Other,
}

impl fmt::Display for Spoken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls => "TLS",
            Self::Http => "HTTP",
            Self::Other => "another protocol",
        })
    }
}

/// What the policy is laid over, and what its reader should know besides.
#[derive(Clone, Copy, Debug, Default)]
pub struct Around<'a> {
    /// The policy that it extends: the path to write, and what it says.
    pub base: Option<(&'a str, &'a Document)>,
    /// Let the working folder be written to: without a base, that has to be said.
    pub include_workdir: bool,
    /// Comments, a line each.
    pub remarks: &'a [String],
}

/// What was made of the observations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learnt {
    /// A policy without errors that allows all that isn't left out.
    pub text: String,
    /// How many programs it allows something.
    pub programs: usize,
    /// What it can't allow, each with the reason.
    pub left_out: Vec<(Observation, &'static str)>,
}

/// Makes the least policy that allows the observations.
pub fn learn(observations: &[Observation]) -> Learnt {
    learn_around(observations, &Around::default())
}

/// The same for a policy that is more than what was seen.
pub fn learn_around(observations: &[Observation], around: &Around<'_>) -> Learnt {
    let base = around.base.map(|(_, document)| &document.network);
    let mut gathered = Gathered::new(observations, base);
    let mut left_out = Vec::new();
    for observation in observations {
        if let Some(why) = gathered.add(observation) {
            left_out.push((observation.clone(), why));
        }
    }
    Learnt {
        text: write::policy(&gathered.programs, around, &left_out),
        programs: gathered.programs.len(),
        left_out,
    }
}

impl Observation {
    /// What a policy would have to be asked.
    pub fn question(&self) -> Question {
        Question {
            binary: self.binary.clone(),
            sha256: self.sha256,
            script: self.script.clone(),
            host: self.host.clone(),
            port: self.port,
            request: self.request.as_ref().map(|(method, path)| Asked {
                method: method.clone(),
                path: path.clone(),
                query: Vec::new(),
            }),
            ..Question::default()
        }
    }
}
