//! Who has a turn next, and who waits.
//!
//! There is no thread of its own here. Whoever waits for an answer does, until it is there, whatever
//! turns are to be done; under a server, threads of the server's do as well ([`Canisters::work`]).
//! A call that calls nobody is one turn on its caller's thread, and touches nothing of this but its
//! own canister.

use super::ask::{Ask, Outcome};
use super::books::Known;
use super::canister::{Canister, Turn};
use super::deadline::Deadline;
use super::message::{Ended, Parcel, Response};
use super::phases::Phase;
use super::slot::{Slot, lock, principal};
use super::view::Asking;
use super::{CanisterError, Canisters, clock};
use crate::call::{Entry, Log, Origin, Outgoing, Principal, RejectCode};
use crate::module::EntryPoint;
use crate::store::{Document, Journal, Kept};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// How often a heartbeat comes.
const BEAT: Duration = Duration::from_secs(1);
/// The longest that is waited without looking at the clock.
const LOOK: Duration = Duration::from_secs(1);

/// All places, and what is to be done.
pub(super) struct Post {
    board: Mutex<Board>,
    changed: Condvar,
}

struct Board {
    slots: BTreeMap<String, Arc<Slot>>,
    names: HashMap<Principal, String>,
    /// Canisters that have something in their inbox.
    ready: VecDeque<Arc<Slot>>,
    /// Calls of the management canister.
    management: VecDeque<(Principal, u64, Outgoing)>,
    /// Turns that are being done for nobody in particular.
    running: usize,
    /// Calls from outside whose answer is waited for, by canister and context.
    awaited: HashMap<(Principal, u64), Awaited>,
    /// When to wake whom.
    due: BTreeSet<(u64, String)>,
    /// Canisters with a heartbeat.
    hearts: BTreeSet<String>,
    next_beat: Instant,
}

#[derive(Default)]
struct Awaited {
    by: usize,
    ended: Option<Ended>,
}

/// What is to be done next.
enum Task {
    Turn(Arc<Slot>),
    Management(Principal, u64, Outgoing),
}

/// How a call from outside began.
enum Began {
    Ended(Ended, Vec<Log>),
    Waits(u64, Vec<Log>),
}

impl Post {
    pub(super) fn over(names: &[String]) -> Self {
        let names = names.iter().map(|name| (principal(name), name.clone()));
        Self {
            board: Mutex::new(Board {
                slots: BTreeMap::new(),
                names: names.collect(),
                ready: VecDeque::new(),
                management: VecDeque::new(),
                running: 0,
                awaited: HashMap::new(),
                due: BTreeSet::new(),
                hearts: BTreeSet::new(),
                next_beat: Instant::now() + BEAT,
            }),
            changed: Condvar::new(),
        }
    }

    /// There is one more canister, and it is opened.
    pub(super) fn add(&self, name: &str, canister: Canister) -> Arc<Slot> {
        let slot = Arc::new(Slot::new(name));
        *slot.canister() = Some(canister);
        let mut board = lock(&self.board);
        board.names.insert(slot.principal, name.to_owned());
        board.slots.insert(name.to_owned(), slot.clone());
        slot
    }

    fn make_ready(&self, slot: &Arc<Slot>) {
        let mut board = lock(&self.board);
        if !board.ready.iter().any(|other| Arc::ptr_eq(other, slot)) {
            board.ready.push_back(slot.clone());
        }
        self.changed.notify_all();
    }
}

impl Canisters {
    /// The place of the canister of this name.
    pub(super) fn slot(&self, name: &str) -> Result<Arc<Slot>, CanisterError> {
        if let Some(slot) = lock(&self.post.board).slots.get(name) {
            return Ok(slot.clone());
        }
        if !self.shop.directory.home(name)?.is_dir() {
            return Err(CanisterError::NoCanister(name.to_owned(), self.names()?));
        }
        let mut board = lock(&self.post.board);
        let slot = board.slots.entry(name.to_owned());
        Ok(slot.or_insert_with(|| Arc::new(Slot::new(name))).clone())
    }

    pub(super) fn slot_of(&self, who: Principal) -> Option<Arc<Slot>> {
        let name = lock(&self.post.board).names.get(&who).cloned()?;
        self.slot(&name).ok()
    }

    /// The name of the canister of this principal.
    #[must_use]
    pub fn name_of(&self, who: Principal) -> Option<String> {
        lock(&self.post.board).names.get(&who).cloned()
    }

    /// All places that were asked for.
    pub(super) fn slots(&self) -> Vec<Arc<Slot>> {
        lock(&self.post.board).slots.values().cloned().collect()
    }

    pub(super) fn forget(&self, slot: &Slot) {
        slot.close(&mut slot.canister());
        let mut board = lock(&self.post.board);
        board.slots.remove(&slot.name);
        board.names.remove(&slot.principal);
        board.hearts.remove(&slot.name);
        let due = slot.due.swap(0, Ordering::Relaxed);
        board.due.remove(&(due, slot.name.clone()));
    }

    /// Does something with a canister, which is opened for it.
    pub(super) fn with<T>(
        &self,
        slot: &Arc<Slot>,
        work: impl FnOnce(&mut Canister) -> Result<T, CanisterError>,
    ) -> Result<T, CanisterError> {
        self.with_opened(slot, false, work)
    }

    /// The same. If it is opened to be asked something, its process gets ready meanwhile.
    pub(super) fn with_opened<T>(
        &self,
        slot: &Arc<Slot>,
        is_asked: bool,
        work: impl FnOnce(&mut Canister) -> Result<T, CanisterError>,
    ) -> Result<T, CanisterError> {
        let mut place = self.enter(slot);
        let (canister, is_new) = match &mut *place {
            Some(canister) => (canister, false),
            none => {
                let home = self.shop.directory.home(&slot.name)?;
                if !home.is_dir() {
                    drop(place);
                    return Err(CanisterError::NoCanister(slot.name.clone(), self.names()?));
                }
                let opened = Canister::recover_for(&self.shop, home, is_asked)?;
                (none.insert(opened), true)
            }
        };
        for (who, number) in slot.take_read() {
            canister.books.forget(who, number);
        }
        if is_asked && !slot.has_view() {
            // Queries that come meanwhile don't wait for what may take long.
            canister.warm()?;
            slot.show(canister);
        }
        let result = work(canister);
        // Not asked after all.
        canister.coming = None;
        slot.used.store(clock::now(), Ordering::Relaxed);
        let timer = Some(canister.statics.timer).filter(|timer| *timer > 0);
        let due = timer.into_iter().chain(canister.books.next_late()).min();
        let has_heart = canister.code.profile.has(EntryPoint::Heartbeat);
        let begun = canister.books.counts().1 + canister.books.unread().len();
        // Nobody is told of what may yet be lost; the canister goes on meanwhile.
        let seen = canister.journal.seen(self.shop.options.durability);
        canister.logbook.extend(&slot.take_printed());
        slot.show(canister);
        if canister.is_stale {
            // The next one who asks has it read again.
            slot.close(&mut place);
        }
        drop(place);
        if let Err(why) = self.until_kept(seen) {
            slot.close(&mut slot.canister());
            return Err(why.into());
        }
        self.watch(slot, due.unwrap_or(0), is_new && has_heart);
        if is_new && begun > 0 {
            self.catch_up(slot)?;
        }
        if slot.has_post() {
            self.post.make_ready(slot);
        }
        result
    }

    /// Notes when a canister has to be woken.
    fn watch(&self, slot: &Slot, due: u64, has_heart: bool) {
        let before = slot.due.swap(due, Ordering::Relaxed);
        if before == due && !has_heart {
            return;
        }
        let mut board = lock(&self.post.board);
        board.due.remove(&(before, slot.name.clone()));
        if due > 0 {
            board.due.insert((due, slot.name.clone()));
        }
        if has_heart {
            board.hearts.insert(slot.name.clone());
        }
        self.post.changed.notify_all();
    }

    /// Works out what was on its way to and from a canister when everything ended. What is delivered
    /// twice by it is known by its number, and dropped.
    fn catch_up(&self, slot: &Arc<Slot>) -> Result<(), CanisterError> {
        let own = slot.principal;
        let (calls, unread) = self.with(slot, |canister| {
            Ok((canister.books.unanswered(), canister.books.unread()))
        })?;
        for (number, call) in calls {
            let known = match self.slot_of(call.callee) {
                Some(callee) => self.with(&callee, |callee| Ok(callee.books.known(own, number)))?,
                None => Known::No,
            };
            let parcel = match known {
                Known::Begun => continue,
                Known::No => Parcel::Request {
                    from: own,
                    number,
                    call,
                },
                Known::Answered(response) => Parcel::Response {
                    to: own,
                    number,
                    from: call.callee,
                    response,
                },
            };
            self.deliver(slot, vec![parcel]);
        }
        for (who, number) in unread {
            let waits = match self.slot_of(who) {
                Some(caller) => self.with(&caller, |caller| Ok(caller.books.awaits(number)))?,
                None => false,
            };
            if !waits {
                slot.note_read(who, number);
            }
        }
        Ok(())
    }

    /// Brings what a canister's turn left to whom it is for.
    pub(super) fn deliver(&self, from: &Slot, parcels: Vec<Parcel>) {
        if parcels.is_empty() {
            return;
        }
        let began = Instant::now();
        for parcel in parcels {
            match parcel {
                Parcel::Request { from, number, call } if call.callee == Principal::MANAGEMENT => {
                    let mut board = lock(&self.post.board);
                    board.management.push_back((from, number, call));
                    self.post.changed.notify_all();
                }
                Parcel::Request { from, number, call } => match self.slot_of(call.callee) {
                    Some(slot) => {
                        slot.put(Parcel::Request { from, number, call });
                        self.post.make_ready(&slot);
                    }
                    None => {
                        let why = format!("there is no canister {}", call.callee);
                        let code = RejectCode::DestinationInvalid;
                        let response = Response::reject(code, why, call.cycles);
                        self.respond(call.callee, from, number, response);
                    }
                },
                Parcel::Response {
                    to,
                    number,
                    from,
                    response,
                } => self.respond(from, to, number, response),
                Parcel::Answer { context, ended } => {
                    let mut board = lock(&self.post.board);
                    if let Some(awaited) = board.awaited.get_mut(&(from.principal, context)) {
                        awaited.ended = Some(ended);
                        self.post.changed.notify_all();
                    }
                }
            }
        }
        self.shop.phases.since(Phase::Delivery, began);
    }

    /// Brings a response to a canister.
    fn respond(&self, from: Principal, to: Principal, number: u64, response: Response) {
        if let Some(slot) = self.slot_of(to) {
            slot.put(Parcel::Response {
                to,
                number,
                from,
                response,
            });
            self.post.make_ready(&slot);
        }
    }

    /// Calls a method; what it changes is kept.
    pub fn call(&self, name: &str, ask: Ask) -> Result<Outcome, CanisterError> {
        let slot = self.slot(name)?;
        let deadline = ask.deadline;
        let came = deadline.map(|_| Instant::now());
        let mut parcels = Vec::new();
        let began = self.with_opened(&slot, true, |canister| {
            if let Some(came) = came {
                Deadline::of(&ask).check(name, came)?;
            }
            let (began, rest) = self.begin(&slot, canister, ask)?;
            parcels = rest;
            Ok(began)
        })?;
        self.deliver(&slot, parcels);
        let (ended, logs) = match began {
            Began::Ended(ended, logs) => (ended, logs),
            Began::Waits(context, logs) => (self.wait(&slot, context, deadline)?, logs),
        };
        Ok(Outcome {
            result: ended.result,
            instructions: ended.instructions,
            logs,
            kept: self.kept(&slot),
        })
    }

    /// Asks a method; nothing that it does is kept. It waits for no turn of the canister.
    pub fn query(&self, name: &str, ask: Ask) -> Result<Outcome, CanisterError> {
        match self.query_once(name, ask.clone()) {
            Err(CanisterError::Changed(_)) => self.query_once(name, ask),
            asked => asked,
        }
    }

    fn query_once(&self, name: &str, ask: Ask) -> Result<Outcome, CanisterError> {
        let slot = self.slot(name)?;
        let (mut deadline, came) = (Deadline::of(&ask), Instant::now());
        let _asking = Asking::of(&slot);
        let view = self.view(&slot, &ask.method)?;
        deadline.check(name, came)?;
        let call = view.asked(ask)?;
        if call.entry.is_composite() {
            return self.compose(&slot, view, &call, deadline);
        }
        let run = || view.queries.query(&call, &mut deadline);
        let ran = match self.shop.phases.of(Phase::Query, run) {
            Ok(ran) => ran,
            Err(why) => {
                self.with(&slot, |canister| {
                    canister.crashed(&view.queries, &why);
                    Ok(())
                })?;
                return Err(why.into());
            }
        };
        self.printed(&slot, &ran.effects.logs)?;
        self.settled(&slot, &view)?;
        Ok(Outcome {
            result: ran.result,
            instructions: ran.instructions,
            logs: ran.effects.logs,
            // It has done nothing.
            kept: Kept::Written,
        })
    }

    fn begin(
        &self,
        slot: &Slot,
        canister: &mut Canister,
        ask: Ask,
    ) -> Result<(Began, Vec<Parcel>), CanisterError> {
        let key = ask.key.clone();
        if let Some(key) = &key {
            if let Some(ended) = canister.books.ended(key) {
                return Ok((Began::Ended(ended.clone(), Vec::new()), Vec::new()));
            }
            if let Some(context) = canister.books.begun(key) {
                self.await_answer(slot, context);
                return Ok((Began::Waits(context, Vec::new()), Vec::new()));
            }
        }
        let turn = canister.begin(Origin::Outside(key), ask)?;
        let (own, parcels): (Vec<_>, Vec<_>) = turn.parcels.into_iter().partition(
            |parcel| matches!(parcel, Parcel::Answer { context, .. } if *context == turn.context),
        );
        let began = match own.into_iter().next() {
            Some(Parcel::Answer { ended, .. }) => Began::Ended(ended, turn.logs),
            _ => {
                // Before the canister has another turn: that may be the one that answers.
                self.await_answer(slot, turn.context);
                Began::Waits(turn.context, turn.logs)
            }
        };
        Ok((began, parcels))
    }

    fn await_answer(&self, slot: &Slot, context: u64) {
        let mut board = lock(&self.post.board);
        board
            .awaited
            .entry((slot.principal, context))
            .or_default()
            .by += 1;
    }

    /// Does what is to be done until a call is answered.
    fn wait(
        &self,
        slot: &Slot,
        context: u64,
        deadline: Option<Instant>,
    ) -> Result<Ended, CanisterError> {
        let key = (slot.principal, context);
        loop {
            if let Some(ended) = self.answer_of(key) {
                return Ok(ended);
            }
            if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                self.give_up(key);
                return Err(CanisterError::Late(slot.name.clone()));
            }
            if !self.step() && !self.sleep(deadline, Some(key)) {
                self.give_up(key);
                return Err(CanisterError::Waits(slot.name.clone()));
            }
        }
    }

    fn answer_of(&self, key: (Principal, u64)) -> Option<Ended> {
        let ended = lock(&self.post.board).awaited.get(&key)?.ended.clone()?;
        self.give_up(key);
        Some(ended)
    }

    fn give_up(&self, key: (Principal, u64)) {
        let mut board = lock(&self.post.board);
        if let Some(awaited) = board.awaited.get_mut(&key) {
            awaited.by -= 1;
            if awaited.by == 0 {
                board.awaited.remove(&key);
            }
        }
    }

    /// Waits until there may be something to do. False if nothing can ever happen.
    fn sleep(&self, deadline: Option<Instant>, awaited: Option<(Principal, u64)>) -> bool {
        let board = lock(&self.post.board);
        let is_there = awaited.is_some_and(|key| {
            let found = board.awaited.get(&key);
            found.is_some_and(|awaited| awaited.ended.is_some())
        });
        if is_there || !board.ready.is_empty() || !board.management.is_empty() {
            return true;
        }
        let is_idle = board.running == 0 && board.due.is_empty() && board.hearts.is_empty();
        if is_idle && self.shop.options.is_alone && awaited.is_some() {
            return false;
        }
        let mut wait = LOOK;
        if let Some((due, _)) = board.due.first() {
            wait = wait.min(clock::until(*due));
        }
        if !board.hearts.is_empty() {
            wait = wait.min(board.next_beat.saturating_duration_since(Instant::now()));
        }
        if let Some(deadline) = deadline {
            wait = wait.min(deadline.saturating_duration_since(Instant::now()));
        }
        let waited = self.post.changed.wait_timeout(board, wait);
        drop(waited);
        true
    }

    /// Does one thing that is to be done: a turn of a canister, or what the management canister is
    /// asked. False if there is none.
    pub fn step(&self) -> bool {
        self.wake_due();
        let task = {
            let mut board = lock(&self.post.board);
            let management = board.management.pop_front();
            let task = match management {
                Some((from, number, call)) => Some(Task::Management(from, number, call)),
                None => board.ready.pop_front().map(Task::Turn),
            };
            if task.is_some() {
                board.running += 1;
            }
            task
        };
        let Some(task) = task else {
            return false;
        };
        match task {
            Task::Turn(slot) => self.turn(&slot),
            Task::Management(from, number, call) => {
                let response = self.manage(from, number, &call);
                self.respond(Principal::MANAGEMENT, from, number, response);
            }
        }
        lock(&self.post.board).running -= 1;
        self.post.changed.notify_all();
        true
    }

    /// One turn of a canister, for what came first of what came.
    fn turn(&self, slot: &Arc<Slot>) {
        let Some(parcel) = slot.take() else {
            return;
        };
        match parcel {
            Parcel::Request { from, number, call } => {
                let (cycles, ask) = (call.cycles, asked(from, call));
                let begin = |canister: &mut Canister| match canister.books.known(from, number) {
                    Known::No => canister.begin(Origin::Canister(from, number), ask),
                    Known::Begun | Known::Answered(_) => Ok(Turn::default()),
                };
                match self.with_opened(slot, true, begin) {
                    Ok(turn) => self.deliver(slot, turn.parcels),
                    Err(why) => {
                        let response = Response::reject(why.code(), why.to_string(), cycles);
                        self.respond(slot.principal, from, number, response);
                    }
                }
            }
            Parcel::Response {
                number,
                from,
                response,
                ..
            } => {
                let answered = |canister: &mut Canister| canister.answered(number, &response);
                let turn = self.with_opened(slot, true, answered);
                // Otherwise it couldn't be written down: it is asked for again when the canister
                // is opened the next time.
                if let Ok(turn) = turn {
                    if let Some(callee) = self.slot_of(from) {
                        callee.note_read(slot.principal, number);
                    }
                    self.deliver(slot, turn.parcels);
                }
            }
            Parcel::Answer { .. } => {}
        }
    }

    /// Lets timers go off, answers calls that waited too long, and beats hearts.
    fn wake_due(&self) {
        let now = clock::now();
        let (due, hearts) = {
            let mut board = lock(&self.post.board);
            let late = |(due, _): &&(u64, String)| *due <= now;
            let due: Vec<_> = board.due.iter().take_while(late).cloned().collect();
            for entry in &due {
                board.due.remove(entry);
            }
            let is_time = !board.hearts.is_empty() && board.next_beat <= Instant::now();
            if is_time {
                board.next_beat = Instant::now() + BEAT;
            }
            let hearts = is_time.then(|| board.hearts.iter().cloned().collect::<Vec<_>>());
            (due, hearts.unwrap_or_default())
        };
        for (_, name) in due {
            if let Ok(slot) = self.slot(&name) {
                // What is due next is noted anew by the turn.
                slot.due.store(0, Ordering::Relaxed);
                self.wake(&slot, now);
            }
        }
        for name in hearts {
            if let Ok(slot) = self.slot(&name) {
                self.beat(&slot);
            }
        }
    }

    /// What is due in a canister. A canister that doesn't run isn't woken.
    fn wake(&self, slot: &Arc<Slot>, now: u64) {
        let woken = self.with(slot, |canister| {
            let late = canister.books.late(now);
            let timer = canister.statics.timer;
            let is_due = timer > 0 && timer <= now && canister.is_running();
            let has_timer = canister.code.profile.has(EntryPoint::GlobalTimer);
            match is_due && has_timer {
                true => canister.wake(Entry::Timer).map(|turn| (late, turn)),
                false => {
                    if is_due {
                        canister.statics.timer = 0;
                    }
                    Ok((late, Turn::default()))
                }
            }
        });
        if let Ok((late, turn)) = woken {
            self.deliver(slot, turn.parcels);
            for number in late {
                let why = "no answer came in time";
                let response = Response::reject(RejectCode::SysUnknown, why, 0);
                self.respond(Principal::MANAGEMENT, slot.principal, number, response);
            }
        }
    }

    fn beat(&self, slot: &Arc<Slot>) {
        let beaten = self.with(slot, |canister| match canister.is_running() {
            true => canister.wake(Entry::Heartbeat),
            false => Ok(Turn::default()),
        });
        if let Ok(turn) = beaten {
            self.deliver(slot, turn.parcels);
        }
    }

    /// Does what is to be done, until then: calls between canisters, timers, heartbeats. A server
    /// has threads for it.
    pub fn work(&self, until: Instant) {
        while Instant::now() < until {
            if !self.step() {
                self.sleep(Some(until), None);
            }
        }
    }

    /// Does what is to be done now, but not for longer than this.
    pub fn settle(&self, patience: Duration) {
        let until = Instant::now() + patience;
        while Instant::now() < until && self.step() {}
    }

    /// Opens every canister that has something to do: calls under way, a timer, a heartbeat.
    pub fn wake_all(&self) -> Result<(), CanisterError> {
        for name in self.names()? {
            let home = self.shop.directory.home(&name)?;
            let document = Document::read(&home)?;
            let calls = Document::calls(&home, document.journal);
            let has_calls = Journal::has_calls(&calls);
            if document.timer > 0 || document.has_heartbeat || document.is_waiting || has_calls {
                let slot = self.slot(&name)?;
                self.with(&slot, |_| Ok(()))?;
            }
        }
        Ok(())
    }

    /// What a server does all the time, once: timers that are due, each heartbeat, and what comes of
    /// them.
    pub fn tick(&self, patience: Duration) -> Result<(), CanisterError> {
        self.wake_all()?;
        self.wake_due();
        let hearts = lock(&self.post.board).hearts.clone();
        for name in hearts {
            self.beat(&self.slot(&name)?);
        }
        self.settle(patience);
        Ok(())
    }
}

/// What a canister asks of another, as anybody's.
fn asked(from: Principal, call: Outgoing) -> Ask {
    Ask {
        method: call.method,
        argument: call.argument,
        caller: from,
        cycles: call.cycles,
        key: None,
        deadline: None,
    }
}
