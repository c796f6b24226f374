//! Waiting for the other side: first by looking again for a moment, then asleep.
//!
//! Waking a processor that sleeps takes longer than all the rest of a call, so it is worth looking
//! again for a moment, if the other side is really running meanwhile. On the same processor it
//! can't be; and where it was in vain, the next waits don't try, twice as many after each time.
//!
//! A moment is 2 µs, or twice what the last wait took that was not in vain, up to 20 µs: what comes
//! between a reply and the next call is as long each time, while calls follow each other.
//!
//! Two sides that both sleep on processors of their own would never meet that way: each wakes long
//! after the other has gone to sleep again. So who was woken after little more than a wake-up takes
//! looks for that long the next time, and anybody once in 64 waits; if that is in vain, only the
//! latter. Whoever meets once goes on meeting.

use super::layout::{Shared, Side};
use super::{Breach, Error};
use crate::{Errno, check};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering, fence};
use std::time::{Duration, Instant};

/// How long it is looked again, before going to sleep, by who knows nothing of the other side.
const LOOKING: Duration = Duration::from_micros(2);
/// The longest, by who met the other side so late the last time.
const LOOKING_MOST: Duration = Duration::from_micros(20);
/// From so many blind waits on, nothing is known of the other side any more.
const FORGETS: u32 = 15;
/// The same, once in [`RARELY`] waits, and after a short sleep.
const LOOKING_LONG: Duration = Duration::from_micros(100);
/// A sleep in which there was hardly more than two processors that woke each other.
const SHORT_SLEEP: Duration = Duration::from_micros(150);
/// How many waits for one that looks long.
const RARELY: u32 = 64;
/// How often it is looked before the clock is asked.
const LOOKS: u32 = 16;
/// The most waits that don't look again, after many that did in vain.
const MOST_BLIND: u32 = 255;
/// The longest that a side sleeps before it looks whether the other one has ended.
const SLICE: Duration = Duration::from_millis(100);
/// How often it may be woken for nothing while it waits once.
const NOISE: u32 = 1000;

/// What one side sleeps on, and the other one rings.
#[repr(C)]
pub(super) struct Bell {
    /// How often it was rung: the futex.
    rung: AtomicU32,
    /// Whether somebody sleeps, or is about to.
    asleep: AtomicU32,
}

impl Bell {
    /// Wakes who sleeps here, if somebody does.
    pub(super) fn ring(&self) {
        // What was told before must be seen by who isn't asleep yet.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) != 0 && self.asleep.swap(0, Ordering::SeqCst) != 0 {
            self.ring_always();
        }
    }

    pub(super) fn ring_always(&self) {
        self.rung.fetch_add(1, Ordering::SeqCst);
        let word = self.rung.as_ptr();
        // SAFETY: the pointer is to living memory. The futex is shared: other processes have it.
        unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE, 1) };
    }

    /// Sleeps until it is rung more than `rung` times, or so long.
    fn sleep(&self, rung: u32, at_most: Duration) -> Result<(), Errno> {
        let timeout = libc::timespec {
            tv_sec: at_most.as_secs() as libc::time_t,
            tv_nsec: at_most.subsec_nanos().into(),
        };
        let word = self.rung.as_ptr();
        // SAFETY: both pointers are to living memory.
        check(unsafe {
            libc::syscall(
                libc::SYS_futex,
                word,
                libc::FUTEX_WAIT,
                rung,
                &raw const timeout,
            )
        })?;
        Ok(())
    }
}

/// How one end waits.
pub(super) struct Waiter {
    shared: Arc<Shared>,
    side: Side,
    other: Option<OwnedFd>,
    /// How many waits there were while the other side was elsewhere.
    waits: u32,
    /// How many waits still don't look again, and how many didn't after the last that did in vain.
    blind: u32,
    penalty: u32,
    looking: Duration,
    /// The last sleep was short.
    slept_shortly: bool,
    /// The last long look was in vain.
    looked_in_vain: bool,
}

impl Waiter {
    pub(super) fn new(shared: Arc<Shared>, side: Side) -> Self {
        Self {
            shared,
            side,
            other: None,
            waits: 0,
            blind: 0,
            penalty: 0,
            looking: LOOKING,
            slept_shortly: false,
            looked_in_vain: false,
        }
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    pub(super) fn watch(&mut self, other: OwnedFd) {
        self.other = Some(other);
    }

    /// Waits until `ready`, which looks at what the other side tells, is true or an error.
    pub(super) fn until(
        &mut self,
        bell: impl Fn(&Shared) -> &Bell,
        deadline: Instant,
        mut ready: impl FnMut(&Shared) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let shared = self.shared();
        if ready(&shared)? || self.look_again(&shared, &mut ready)? {
            return Ok(());
        }
        let bell = bell(&shared);
        let begun = Instant::now();
        let mut woken = 0;
        loop {
            let rung = bell.rung.load(Ordering::SeqCst);
            bell.asleep.store(1, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            let slept = if ready(&shared)? {
                bell.asleep.store(0, Ordering::Relaxed);
                return Ok(());
            } else if shared.is_cut() {
                Err(Error::Gone)
            } else {
                self.sleep(bell, rung, deadline)
            };
            bell.asleep.store(0, Ordering::Relaxed);
            // What was sent before the other side ended counts.
            if ready(&shared)? {
                self.slept_shortly = begun.elapsed() < SHORT_SLEEP;
                return Ok(());
            }
            woken += u32::from(slept?);
            if woken > NOISE {
                return Err(Error::Breach(Breach::Noise));
            }
        }
    }

    /// Sleeps for a slice; true if it was woken.
    fn sleep(&self, bell: &Bell, rung: u32, deadline: Instant) -> Result<bool, Error> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::Late);
        }
        match bell.sleep(rung, left.min(SLICE)) {
            Ok(()) | Err(Errno::AGAIN) => Ok(true),
            Err(Errno::INTR) => Ok(false),
            Err(_) if self.other_has_ended() => Err(Error::Gone),
            Err(_) => Ok(false),
        }
    }

    fn other_has_ended(&self) -> bool {
        let Some(other) = &self.other else {
            return false;
        };
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut watched = [PollFd::new(other, PollFlags::IN)];
        matches!(poll(&mut watched, Some(&now)), Ok(1))
    }

    fn look_again(
        &mut self,
        shared: &Shared,
        ready: &mut impl FnMut(&Shared) -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        if !self.other_runs_elsewhere(shared) {
            return Ok(false);
        }
        self.waits = self.waits.wrapping_add(1);
        let expects = std::mem::take(&mut self.slept_shortly) && !self.looked_in_vain;
        let long = expects || self.waits.is_multiple_of(RARELY);
        if self.blind > 0 && !long {
            self.blind -= 1;
            return Ok(false);
        }
        let at_most = if long { LOOKING_LONG } else { self.looking };
        let begun = Instant::now();
        while begun.elapsed() < at_most {
            for _ in 0..LOOKS {
                std::hint::spin_loop();
                if ready(shared)? {
                    (self.blind, self.penalty) = (0, 0);
                    self.looked_in_vain = false;
                    self.looking = (begun.elapsed() * 2).clamp(LOOKING, LOOKING_MOST);
                    return Ok(true);
                }
            }
        }
        self.looked_in_vain |= long;
        self.penalty = (self.penalty * 2 + 1).min(MOST_BLIND);
        self.blind = self.penalty;
        if self.penalty >= FORGETS {
            self.looking = LOOKING;
        }
        Ok(false)
    }

    /// Tells where this side runs, and compares: with one processor that is never elsewhere. A lie
    /// costs the time that is looked.
    fn other_runs_elsewhere(&self, shared: &Shared) -> bool {
        // SAFETY: it takes nothing and returns a number.
        let here = unsafe { libc::sched_getcpu() }
            .wrapping_add(1)
            .cast_unsigned();
        let told = shared.processor(self.side);
        if told.load(Ordering::Relaxed) != here {
            told.store(here, Ordering::Relaxed);
        }
        let there = shared.processor(self.side.other()).load(Ordering::Relaxed);
        there != 0 && there != here
    }
}
