//! All of one session's state: its streams, and what is to be sent of it.

use crate::ended::{Code, Ended, Fault, Unopened};
use crate::flow::{Flow, Left};
use crate::frame::{Frame, encode};
use crate::{Door, STREAMS};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, oneshot, watch};

/// How many pings may be under way at one time.
const PINGS: usize = 16;

/// About how much the writer takes at a time, bytes: what has to be said between streams waits no
/// longer than for that.
const BATCH: usize = 64 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Host,
    Guest,
}

#[derive(Debug)]
pub(crate) struct Shared {
    side: Side,
    state: Mutex<State>,
    /// There is something to send.
    wake: Arc<Notify>,
    over: watch::Sender<Option<Ended>>,
}

#[derive(Debug, Default)]
struct State {
    flows: HashMap<u32, Flow>,
    /// The last stream that was opened.
    last: u32,
    /// Streams that have something to send, in the order of their turns.
    ready: VecDeque<u32>,
    /// The last ping, to be answered: whoever sends many doesn't care for each.
    pong: Option<[u8; 8]>,
    pings: VecDeque<Ping>,
    /// Streams that there was no room for.
    refused: VecDeque<(u32, Code)>,
    ended: Option<Ended>,
}

#[derive(Debug)]
struct Ping {
    token: [u8; 8],
    is_sent: bool,
    answered: oneshot::Sender<()>,
}

impl Shared {
    pub(crate) fn new(side: Side, wake: Arc<Notify>) -> Arc<Self> {
        Arc::new(Self {
            side,
            state: Mutex::default(),
            wake,
            over: watch::Sender::new(None),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn over(&self) -> watch::Receiver<Option<Ended>> {
        self.over.subscribe()
    }

    pub(crate) fn ended(&self) -> Option<Ended> {
        self.lock().ended
    }

    /// What waits to be read or sent, bytes.
    pub(crate) fn kept(&self) -> usize {
        self.lock().flows.values().map(Flow::kept).sum()
    }

    /// Does something with a stream that exists as long as its handle does. What is to be sent
    /// then is what the second of the answer says.
    pub(crate) fn with<T>(&self, id: u32, ask: impl FnOnce(&mut Flow) -> (T, bool)) -> Option<T> {
        let mut state = self.lock();
        let (answer, is_due) = ask(state.flows.get_mut(&id)?);
        if is_due {
            state.queue(id);
            self.wake.notify_one();
        }
        Some(answer)
    }

    /// The host's: a new stream.
    pub(crate) fn open(&self, door: Door) -> Result<u32, Unopened> {
        let mut state = self.lock();
        if let Some(why) = state.ended {
            return Err(Unopened::Ended(why));
        }
        if state.flows.len() >= STREAMS {
            return Err(Unopened::Full);
        }
        let Some(id) = state.last.checked_add(1) else {
            return Err(Unopened::Ended(Ended::Exhausted));
        };
        state.last = id;
        state.flows.insert(id, Flow::opened(door));
        state.queue(id);
        self.wake.notify_one();
        Ok(id)
    }

    /// A stream's handle is gone.
    pub(crate) fn let_go(&self, id: u32, code: Code) {
        let mut state = self.lock();
        let Some(flow) = state.flows.get_mut(&id) else {
            return;
        };
        if flow.let_go(code) || state.ended.is_some() {
            state.flows.remove(&id);
        } else {
            state.queue(id);
            self.wake.notify_one();
        }
    }

    /// A ping whose answer fills the other end of what is returned.
    pub(crate) fn ping(&self, token: [u8; 8]) -> Option<oneshot::Receiver<()>> {
        let mut state = self.lock();
        // Whoever gave up waiting takes no place.
        state.pings.retain(|ping| !ping.answered.is_closed());
        if state.ended.is_some() || state.pings.len() >= PINGS {
            return None;
        }
        let (answered, answer) = oneshot::channel();
        state.pings.push_back(Ping {
            token,
            is_sent: false,
            answered,
        });
        self.wake.notify_one();
        Some(answer)
    }

    /// Ends the session; the first reason stays.
    pub(crate) fn end(&self, why: Ended, forget: bool) {
        let mut state = self.lock();
        let why = *state.ended.get_or_insert(why);
        for flow in state.flows.values_mut() {
            flow.session_ended(why, forget);
        }
        state.ready = VecDeque::new();
        state.refused = VecDeque::new();
        state.pings = VecDeque::new();
        drop(state);
        self.over.send_replace(Some(why));
    }
}

/// What the other side says.
impl Shared {
    /// Takes one frame in; a stream that it opens is the answer.
    pub(crate) fn receive(&self, frame: Frame<'_>) -> Result<Option<(u32, Door)>, Fault> {
        let mut state = self.lock();
        match frame {
            Frame::Hello { .. } | Frame::Welcome { .. } => Err(Fault::Misplaced),
            Frame::Open { stream, door } => {
                let is_fresh = self.side == Side::Guest && stream > state.last;
                if !is_fresh {
                    return Err(Fault::Misplaced);
                }
                let opened = state.admit(stream, door)?;
                self.wake.notify_one();
                Ok(opened)
            }
            Frame::Data { stream, bytes } => state.tell(stream, |flow| flow.data(bytes)),
            Frame::Credit { stream, amount } => {
                state.tell(stream, |flow| flow.granted(amount))?;
                state.queue(stream);
                self.wake.notify_one();
                Ok(None)
            }
            Frame::End { stream } => state.tell(stream, |flow| {
                flow.ended();
                Ok(())
            }),
            Frame::Reset { stream, code } => state.tell(stream, |flow| {
                flow.was_reset(code);
                Ok(())
            }),
            Frame::Ping(token) => {
                state.pong = Some(token);
                self.wake.notify_one();
                Ok(None)
            }
            Frame::Pong(token) => {
                state.answer(token);
                Ok(None)
            }
        }
    }

    /// Adds what is to be sent now, as far as it fits into one batch.
    pub(crate) fn fill(&self, out: &mut Vec<u8>) {
        let mut state = self.lock();
        if state.ended.is_some() {
            return;
        }
        if let Some(token) = state.pong.take() {
            encode(Frame::Pong(token), out);
        }
        for ping in state.pings.iter_mut().filter(|ping| !ping.is_sent) {
            encode(Frame::Ping(ping.token), out);
            ping.is_sent = true;
        }
        for (stream, code) in state.refused.drain(..) {
            encode(Frame::Reset { stream, code }, out);
        }
        while out.len() < BATCH {
            let Some(id) = state.ready.pop_front() else {
                return;
            };
            state.turn(id, out);
        }
    }
}

impl State {
    fn queue(&mut self, id: u32) {
        if let Some(flow) = self.flows.get_mut(&id)
            && !std::mem::replace(&mut flow.queued, true)
        {
            self.ready.push_back(id);
        }
    }

    /// One stream's turn to send.
    fn turn(&mut self, id: u32, out: &mut Vec<u8>) {
        let Some(flow) = self.flows.get_mut(&id) else {
            return;
        };
        flow.queued = false;
        match flow.emit(id, out) {
            Left::More => self.queue(id),
            Left::Nothing => {}
            Left::Gone => {
                self.flows.remove(&id);
            }
        }
    }

    fn admit(&mut self, id: u32, door: Option<Door>) -> Result<Option<(u32, Door)>, Fault> {
        self.last = id;
        let code = match door {
            Some(door) if self.flows.len() < STREAMS => {
                self.flows.insert(id, Flow::default());
                return Ok(Some((id, door)));
            }
            Some(_) => Code::Full,
            None => Code::Unknown,
        };
        if self.refused.len() >= STREAMS {
            return Err(Fault::Flood);
        }
        self.refused.push_back((id, code));
        Ok(None)
    }

    /// Tells a stream something. What comes for one that is gone has crossed its reset.
    fn tell(
        &mut self,
        id: u32,
        tell: impl FnOnce(&mut Flow) -> Result<(), Fault>,
    ) -> Result<Option<(u32, Door)>, Fault> {
        match self.flows.get_mut(&id) {
            Some(flow) => tell(flow)?,
            None if id > self.last => return Err(Fault::NoStream),
            None => {}
        }
        Ok(None)
    }

    fn answer(&mut self, token: [u8; 8]) {
        let of = |ping: &Ping| ping.is_sent && ping.token == token;
        if let Some(ping) = self.pings.iter().position(of)
            && let Some(ping) = self.pings.remove(ping)
        {
            // It may have been given up.
            let _ = ping.answered.send(());
        }
    }
}
