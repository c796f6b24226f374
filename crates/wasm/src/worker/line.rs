//! What requests come by, and what is said of them.

use super::message::{Reply, Request, Word};
use crate::call::{Pace, Pacer, Pause};
use casemate_sys::pages::ring::{self, End};
use std::time::{Duration, Instant};

/// After so long without a request, what the last one took is given back.
const IDLE: Duration = Duration::from_secs(50);
/// How long a worker waits then, before it looks again whether anybody is there.
const LONG: Duration = Duration::from_secs(3600);
/// How long a reply may wait to be taken.
const PATIENCE: Duration = Duration::from_secs(60);

/// The worker's end of a ring, and the request that is being answered.
pub(super) struct Line {
    end: End,
    frame: Vec<u8>,
    number: u64,
    /// Nobody asks any more, or what is said makes no sense.
    is_over: bool,
}

impl Line {
    pub(super) fn over(end: End) -> Self {
        Self {
            end,
            frame: Vec::new(),
            number: 0,
            is_over: false,
        }
    }

    /// The next request, which is then the one that is answered; none when it is over.
    pub(super) fn next(&mut self) -> Option<Request> {
        let (number, request) = self.receive()?;
        self.number = number;
        Some(request)
    }

    /// Answers it. False when it is over.
    pub(super) fn say(&mut self, word: Word) -> bool {
        let number = self.number;
        let reply = Reply { number, word }.to_bytes();
        let sent = self.end.send(&reply, Instant::now() + PATIENCE);
        self.is_over |= sent.is_err();
        !self.is_over
    }

    fn receive(&mut self) -> Option<(u64, Request)> {
        let mut patience = IDLE;
        while !self.is_over {
            match self.wait(patience) {
                Ok(()) => {
                    let request = Request::from_bytes(&self.frame).ok();
                    self.is_over = request.is_none();
                    return request;
                }
                Err(ring::Error::Late) => patience = LONG,
                Err(_) => self.is_over = true,
            }
        }
        None
    }

    /// Waits for a frame. If none comes, nothing is held for one.
    fn wait(&mut self, patience: Duration) -> Result<(), ring::Error> {
        let waited = self.end.receive(&mut self.frame, Instant::now() + patience);
        if waited == Err(ring::Error::Late) {
            self.frame = Vec::new();
        }
        waited
    }
}

/// The controller is asked. One that is gone wants nothing more of the call.
impl Pacer for Line {
    fn pause(&mut self, pause: &Pause) -> Pace {
        if !self.say(Word::Paused(*pause)) {
            return Pace::Abort;
        }
        match self.receive() {
            Some((number, Request::Go(pace))) if number == self.number => pace,
            _ => {
                self.is_over = true;
                Pace::Abort
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Call;
    use casemate_sys::pages::ring::Ring;
    use rustix::fd::AsFd;
    use std::sync::Arc;

    #[test]
    fn who_is_idle_gives_back_what_a_frame_took() {
        let ring = Ring::new().unwrap();
        let other = ring.as_fd().try_clone_to_owned().unwrap();
        let mut caller = ring.caller().unwrap();
        let mut line = Line::over(Ring::adopt(other).unwrap().callee().unwrap());
        let mut call = Call::nothing();
        call.argument = vec![7; 1 << 20];
        let request = Request::Run(Arc::new(call)).to_bytes(1);
        let asked = std::thread::spawn(move || {
            caller.send(&request, Instant::now() + PATIENCE).unwrap();
            caller
        });
        assert!(line.next().is_some());
        let _caller = asked.join().unwrap();
        assert!(line.frame.capacity() > 1 << 20);
        assert_eq!(line.wait(Duration::ZERO), Err(ring::Error::Late));
        assert_eq!(line.frame.capacity(), 0);
    }
}
