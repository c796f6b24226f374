//! What the first program of a machine does in these tests. It is the test's own program: the kernel
//! starts it with arguments that choose one test, which is ignored everywhere else.

use rustix::mount::{MountFlags, mount};
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::Duration;

/// What a kernel is told.
pub(crate) const WORDS: &str = "quiet loglevel=1 -- --ignored --exact first_program --nocapture";

/// Prepares the machine, and opens the port to its host; `None` if this isn't in a machine at all.
pub(crate) fn begin() -> Option<File> {
    if std::process::id() != 1 {
        return None;
    }
    for (kind, at) in [("devtmpfs", "/dev"), ("sysfs", "/sys"), ("proc", "/proc")] {
        let _ = fs::create_dir(at);
        mount(kind, at, kind, MountFlags::empty(), None).expect("it is mounted");
    }
    for name in fs::read_to_string("/modules").unwrap_or_default().lines() {
        let module = fs::read(format!("/{name}")).expect("it is there");
        let no_words = CString::default();
        if let Err(errno) = rustix::system::init_module(&module, &no_words) {
            println!("load {name}: {errno}");
        }
    }
    loop {
        if let Some(port) = port() {
            return Some(port);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Answers each line with one.
pub(crate) fn serve(mut port: File, mut answer: impl FnMut(&str) -> String) -> ! {
    let (mut line, mut byte) = (Vec::new(), [0]);
    loop {
        // Nobody is at the other end, for now.
        if port.read(&mut byte).unwrap_or(0) == 0 {
            std::thread::sleep(Duration::from_millis(1));
        } else if byte[0] != b'\n' {
            line.push(byte[0]);
        } else {
            let answer = answer(&String::from_utf8_lossy(&line));
            let _ = port.write_all(format!("{answer}\n").as_bytes());
            line.clear();
        }
    }
}

fn port() -> Option<File> {
    let ports = fs::read_dir("/sys/class/virtio-ports").ok()?;
    let ours = ports.flatten().find(|port| {
        let name = fs::read_to_string(port.path().join("name"));
        name.is_ok_and(|name| name.trim() == casemate_vm::qemu::PORT)
    })?;
    let path = PathBuf::from("/dev").join(ours.file_name());
    File::options().read(true).write(true).open(path).ok()
}
