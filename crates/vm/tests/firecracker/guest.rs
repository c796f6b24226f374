//! A real guest's first program, which is this one, and the file system it starts with.
//!
//! It answers lines, as the fake's guest does: `echo WORD`, `poke PAGE BYTE`, `peek PAGE`,
//! `write DISK WORD`, `read DISK`, `off`, `crash`.

use casemate_sys::vsock;
use casemate_vm::firecracker::PORT;
use rustix::mount::{MountFlags, mount};
use rustix::system::RebootCommand;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::sync::Mutex;

/// What a kernel is told.
pub(crate) const WORDS: &str = "quiet loglevel=1 -- --ignored --exact first_program --nocapture";

const PAGE: usize = 4096;

/// What is poked and peeked at.
static MEMORY: Mutex<Vec<u8>> = Mutex::new(Vec::new());

pub(crate) fn run() {
    if std::process::id() != 1 {
        return;
    }
    for (kind, at) in [("devtmpfs", "/dev"), ("proc", "/proc")] {
        let _ = fs::create_dir(at);
        mount(kind, at, kind, MountFlags::empty(), None).expect("it is mounted");
    }
    MEMORY.lock().expect("no panic").resize(PAGE * 4096, 0);
    let listener = vsock::listen(PORT).expect("it listens");
    loop {
        let stream = rustix::net::accept(&listener).expect("a connection");
        std::thread::spawn(move || serve(File::from(stream)));
    }
}

fn serve(mut stream: File) {
    let lines = BufReader::new(stream.try_clone().expect("a stream"));
    for line in lines.lines() {
        // The connection is over when the machine is written to disk.
        let Ok(line) = line else { return };
        let answer = answer(&line).unwrap_or_else(|error| error.to_string());
        if stream.write_all(format!("{answer}\n").as_bytes()).is_err() {
            return;
        }
    }
}

fn answer(line: &str) -> std::io::Result<String> {
    let words: Vec<&str> = line.split(' ').collect();
    let number = |word: &str| word.parse::<usize>().map_err(std::io::Error::other);
    let disk = |number: usize| format!("/dev/vd{}", char::from(b'a' + number as u8));
    Ok(match words[..] {
        ["echo", what] => what.to_owned(),
        ["poke", page, byte] => {
            let (page, byte) = (number(page)? * PAGE, number(byte)? as u8);
            MEMORY.lock().expect("no panic")[page..page + PAGE].fill(byte);
            "poked".to_owned()
        }
        ["peek", page] => MEMORY.lock().expect("no panic")[number(page)? * PAGE].to_string(),
        ["write", at, what] => {
            fs::write(disk(number(at)?), format!("{what:<512}"))?;
            rustix::fs::sync();
            "written".to_owned()
        }
        ["read", at] => {
            // From the disk, and not from memory.
            fs::write("/proc/sys/vm/drop_caches", "3")?;
            let mut begin = [0; 16];
            File::open(disk(number(at)?))?.read_exact(&mut begin)?;
            String::from_utf8_lossy(&begin).trim().to_owned()
        }
        ["crash"] => {
            fs::write("/proc/sysrq-trigger", "c")?;
            String::new()
        }
        // Firecracker ends with a restart alone.
        ["off"] => format!("{:?}", rustix::system::reboot(RebootCommand::Restart)),
        _ => "what?".to_owned(),
    })
}

/// An initramfs (`Documentation/driver-api/early-userspace/buffer-format.rst`) of this program.
pub(crate) fn archive() -> Vec<u8> {
    let own = fs::read(std::env::current_exe().expect("it runs")).expect("it is there");
    let mut archive = Vec::new();
    for (name, mode, contents) in [("init", 0o100_755, &own[..]), ("TRAILER!!!", 0, &[])] {
        let (length, name_length) = (contents.len(), name.len() + 1);
        let inode = archive.len();
        write!(
            archive,
            "070701{inode:08X}{mode:08X}{0:08X}{0:08X}{1:08X}{0:08X}{length:08X}{0:08X}{0:08X}\
             {0:08X}{0:08X}{name_length:08X}{0:08X}{name}\0",
            0, 1
        )
        .expect("memory takes it");
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend(contents);
        archive.resize(archive.len().next_multiple_of(4), 0);
    }
    archive
}
