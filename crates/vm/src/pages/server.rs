//! One machine's memory, filled as it is needed.
//!
//! What was given back comes before everything else: as long as somebody waits to give pages back,
//! the kernel refuses to fill any, and once that has been read, what was there before must not be
//! filled in any more. So events are read whenever there are any; of those that come together, pages
//! that were given back are noted before faults are served; and what the kernel refuses meanwhile is
//! tried again after the next read. Faults come before what is filled ahead, piece by piece.

use super::handshake::Handed;
use super::marks::Marks;
use super::report::{Latencies, Report};
use super::source::{Piece, Source};
use super::{Options, working_set};
use crate::memory::{PAGE, Ranges};
use casemate_core::error::{Error, Result};
use casemate_sys::uffd::{Event, Events, Filled, Userfault};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

/// So many pages are filled ahead between two looks at what has happened: a fault waits for them.
const PIECE: u64 = 64;
/// Faults that may wait for what was given back, at most. Each is a thread of the monitor.
const MOST_DEFERRED: usize = 4096;
/// How long to wait until the kernel is asked again.
const AGAIN: Duration = Duration::from_micros(50);
/// The monitor is looked for after so many rounds in which there was something to do.
const ROUNDS: u32 = 256;

/// What came of filling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// So many pages are there.
    Filled(u64),
    /// The first was there already.
    There,
    /// There is no memory any more.
    Unmapped,
    /// There is something to read first.
    Later,
    /// The process is gone.
    Gone,
}

pub(super) struct Server {
    handed: Handed,
    source: Source,
    options: Options,
    begun: Instant,
    events: Events,
    /// Pages that a fault was on, that are zero because they were given back, and that were filled.
    touched: Marks,
    removed: Marks,
    filled: Marks,
    /// Where there were faults that couldn't be served yet, and since when they are known.
    deferred: Vec<(u64, Instant)>,
    /// What is to be filled ahead.
    ahead: VecDeque<Range<u64>>,
    /// The set of the last restore, as long as the next one hasn't been written.
    last: Option<Ranges>,
    /// A huge page.
    page: Vec<u8>,
    is_gone: bool,
    latencies: Latencies,
    report: Report,
}

impl Server {
    pub(super) fn new(handed: Handed, source: Source, options: &Options) -> Self {
        let pages = source.pages();
        let report = Report {
            monitor: handed.peer.pid,
            user: handed.peer.uid,
            memory: pages,
            ..Report::default()
        };
        let mut server = Self {
            handed,
            source,
            options: options.clone(),
            begun: Instant::now(),
            events: Events::default(),
            touched: Marks::new(pages),
            removed: Marks::new(pages),
            filled: Marks::new(pages),
            deferred: Vec::new(),
            ahead: VecDeque::new(),
            last: None,
            page: Vec::new(),
            is_gone: false,
            latencies: Latencies::default(),
            report,
        };
        server.plan();
        server
    }

    /// What is to be filled ahead.
    fn plan(&mut self) {
        if let Some(path) = &self.options.working_set {
            let last = working_set::read(path, self.source.pages());
            let last = last.unwrap_or_else(|error| {
                self.report.notes.push(error.to_string());
                None
            });
            let last = last.unwrap_or_default();
            self.ahead.extend(last.iter());
            self.last = Some(last);
        }
        if self.options.everything {
            self.ahead.extend(self.source.data().iter());
        }
    }

    /// Serves until the monitor is gone.
    ///
    /// # Errors
    /// The source can't be read, or the monitor does what none does. Who waits for a page then gets
    /// SIGBUS, as far as the kernel can do that.
    pub(super) fn serve(mut self) -> Result<Report> {
        let served = self.rounds();
        if served.is_err() {
            for (page, _) in std::mem::take(&mut self.deferred) {
                self.poison(page);
            }
        }
        self.settle();
        served?;
        self.report.p50 = self.latencies.percentile(50);
        self.report.p99 = self.latencies.percentile(99);
        Ok(self.report)
    }

    fn rounds(&mut self) -> Result<()> {
        let mut idle_since = None;
        for round in 1_u32.. {
            let is_busy = self.look()? || self.fill_ahead()?;
            if self.is_gone || (round.is_multiple_of(ROUNDS) && self.has_left()?) {
                break;
            }
            if is_busy {
                idle_since = None;
                continue;
            }
            let since = *idle_since.get_or_insert_with(Instant::now);
            if since.elapsed() < self.options.spin {
                std::hint::spin_loop();
                continue;
            }
            if self.wait()? {
                break;
            }
        }
        Ok(())
    }

    /// Reads what has happened and does what is to be done; whether there was anything.
    fn look(&mut self) -> Result<bool> {
        let events = match self.handed.userfault.read(&mut self.events) {
            Ok(events) => events,
            Err(Errno::AGAIN | Errno::INTR) => return self.retry(),
            Err(errno) => return Err(Error::errno("read faults", errno.raw_os_error())),
        };
        let now = Instant::now();
        let mut faults = Vec::new();
        for event in events {
            match event {
                Event::Fault(address) => faults.push(address),
                Event::Remove(addresses) | Event::Unmap(addresses) => {
                    for pages in self.handed.regions.pages_of(addresses) {
                        self.report.removed += self.removed.set(pages);
                    }
                }
                Event::Fork(_) => return Err(strange("it has forked, with its memory")),
                Event::Remap(_) => return Err(strange("it has moved its memory")),
                Event::Other(event) => return Err(strange(&format!("event {event:#x}"))),
            }
        }
        for address in faults {
            let Some((_, pages)) = self.handed.regions.page_at(address) else {
                let why = format!("a fault at {address:#x}, where it has no memory");
                return Err(strange(&why));
            };
            self.report.faults += 1;
            self.report.touched += self.touched.set(pages.clone());
            self.fault(pages.start, now)?;
        }
        Ok(true)
    }

    /// Serves a fault that has been known since then, or keeps it for later.
    fn fault(&mut self, page: u64, since: Instant) -> Result<()> {
        let (pages, addresses) = self.unit(page);
        let outcome = self.fill(pages.clone());
        if outcome.is_err() {
            self.poison(page);
        }
        match outcome? {
            Outcome::Filled(pages) => self.report.filled += pages,
            // Whoever filled it may have been faster than the fault.
            Outcome::There => match self.handed.userfault.wake(addresses) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::AGAIN) => return self.defer(page, since),
                Err(errno) => return Err(Error::errno("wake", errno.raw_os_error())),
            },
            Outcome::Unmapped => {}
            Outcome::Later => return self.defer(page, since),
            Outcome::Gone => self.is_gone = true,
        }
        self.latencies.add(since.elapsed());
        Ok(())
    }

    fn defer(&mut self, page: u64, since: Instant) -> Result<()> {
        if self.deferred.len() == MOST_DEFERRED {
            return Err(strange("too many of its threads wait at once"));
        }
        self.deferred.push((page, since));
        Ok(())
    }

    /// Serves what had to wait, now that there is nothing to be read; whether there was anything.
    fn retry(&mut self) -> Result<bool> {
        let deferred = std::mem::take(&mut self.deferred);
        let count = deferred.len();
        for (page, since) in deferred {
            self.fault(page, since)?;
        }
        self.report.deferred += (count - self.deferred.len()) as u64;
        Ok(self.deferred.len() < count)
    }

    /// Fills one piece of what may be needed next; whether there was any.
    fn fill_ahead(&mut self) -> Result<bool> {
        let Some(wanted) = self.ahead.pop_front() else {
            return Ok(false);
        };
        let start = self.filled.next(wanted.start, wanted.end, false);
        if start == wanted.end {
            return Ok(true);
        }
        let (unit, _) = self.unit(start);
        let unfilled = self.filled.next(unit.start, wanted.end.max(unit.end), true);
        let pages = unit.start..unfilled.min(unit.start + PIECE).max(unit.end);
        let went = match self.fill(pages.clone())? {
            Outcome::Filled(pages) => {
                self.report.prefetched += pages;
                pages
            }
            Outcome::There => unit.end - unit.start,
            // All of it: what is still there will be asked for.
            Outcome::Unmapped => pages.end - pages.start,
            Outcome::Later => {
                self.ahead.push_front(start..wanted.end);
                return Ok(false);
            }
            Outcome::Gone => {
                self.is_gone = true;
                return Ok(true);
            }
        };
        let done = unit.start + went;
        self.filled.set(unit.start..done);
        if done < wanted.end {
            self.ahead.push_front(done..wanted.end);
        }
        Ok(true)
    }

    /// The page of the monitor's that a page of 4 KiB is in, and where that is.
    fn unit(&self, page: u64) -> (Range<u64>, Range<u64>) {
        // The regions are the whole source, of which all pages are.
        let Some(region) = self.handed.regions.of_page(page) else {
            return (page..page + 1, 0..0);
        };
        let step = region.step();
        let first = region.pages.start + (page - region.pages.start) / step * step;
        let pages = first..first + step;
        let addresses = region.addresses_of(&pages);
        (pages, addresses)
    }

    /// Fills pages, whole ones of the monitor's, as many from the first on as are alike.
    fn fill(&mut self, pages: Range<u64>) -> Result<Outcome> {
        let Some(region) = self.handed.regions.of_page(pages.start) else {
            return Ok(Outcome::Unmapped);
        };
        let was_removed = self.removed.has(pages.start);
        let end = pages.end.min(region.pages.end);
        let end = self.removed.next(pages.start, end, !was_removed);
        let userfault = &self.handed.userfault;
        let filled = if region.step() > 1 {
            let pages = pages.start..pages.start + region.step();
            self.page.resize(region.page_size as usize, 0);
            match was_removed {
                true => self.page.fill(0),
                false => self.source.read(pages.clone(), &mut self.page)?,
            }
            userfault.copy(region.addresses_of(&pages).start, &self.page)
        } else if was_removed {
            userfault.zero(region.addresses_of(&(pages.start..end)))
        } else {
            let (piece, count) = self.source.piece(pages.start, end)?;
            let addresses = region.addresses_of(&(pages.start..pages.start + count));
            put(userfault, &piece, addresses, pages.start)?
        };
        let outcome = outcome(filled)?;
        if let Outcome::Filled(count) = outcome {
            self.filled.set(pages.start..pages.start + count);
        }
        Ok(outcome)
    }

    fn poison(&self, page: u64) {
        let (_, addresses) = self.unit(page);
        // There may be no such thing, or no such page: then it waits until the monitor is ended.
        let _ = self.handed.userfault.poison(addresses);
    }

    /// Waits until something happens; whether the monitor is gone.
    fn wait(&mut self) -> Result<bool> {
        let mut left = None;
        if self.last.is_some() {
            let settles = self.begun + self.options.settling;
            left = Some(settles.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                self.settle();
                left = None;
            }
        }
        if !self.deferred.is_empty() || !self.ahead.is_empty() {
            left = Some(AGAIN);
        }
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let mut poll_for = [
            PollFd::new(&self.handed.userfault, PollFlags::IN),
            PollFd::new(&self.handed.stream, PollFlags::IN | PollFlags::RDHUP),
        ];
        match poll(&mut poll_for, left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::errno("wait for faults", errno.raw_os_error())),
        }
        let [faults, stream] = poll_for.map(|found| found.revents());
        if !stream.is_empty() && self.has_left()? {
            return Ok(true);
        }
        // Of a userfaultfd that isn't non-blocking: it would never tell of anything else.
        match faults.contains(PollFlags::ERR) {
            true => Err(strange("its descriptor waits in reads")),
            false => Ok(false),
        }
    }

    /// Whether the monitor has closed its end, which says nothing else.
    fn has_left(&self) -> Result<bool> {
        let mut byte = [0];
        let flags = rustix::net::RecvFlags::DONTWAIT;
        match rustix::net::recv(&self.handed.stream, &mut byte, flags) {
            Ok((0, _)) | Err(Errno::CONNRESET) => Ok(true),
            Ok(_) => Err(strange("it says more than one message")),
            Err(Errno::AGAIN | Errno::INTR) => Ok(false),
            Err(errno) => Err(Error::errno("look for the monitor", errno.raw_os_error())),
        }
    }

    /// Keeps what was needed until now for the next restore, once.
    fn settle(&mut self) {
        self.source.release();
        let (Some(last), Some(path)) = (self.last.take(), &self.options.working_set) else {
            return;
        };
        let pages = self.source.pages();
        let next = working_set::next(&last, &self.touched, &self.removed, pages);
        self.report.working_set = Some(next.pages());
        if next != last
            && let Err(error) = working_set::write(path, &next)
        {
            self.report.notes.push(error.to_string());
        }
    }
}

/// What no monitor does.
fn strange(what: &str) -> Error {
    Error::rule("serve the monitor's pages", what).hint("the monitor is broken or hostile: end it")
}

fn put(
    userfault: &Userfault,
    piece: &Piece<'_>,
    addresses: Range<u64>,
    page: u64,
) -> Result<Filled> {
    Ok(match piece {
        Piece::Zero => userfault.zero(addresses),
        Piece::Mapped(layer, bytes) => {
            let mapped = layer.mapped();
            let filled = userfault.copy_mapped(addresses.start, mapped, bytes.clone());
            if filled.stopped == Some(Errno::FAULT) {
                return Err(layer.trouble(page));
            }
            filled
        }
    })
}

fn outcome(filled: Filled) -> Result<Outcome> {
    if filled.bytes > 0 {
        return Ok(Outcome::Filled(filled.bytes / PAGE));
    }
    Ok(match filled.stopped {
        None | Some(Errno::AGAIN) => Outcome::Later,
        Some(Errno::EXIST) => Outcome::There,
        Some(Errno::NOENT) => Outcome::Unmapped,
        Some(Errno::SRCH) => Outcome::Gone,
        Some(errno) => return Err(Error::errno("fill a page", errno.raw_os_error())),
    })
}
