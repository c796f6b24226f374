//! A worker that was taken over: it says what it is told to, and does what it may not.

use casemate_core::error::Result;
use casemate_sys::pages::PAGE;
use casemate_sys::pages::ring::{End, Ring};
use casemate_wasm::call::{
    Answer, Call, Callback, Failure, Log, Next, Outgoing, Pause, Principal, Ran, Value,
};
use casemate_wasm::guest::{Machine, State};
use casemate_wasm::process::{Confined, Doors, Job, Runtime};
use casemate_wasm::worker::{Wasm, forge};
use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// The configuration under which workers are hostile, and that under which they don't live long.
pub(crate) const HOSTILE: &str = "hostile";
pub(crate) const STILLBORN: &str = "stillborn";

/// What a hostile worker has of each memory, pages.
const PAGES: usize = 8192;
/// Instructions of a slice, as the controller grants them.
const SLICE: u64 = 2_000_000_000;
/// Pages that it lets be copied without a pause.
pub(crate) const MOST_DIRTY: u64 = 9000;
/// The most that a composite query may leave, pages.
pub(crate) const MOST_LEFT: u64 = 20;
/// Where the ring's parts are: as in the module that makes them.
const LANE: usize = 16 << 10;
const RING: usize = PAGE + 2 * LANE;
const REPLY_TAIL: usize = 512;

pub(crate) struct Taken;

impl Runtime for Taken {
    type Shared = (Machine, Vec<u8>);
    type Opened = <Wasm as Runtime>::Opened;

    fn prepare(&self, config: &[u8]) -> Result<Self::Shared> {
        Ok((Wasm.prepare(config)?, config.to_vec()))
    }

    fn open(&self, (machine, _): &Self::Shared, doors: &Doors<'_>) -> Result<Self::Opened> {
        Wasm.open(machine, doors)
    }

    fn keeps<'a>(&self, opened: &'a Self::Opened) -> Vec<BorrowedFd<'a>> {
        Wasm.keeps(opened)
    }

    fn work(
        &self,
        (machine, config): &Self::Shared,
        opened: Self::Opened,
        worker: Confined,
    ) -> i32 {
        match config.is_empty() {
            true => Wasm.work(machine, opened, worker),
            false => live(worker, config == STILLBORN.as_bytes()).unwrap_or(3),
        }
    }

    fn compile(&self, (machine, _): &Self::Shared, job: &Job) -> Result<(), String> {
        Wasm.compile(machine, job)
    }
}

/// Where the ring is, once it is to be scribbled over.
static SCRIBBLED: AtomicUsize = AtomicUsize::new(0);

fn scribble() {
    while SCRIBBLED.load(Ordering::SeqCst) == 0 {
        std::thread::park();
    }
    let start = SCRIBBLED.load(Ordering::SeqCst) as *mut u64;
    let mut noise = 0x9e37_79b9_7f4a_7c15_u64;
    for at in (0..RING / 8).cycle() {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        // SAFETY: it is mapped as long as this process lives.
        unsafe { start.add(at).write_volatile(noise) };
    }
}

fn map(pages: usize, access: i32, file: Option<&OwnedFd>) -> *mut u8 {
    let (kind, fd) = match file {
        Some(file) => (libc::MAP_SHARED, file.as_raw_fd()),
        None => (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1),
    };
    // SAFETY: a new mapping, at an address that the kernel chooses.
    unsafe { libc::mmap(std::ptr::null_mut(), pages * PAGE, access, kind, fd, 0) }.cast()
}

const WRITABLE: i32 = libc::PROT_READ | libc::PROT_WRITE;

struct Life {
    state: State,
    files: Vec<OwnedFd>,
    heap: *mut u8,
    ring: *mut u8,
    end: End,
    scribbler: std::thread::Thread,
}

// SAFETY: what it points to is mapped as long as this process lives, and made to be written by all.
unsafe impl Send for Life {}

fn live(mut worker: Confined, is_stillborn: bool) -> Option<i32> {
    let (frame, files) = worker.control.receive(None).ok()?;
    let state = forge::state(&frame.payload)?;
    let scribbler = std::thread::spawn(scribble);
    let threads = [thread(), thread()];
    let heap = map(PAGES + 1, WRITABLE, None);
    // SAFETY: it was just mapped. Whatever lies behind it, the page that ends it can't be read.
    unsafe {
        heap.write_bytes(0xee, PAGES * PAGE);
        libc::mprotect(heap.add(PAGES * PAGE).cast(), PAGE, libc::PROT_NONE);
    }
    let mut control = worker.seal().ok()?.control;
    control.send(forge::kind::SEALED, &[], &[], None).ok()?;
    let (_, rings) = control.receive(None).ok()?;
    let mut files = Some(files);
    let mut lives = rings.into_iter().map(|file| {
        Some(Life {
            state: state.clone(),
            files: files.take().unwrap_or_default(),
            heap,
            ring: map(RING / PAGE, WRITABLE, Some(&file)),
            end: Ring::adopt(file).ok()?.callee().ok()?,
            scribbler: scribbler.thread().clone(),
        })
    });
    let updates = lives.next()??;
    for thread in threads {
        thread.send(lives.next()??).ok()?;
    }
    // There is nothing at the address of stable memory.
    let opened = forge::opened(heap as u64, PAGE as u64);
    control.send(forge::kind::OPENED, &opened, &[], None).ok()?;
    if is_stillborn {
        return Some(9);
    }
    updates.serve()
}

/// Waits for a ring of its own, as the threads of an honest worker do.
fn thread() -> SyncSender<Life> {
    let (sender, receiver) = sync_channel::<Life>(1);
    std::thread::spawn(move || {
        let status = receiver.recv().ok().and_then(Life::serve);
        std::process::exit(status.unwrap_or(3));
    });
    sender
}

fn some_day() -> Instant {
    Instant::now() + Duration::from_secs(600)
}

impl Life {
    fn serve(mut self) -> Option<i32> {
        loop {
            let mut frame = Vec::new();
            self.end.receive(&mut frame, some_day()).ok()?;
            if !forge::is_answered(&frame) {
                continue;
            }
            let (number, call) = forge::request(&frame)?;
            match call {
                Some(call) => self.attack(number, &call)?,
                None => self.begin(number)?,
            }
        }
    }

    fn attack(&mut self, number: u64, call: &Call) -> Option<()> {
        let mut ran = Ran {
            result: Ok(Some(Answer::Reply(Vec::new()))),
            instructions: 1,
            effects: Default::default(),
            globals: if call.entry.keeps() {
                self.state.globals.clone()
            } else {
                Vec::new()
            },
            heap_pages: self.state.heap_pages,
            stable_pages: self.state.stable_pages,
        };
        let (mut heap, mut stable) = (vec![], vec![]);
        if call.entry.is_composite() || call.entry.export()?.ends_with(" calls") {
            return self.compose(number, call, ran);
        }
        let export = call.entry.export()?;
        let effects = &mut ran.effects;
        let name = export.split_once(' ')?.1;
        if let Some(steps) = name.strip_prefix("dies_within_") {
            ran.heap_pages = 400;
            self.say(&forge::reply(number, &ran, &[(0, 6000)], &[]))?;
            let end = Instant::now() + steps.parse().unwrap_or(0) * Duration::from_micros(250);
            while Instant::now() < end {
                std::hint::spin_loop();
            }
            std::process::exit(0);
        }
        for pause in pauses(name) {
            self.say(&forge::paused(number, pause))?;
            let mut frame = Vec::new();
            self.end.receive(&mut frame, some_day()).ok()?;
            forge::goes_on(&frame)?;
        }
        match name {
            name if !pauses(name).is_empty() => match name {
                "says_more_after_an_abort" => {
                    ran.result = Err(Failure::Aborted);
                    ran.globals.clear();
                    effects.logs = vec![Log {
                        time: 1,
                        text: vec![1],
                    }];
                }
                "copies_others" => {
                    ran.instructions = SLICE;
                    heap.push((0, 3));
                }
                _ => {}
            },
            "aborts_itself" => (ran.result, ran.globals) = (Err(Failure::Aborted), vec![]),
            "runs_out_of_slices" => {
                (ran.result, ran.globals) = (Err(Failure::Slices { slice: SLICE }), vec![]);
            }
            "takes_more_than_a_slice" => ran.instructions = SLICE * 4,
            "copies_and_did_not_wait" => {
                ran.heap_pages = 600;
                heap.push((0, MOST_DIRTY + 1));
            }
            "another_number" => return self.say(&forge::reply(number + 1, &ran, &[], &[])),
            "malformed" => return self.say(&[0xff; 40]),
            "empty" => return self.say(&[]),
            "long_frame" => return self.raw(&(5_u32 << 20).to_le_bytes()),
            "sent_more_than_fits" => {
                self.tail().store(u64::MAX, Ordering::SeqCst);
                return Some(());
            }
            "twice" => self.say(&forge::reply(number, &ran, &[], &[]))?,
            "never" => loop {
                std::thread::park();
            },
            "dies_while" => {
                self.raw(&[100, 0, 0, 0, 1, 2, 3])?;
                std::process::exit(0);
            }
            "dies_before" => std::process::exit(0),
            "few_are_missing" => {
                heap.push((0, 3));
                stable.push((0, 1));
            }
            "many_are_missing" => {
                ran.heap_pages = 400;
                heap.push((0, 5000));
                stable.push((0, 1));
            }
            "the_last_of_many_is_missing" => {
                ran.heap_pages = 600;
                heap.push((0, PAGES as u64 + 1));
            }
            "pages_beyond" => heap.push((self.state.heap_pages * 16, 1)),
            "stable_pages_beyond" => stable.push((self.state.stable_pages * 16, 1)),
            "overlapping" => heap.extend([(0, 2), (0, 2)]),
            "huge" => heap.push((0, u64::MAX)),
            "wrapping" => heap.extend([(0, 1), (u64::MAX, 5)]),
            "shrinks" => ran.heap_pages -= 1,
            "stable_shrinks" => ran.stable_pages -= 1,
            "exceeds" => ran.heap_pages = 1001,
            "stable_exceeds" => ran.stable_pages = u64::MAX,
            "grows_by_more" => ran.heap_pages = 1000,
            "more_than_it_may_have" => ran.heap_pages = 740,
            "stable_writes" => stable.push((0, 16)),
            "fewer_globals" => drop(ran.globals.pop()),
            "other_globals" => ran.globals = vec![Value::V128(1)],
            "instructions" => ran.instructions = u64::MAX,
            "long_reply" => ran.result = Ok(Some(Answer::Reply(vec![0; (2 << 20) + 1]))),
            "accepted" => effects.accepted = 1,
            "burned" => effects.burned = 1,
            "attached" => effects.calls.extend([outgoing(u128::MAX), outgoing(2)]),
            "certified" => effects.certified = Some(vec![0; 33]),
            "accepts_message" => effects.accepts_message = true,
            "pages_of_a_query" => heap.push((0, 1)),
            "globals_of_a_query" => ran.globals = self.state.globals.clone(),
            "sizes_of_a_query" => ran.heap_pages += 1,
            "timer_of_a_query" => effects.timer = Some(1),
            "certified_of_a_query" => effects.certified = Some(vec![1]),
            "scribbles" => {
                SCRIBBLED.store(self.ring as usize, Ordering::SeqCst);
                self.scribbler.unpark();
            }
            "tries" => ran.result = Ok(Some(Answer::Reply(self.tries().into_bytes()))),
            _ => return None,
        }
        self.say(&forge::reply(number, &ran, &heap, &stable))
    }

    /// A composite query: its method, or, by its argument, what is called back.
    fn compose(&mut self, number: u64, call: &Call, mut ran: Ran) -> Option<()> {
        let export = call.entry.export()?;
        let name = export.split_once(' ')?.1;
        let goes_on = !call.argument.is_empty();
        let mut at = [self.heap as u64, self.heap as u64];
        let (mut heap, mut stable) = (vec![(0, 3)], vec![(0, 1)]);
        ran.result = Ok(None);
        ran.globals = self.state.globals.clone();
        ran.effects.calls = vec![outgoing(0)];
        match (name, goes_on) {
            ("calls_and_leaves_nothing", _) => {
                ran.globals.clear();
                return self.say(&forge::reply(number, &ran, &[], &[]));
            }
            ("leaves_and_does_not_call", _) | ("then_leaves_without_calls", true) => {
                ran.effects.calls.clear();
            }
            ("leaves_and_answers", _) => ran.result = Ok(Some(Answer::Reply(Vec::new()))),
            ("leaves_and_fails", _) => ran.result = Err(Failure::Aborted),
            ("leaves_more_than_it_may", _) => heap = vec![(0, MOST_LEFT)],
            ("leaves_pages_beyond", _) => heap = vec![(self.state.heap_pages * 16, 1)],
            ("leaves_stable_beyond", _) => stable = vec![(self.state.stable_pages * 16, 1)],
            ("leaves_fewer_globals", _) => drop(ran.globals.pop()),
            ("leaves_less", _) | ("then_shrinks", true) => ran.heap_pages -= 1,
            ("leaves_too_large", _) => ran.heap_pages = u64::MAX,
            ("leaves_nowhere", _) => at = [PAGE as u64, u64::MAX],
            ("leaves_and_dies", _) => {
                self.say(&forge::left(number, at, &ran, &heap, &stable))?;
                std::process::exit(0);
            }
            ("calls_with_cycles", _) => ran.effects.calls = vec![outgoing(1)],
            ("calls_too_often", _) => ran.effects.calls = vec![outgoing(0); 501],
            ("then_another_number", true) => {
                return self.say(&forge::left(number + 1, at, &ran, &heap, &stable));
            }
            ("then_malformed", true) => return self.say(&[0xff; 40]),
            ("then_dies", true) => std::process::exit(0),
            ("then_says_more", true) => {
                self.say(&forge::left(number, at, &ran, &heap, &stable))?;
            }
            _ => {}
        }
        self.say(&forge::left(number, at, &ran, &heap, &stable))
    }

    /// Instead of the module's data, an answer.
    fn begin(&mut self, number: u64) -> Option<()> {
        let ran = Ran {
            result: Ok(Some(Answer::Reply(Vec::new()))),
            instructions: 0,
            effects: Default::default(),
            globals: self.state.globals.clone(),
            heap_pages: self.state.heap_pages,
            stable_pages: self.state.stable_pages,
        };
        self.say(&forge::reply(number, &ran, &[], &[]))
    }

    fn say(&mut self, frame: &[u8]) -> Option<()> {
        self.end.send(frame, some_day()).ok()
    }

    fn tail(&self) -> &AtomicU64 {
        // SAFETY: it is mapped as long as this process lives.
        unsafe { &*self.ring.add(REPLY_TAIL).cast() }
    }

    /// The first bytes that are said at all, without the rules of the ring.
    fn raw(&mut self, bytes: &[u8]) -> Option<()> {
        assert_eq!(self.tail().load(Ordering::SeqCst), 0);
        // SAFETY: the lane is longer, and mapped as long as this process lives.
        unsafe {
            let lane = self.ring.add(PAGE + LANE);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), lane, bytes.len());
        }
        self.tail().store(bytes.len() as u64, Ordering::SeqCst);
        Some(())
    }

    /// Each way to write what is committed, a line each: its name, and `refused` or `WORKED`.
    fn tries(&self) -> String {
        let mut report = String::new();
        let mut note = |name: &str, failed: bool| {
            let verdict = if failed { "refused" } else { "WORKED" };
            report.push_str(&format!("{name}: {verdict}\n"));
        };
        let hole = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        for file in &self.files {
            let fd = file.as_raw_fd();
            let path = format!("/proc/self/fd/{fd}\0");
            let path = path.as_ptr().cast();
            let old = map(1, libc::PROT_READ, Some(file));
            assert_ne!(old as isize, -1);
            let old = old.cast();
            // SAFETY: system calls with numbers, and with pointers to what lives here.
            unsafe {
                note("mmap", map(1, WRITABLE, Some(file)) as isize == -1);
                note("mprotect", libc::mprotect(old, PAGE, WRITABLE) == -1);
                note("write", libc::write(fd, self.heap.cast(), 8) == -1);
                note("pwrite", libc::pwrite(fd, self.heap.cast(), 8, 0) == -1);
                note("ftruncate", libc::ftruncate(fd, 0) == -1);
                note("ftruncate to more", libc::ftruncate(fd, 1 << 45) == -1);
                note("fallocate", libc::fallocate(fd, hole, 0, 1 << 20) == -1);
                note(
                    "MADV_REMOVE",
                    libc::madvise(old, PAGE, libc::MADV_REMOVE) == -1,
                );
                let seals = libc::F_SEAL_WRITE | libc::F_SEAL_FUTURE_WRITE;
                note(
                    "F_ADD_SEALS",
                    libc::fcntl(fd, libc::F_ADD_SEALS, seals) == -1,
                );
                note("fchmod", libc::fchmod(fd, 0o777) == -1);
                for flags in [libc::O_RDWR, libc::O_WRONLY, libc::O_RDONLY] {
                    note("open by /proc", libc::open(path, flags) == -1);
                }
            }
        }
        report
    }
}

/// What a hostile worker says of slices before it answers.
fn pauses(name: &str) -> Vec<Pause> {
    let next = Next::Slice;
    let slice = |slices, instructions| Pause {
        slices,
        instructions,
        next,
    };
    let copy = |slices, pages| Pause {
        slices,
        instructions: 1,
        next: Next::Copy { pages },
    };
    match name {
        "leaves_slices_out" => vec![slice(5, SLICE * 5 + 1)],
        "has_a_slice_twice" => vec![slice(1, SLICE + 1), slice(1, SLICE + 1)],
        "waits_too_early" => vec![slice(1, SLICE)],
        "waits_without_instructions" => vec![slice(1, u64::MAX)],
        "takes_instructions_back" => vec![slice(1, SLICE * 3), slice(2, SLICE * 2 + 1)],
        "waits_once" | "has_taken_less" => vec![slice(1, SLICE + 9)],
        "never_ends" => (1..500).map(|n| slice(n, SLICE * n + 1)).collect(),
        "copies_few" => vec![copy(1, MOST_DIRTY)],
        "copies_all_there_is" => vec![copy(1, u64::MAX)],
        "copies_others" => vec![copy(1, MOST_DIRTY + 1)],
        "copies_twice" => vec![copy(1, MOST_DIRTY + 1), copy(1, MOST_DIRTY + 1)],
        "runs_on_after_a_copy" => vec![copy(1, MOST_DIRTY + 1), slice(1, SLICE + 1)],
        "copies_in_a_query" => vec![copy(1, MOST_DIRTY + 1)],
        "ends_well_after_an_abort" | "says_more_after_an_abort" => vec![slice(1, SLICE + 1)],
        "waits_after_an_abort" => vec![slice(1, SLICE + 1), slice(2, SLICE * 2 + 1)],
        _ => vec![],
    }
}

fn outgoing(cycles: u128) -> Outgoing {
    let nothing = Callback {
        function: 0,
        environment: 0,
    };
    Outgoing {
        callee: Principal::of_canister(2),
        method: "take".to_owned(),
        argument: Vec::new(),
        cycles,
        timeout: None,
        on_reply: nothing,
        on_reject: nothing,
        cleanup: None,
    }
}
