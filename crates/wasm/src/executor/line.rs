//! What is asked of a worker, and what it says: this side of a ring.

use super::kept::Kept;
use super::life::Life;
use super::review::review;
use super::slices::Slices;
use super::{Code, Crash};
use crate::call::{Call, Pace, Pacer};
use crate::guest::State;
use crate::worker::message::{Done, Reply, Request, Word};
use casemate_sys::pages::ring::{self, End};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The most that is told of why a worker gave up, bytes.
const LONGEST_REASON: usize = 4 << 10;

/// The controller's end of a ring.
pub(super) struct Line {
    end: End,
    life: Arc<Life>,
    code: Arc<Code>,
    /// How long the worker may take for a request, or for a slice of it.
    patience: Duration,
    number: u64,
    frame: Vec<u8>,
}

impl Line {
    pub(super) fn new(end: End, life: &Arc<Life>, code: &Arc<Code>, patience: Duration) -> Self {
        Self {
            end,
            life: life.clone(),
            code: code.clone(),
            patience,
            number: 0,
            frame: Vec::new(),
        }
    }

    /// Asks, of a canister in this state. A worker that answers what can't be is ended.
    pub(super) fn ask(
        &mut self,
        request: &Request,
        call: Option<&Call>,
        before: &State,
        pacer: &mut dyn Pacer,
    ) -> Result<Done, Crash> {
        self.begin(request)?;
        self.say(request)?;
        self.answer(request, call, before, pacer)
    }

    /// All that is said until the next one is part of this request.
    fn begin(&mut self, request: &Request) -> Result<(), Crash> {
        self.life.check()?;
        self.life.worker.note(&name(request));
        self.number += 1;
        Ok(())
    }

    fn answer(
        &mut self,
        request: &Request,
        call: Option<&Call>,
        before: &State,
        pacer: &mut dyn Pacer,
    ) -> Result<Done, Crash> {
        let code = self.code.clone();
        let mut slices = call.map(|call| Slices::of(call, &code.profile));
        let done = self.hear_out(slices.as_mut(), pacer)?;
        let runs = [&done.heap, &done.stable];
        // Only the places of queries leave what a composite query wrote.
        let query = call.filter(|_| matches!(request, Request::Query(..)));
        let goes_on = query.is_some_and(|call| call.goes_on(&done.ran));
        let is_told = match done.at.is_some() == goes_on {
            true => Ok(()),
            false => Err("pages of a query that doesn't go on, or none of one that does"),
        };
        let reviewed = is_told
            .and_then(|()| review(&code.profile, before, call, &done.ran, runs, goes_on))
            .and_then(|()| slices.map_or(Ok(()), |slices| slices.end(&done)));
        reviewed.map_err(|what| self.life.end(&format!("it answered {what}")))?;
        Ok(done)
    }

    /// Asks a query that goes on: the worker first becomes what is kept of it.
    pub(super) fn ask_on(
        &mut self,
        kept: &Kept,
        committed: Option<State>,
        request: &Request,
        call: &Call,
        pacer: &mut dyn Pacer,
    ) -> Result<Done, Crash> {
        self.begin(request)?;
        self.say(&Request::Resume(committed, kept.base(), kept.state.clone()))?;
        kept.give(|which, page, bytes| {
            self.say(&Request::Put(which as u8, page as u64, bytes.to_vec()))
        })?;
        self.say(request)?;
        self.answer(request, Some(call), &kept.state, pacer)
    }

    /// What the worker left of a query was taken.
    pub(super) fn forget(&mut self) -> Result<(), Crash> {
        self.say(&Request::Forget)
    }

    /// Lets a call run from slice to slice.
    fn hear_out(
        &mut self,
        mut slices: Option<&mut Slices<'_>>,
        pacer: &mut dyn Pacer,
    ) -> Result<Done, Crash> {
        loop {
            let pause = match self.hear()? {
                Word::Done(done) => return Ok(done),
                Word::Failed(why) => return Err(self.life.end(&quoted(&why))),
                Word::Paused(pause) => pause,
            };
            let reviewed = match &mut slices {
                Some(slices) => slices.pause(&pause),
                None => Err("a pause where no code runs"),
            };
            reviewed.map_err(|what| self.life.end(&format!("it answered {what}")))?;
            let pace = pacer.pause(&pause);
            if let (Pace::Abort, Some(slices)) = (pace, &mut slices) {
                slices.abort();
            }
            self.say(&Request::Go(pace))?;
        }
    }

    fn say(&mut self, request: &Request) -> Result<(), Crash> {
        let deadline = Instant::now() + self.patience;
        let sent = self.end.send(&request.to_bytes(self.number), deadline);
        sent.map_err(|why| match why {
            // Nothing was sent, and it isn't the worker's fault.
            ring::Error::TooLong { .. } => Crash::Refused(why.to_string()),
            other => self.life.end(&other),
        })
    }

    fn hear(&mut self) -> Result<Word, Crash> {
        let deadline = Instant::now() + self.patience;
        let received = self.end.receive(&mut self.frame, deadline);
        received.map_err(|why| self.life.end(&why))?;
        let reply = Reply::from_bytes(&self.frame).map_err(|why| self.life.end(&why))?;
        match reply.number == self.number {
            true => Ok(reply.word),
            false => Err(self.life.end("it answered another request")),
        }
    }
}

/// What a worker says for people to read: it may be anything.
pub(super) fn quoted(text: &str) -> String {
    let lines = text.lines().map(|line| line.escape_debug().to_string());
    let mut text = lines.collect::<Vec<_>>().join("\n");
    text.truncate(text.floor_char_boundary(LONGEST_REASON));
    text
}

fn name(request: &Request) -> String {
    match request {
        Request::Initialise => "initialise".to_owned(),
        Request::Go(_) => "go on, or don't".to_owned(),
        Request::Resume(..) | Request::Put(..) => "become what a query left".to_owned(),
        Request::Forget => "forget what a query left".to_owned(),
        Request::Run(call) | Request::Query(_, call) => {
            let entry = call
                .entry
                .export()
                .unwrap_or_else(|| "a callback".to_owned());
            format!("{entry}, with {} bytes", call.argument.len())
        }
    }
}
