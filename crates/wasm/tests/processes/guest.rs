//! What lives in the processes here: it does what it is told, however bad.

use crate::hostile;
use casemate_core::error::{Error, Result};
use casemate_wasm::process::{Confined, Doors, Job, Processes, Runtime, Spec, Worker};
use casemate_wasm::wire::{Broken, Connection, Frame};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

pub(crate) const PROBE: u16 = 1;
pub(crate) const SEAL: u16 = 2;
pub(crate) const DESCRIPTORS: u16 = 3;
pub(crate) const EXIT: u16 = 4;
pub(crate) const IGNORE: u16 = 5;
pub(crate) const LIVE: u16 = 6;
pub(crate) const SECRET: u16 = 7;
pub(crate) const PANIC: u16 = 8;
pub(crate) const CRASH: u16 = 9;
pub(crate) const GARBAGE: u16 = 10;
pub(crate) const GIFT: u16 = 11;
pub(crate) const CODE: u16 = 12;
pub(crate) const EAT: u16 = 13;
pub(crate) const ECHO: u16 = 14;

pub(crate) struct Probe;

pub(crate) static TOLD: [u8; 8] = *b"a secret";

impl Runtime for Probe {
    type Shared = String;
    type Opened = [OwnedFd; 2];

    fn prepare(&self, config: &[u8]) -> Result<String> {
        let config = String::from_utf8(config.to_vec()).unwrap();
        match config.as_str() {
            "threads" => drop(std::thread::spawn(|| {
                std::thread::sleep(Duration::from_secs(600))
            })),
            "refuses" => return Err(Error::rule("prepare", "it was told not to").hint("ask again")),
            _ => {}
        }
        Ok(config)
    }

    fn open(&self, shared: &String, doors: &Doors<'_>) -> Result<Self::Opened> {
        match shared.as_str() {
            "mute" => std::thread::sleep(Duration::from_secs(600)),
            "fails" => return Err(Error::errno("open the worker's own", 2).on("nothing")),
            _ => {}
        }
        hostile::before_the_filter();
        let flags = libc::O_CLOEXEC | 1;
        // SAFETY: makes a descriptor that nobody else owns.
        let faults = unsafe {
            let fd = libc::syscall(libc::SYS_userfaultfd, flags);
            assert!(fd >= 0, "userfaultfd: {}", std::io::Error::last_os_error());
            <OwnedFd as rustix::fd::FromRawFd>::from_raw_fd(fd as i32)
        };
        Ok([faults, doors.pagemap()?])
    }

    fn keeps<'a>(&self, opened: &'a Self::Opened) -> Vec<BorrowedFd<'a>> {
        opened.iter().map(AsFd::as_fd).collect()
    }

    fn work(&self, _: &String, opened: Self::Opened, worker: Confined) -> i32 {
        let mut held = Some(worker);
        let mut sealed = None;
        loop {
            let control = match (&mut held, &mut sealed) {
                (Some(confined), _) => &mut confined.control,
                (None, Some(control)) => control,
                (None, None) => return 3,
            };
            let Ok((frame, fds)) = control.receive(None) else {
                return 0;
            };
            if frame.kind == SEAL {
                let (go, wait) = std::sync::mpsc::sync_channel(0);
                let thread = std::thread::spawn(move || {
                    wait.recv().unwrap();
                    hostile::attempts(0, 0)
                });
                let mut control = held.take().unwrap().seal().unwrap().control;
                // The filter is the other thread's too, which was there before it.
                go.send(()).unwrap();
                let report = thread.join().unwrap();
                control.send(SEAL, report.as_bytes(), &[], None).unwrap();
                sealed = Some(control);
            } else if frame.kind == EAT {
                held.as_ref().unwrap().limit_data(64 << 20).unwrap();
                let eaten = vec![1u8; 256 << 20];
                return i32::from(eaten[4096]);
            } else {
                obey(control, &frame, fds, &opened);
            }
        }
    }

    fn compile(&self, _: &String, job: &Job) -> Result<(), String> {
        let mut bytes = [0; 64];
        let length = rustix::io::pread(&job.input, &mut bytes, 0).unwrap();
        let write = |bytes: &[u8]| rustix::io::write(&job.output, bytes).map_err(|e| e.to_string());
        match &bytes[..length] {
            b"refuse" => Err("it makes no sense\nat offset 3".to_owned()),
            b"spin" => loop {
                std::hint::spin_loop();
            },
            b"eat" => {
                let eaten = vec![1u8; 1 << 30];
                Err(format!("ate {}", eaten[4096]))
            }
            b"long" => loop {
                write(&[7; 4096])?;
            },
            b"exact" => write(&[7; 4096]).map(drop),
            b"crash" => {
                // SAFETY: there is nothing at this address, which is the point.
                unsafe { std::ptr::write_volatile(8 as *mut u8, 1) };
                Ok(())
            }
            b"probe" => write(hostile::attempts(0, 0).as_bytes()).map(drop),
            b"threads" => {
                let threads: Vec<_> = (0..4).map(|n| std::thread::spawn(move || n)).collect();
                let sum: i32 = threads
                    .into_iter()
                    .map(|thread| thread.join().unwrap())
                    .sum();
                write(sum.to_string().as_bytes()).map(drop)
            }
            other => write(other).map(drop),
        }
    }
}

fn obey(control: &mut Connection, frame: &Frame, fds: Vec<OwnedFd>, opened: &[OwnedFd; 2]) {
    let number = |at: usize| {
        let bytes = frame.payload.get(at * 4..at * 4 + 4);
        bytes.map_or(0, |bytes| i32::from_le_bytes(bytes.try_into().unwrap()))
    };
    let mut say = |text: &str| {
        control
            .send(frame.kind, text.as_bytes(), &[], None)
            .unwrap()
    };
    match frame.kind {
        PROBE => say(&hostile::attempts(number(0), number(1))),
        DESCRIPTORS => say(&hostile::open_descriptors()),
        EXIT => std::process::exit(number(0)),
        IGNORE => {
            say("");
            hostile::ignore_everything()
        }
        LIVE => say(&hostile::live(opened)),
        SECRET => say(&(TOLD.as_ptr() as u64).to_string()),
        PANIC => panic!("the worker said so\u{1b}[2J"),
        CRASH => {
            // SAFETY: there is nothing at this address, which is the point.
            unsafe { std::ptr::write_volatile(8 as *mut u8, 1) };
        }
        GARBAGE => {
            rustix::io::write(&*control, &frame.payload).unwrap();
        }
        GIFT => control.send(GIFT, b"", &[opened[0].as_fd()], None).unwrap(),
        CODE => say(&hostile::map_code(&fds[0])),
        ECHO => say(&String::from_utf8_lossy(&frame.payload)),
        _ => say("what?"),
    }
}

/// A controller's processes, with this configuration for the runtime.
pub(crate) fn processes(config: &str) -> Processes {
    let spec = Spec {
        config: config.as_bytes().to_vec(),
        pool: 2,
        patience: Duration::from_secs(60),
        ..Spec::default()
    };
    Processes::new(spec, None)
}

/// Asks a worker and waits for what it says.
pub(crate) fn ask(worker: &mut Worker, kind: u16, payload: &[u8]) -> Result<String, Broken> {
    let deadline = Some(Instant::now() + Duration::from_secs(60));
    worker.note(&format!("request {kind}"));
    worker.connection.send(kind, payload, &[], deadline)?;
    let (frame, _) = worker.connection.receive(deadline)?;
    assert_eq!(frame.kind, kind);
    Ok(String::from_utf8(frame.payload).unwrap())
}
