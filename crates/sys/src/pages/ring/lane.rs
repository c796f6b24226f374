//! The two ends of a lane. Each has its own index for itself, and what the other one said last.

use super::layout::{CAPACITY, Lane, Shared, Side};
use super::wait::{Bell, Waiter};
use super::{Breach, Error, MAX_FRAME, copy};
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Where frames go in.
pub(super) struct Sender {
    lane: Side,
    tail: u64,
    head: u64,
    told: u64,
    halfway: bool,
}

impl Sender {
    pub(super) fn new(lane: Side) -> Self {
        Self {
            lane,
            tail: 0,
            head: 0,
            told: 0,
            halfway: false,
        }
    }

    /// True if the last frame was sent in part.
    pub(super) fn within_a_frame(&self) -> bool {
        self.halfway
    }

    /// Sends these parts of one frame.
    pub(super) fn send(
        &mut self,
        parts: &[&[u8]],
        waiter: &mut Waiter,
        deadline: Instant,
    ) -> Result<(), Error> {
        let shared = waiter.shared();
        for part in parts {
            let mut left = *part;
            while !left.is_empty() {
                if self.room(&shared)? == 0 {
                    self.tell(&shared);
                    in_time(deadline)?;
                    self.wait(waiter, deadline)?;
                }
                let (now, later) = left.split_at(left.len().min(self.room(&shared)?));
                // SAFETY: there is so much room in the lane.
                unsafe { copy::into_lane(shared.bytes(self.lane), self.tail, now) };
                self.tail += now.len() as u64;
                self.halfway = true;
                left = later;
            }
        }
        self.tell(&shared);
        self.halfway = false;
        Ok(())
    }

    fn wait(&mut self, waiter: &mut Waiter, deadline: Instant) -> Result<(), Error> {
        let lane = self.lane;
        waiter.until(
            |shared| &shared.lane(lane).emptied.0,
            deadline,
            |shared| Ok(self.room(shared)? > 0),
        )
    }

    /// How much more fits, if what the receiver says can be.
    fn room(&mut self, shared: &Shared) -> Result<usize, Error> {
        let head = shared.lane(self.lane).head.0.load(Ordering::Acquire);
        if !(self.head..=self.told).contains(&head) {
            return Err(Error::Breach(Breach::Head));
        }
        self.head = head;
        Ok(CAPACITY - (self.tail - head) as usize)
    }

    fn tell(&mut self, shared: &Shared) {
        let lane = shared.lane(self.lane);
        lane.tail.0.store(self.tail, Ordering::Release);
        self.told = self.tail;
        lane.filled.0.ring();
    }
}

/// Where frames come out.
pub(super) struct Receiver {
    lane: Side,
    head: u64,
    tail: u64,
    halfway: bool,
}

impl Receiver {
    pub(super) fn new(lane: Side) -> Self {
        Self {
            lane,
            head: 0,
            tail: 0,
            halfway: false,
        }
    }

    /// True if the last frame was received in part.
    pub(super) fn within_a_frame(&self) -> bool {
        self.halfway
    }

    pub(super) fn receive(
        &mut self,
        frame: &mut Vec<u8>,
        waiter: &mut Waiter,
        deadline: Instant,
    ) -> Result<(), Error> {
        frame.clear();
        self.fill(frame, size_of::<u32>(), waiter, deadline)?;
        let length = <[u8; 4]>::try_from(&frame[..]).map_or(u32::MAX, u32::from_le_bytes);
        if length > MAX_FRAME {
            return Err(Error::Breach(Breach::Length));
        }
        frame.clear();
        self.fill(frame, length as usize, waiter, deadline)?;
        self.halfway = false;
        Ok(())
    }

    /// Adds that many bytes, as they come.
    fn fill(
        &mut self,
        frame: &mut Vec<u8>,
        length: usize,
        waiter: &mut Waiter,
        deadline: Instant,
    ) -> Result<(), Error> {
        let (shared, lane) = (waiter.shared(), self.lane);
        while frame.len() < length {
            if !frame.is_empty() {
                in_time(deadline)?;
            }
            waiter.until(
                |shared| &shared.lane(lane).filled.0,
                deadline,
                |shared| Ok(self.waiting(shared)? > 0),
            )?;
            let count = self.waiting(&shared)?.min(length - frame.len());
            frame.reserve(count);
            let to = frame.spare_capacity_mut().as_mut_ptr().cast();
            // SAFETY: the lane has so many bytes, and there is room for them, as just reserved; they
            // are initialised then.
            unsafe {
                copy::out_of_lane(shared.bytes(lane), self.head, to, count);
                frame.set_len(frame.len() + count);
            }
            self.head += count as u64;
            self.halfway = true;
            tell(shared.lane(lane), self.head);
        }
        Ok(())
    }

    /// How much is there to read, if what the sender says can be.
    fn waiting(&mut self, shared: &Shared) -> Result<usize, Error> {
        let tail = shared.lane(self.lane).tail.0.load(Ordering::Acquire);
        if !(self.tail..=self.head + CAPACITY as u64).contains(&tail) {
            return Err(Error::Breach(Breach::Tail));
        }
        self.tail = tail;
        Ok((tail - self.head) as usize)
    }
}

/// Also who is never waited for, but gives or takes byte by byte, has to be done by then.
fn in_time(deadline: Instant) -> Result<(), Error> {
    if Instant::now() < deadline {
        return Ok(());
    }
    Err(Error::Late)
}

fn tell(lane: &Lane, head: u64) {
    lane.head.0.store(head, Ordering::Release);
    let emptied: &Bell = &lane.emptied.0;
    emptied.ring();
}
