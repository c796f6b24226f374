//! The first program of the machines that these tests start. It says what it is asked on the
//! port `casemate.agent`, and counts.

use std::ffi::{CString, c_char, c_int, c_long, c_ulong, c_void};
use std::fs;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

unsafe extern "C" {
    fn mount(
        from: *const c_char,
        at: *const c_char,
        kind: *const c_char,
        flags: c_ulong,
        data: *const c_void,
    ) -> c_int;
    fn syscall(number: c_long, ...) -> c_long;
    fn reboot(how: c_int) -> c_int;
}

const INIT_MODULE: c_long = 175;
const POWER_OFF: c_int = 0x4321_fedc;

static TICKS: AtomicU64 = AtomicU64::new(0);

fn mounted(kind: &str, at: &str) {
    let _ = fs::create_dir(at);
    let (kind, at) = (CString::new(kind).unwrap(), CString::new(at).unwrap());
    unsafe {
        mount(
            kind.as_ptr(),
            at.as_ptr(),
            kind.as_ptr(),
            0,
            std::ptr::null(),
        )
    };
}

fn port() -> fs::File {
    loop {
        for entry in fs::read_dir("/sys/class/virtio-ports")
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
            if name.trim() == "casemate.agent" {
                let path = format!("/dev/{}", entry.file_name().to_string_lossy());
                let opened = fs::OpenOptions::new().read(true).write(true).open(path);
                return opened.unwrap();
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn main() {
    mounted("devtmpfs", "/dev");
    mounted("sysfs", "/sys");
    mounted("proc", "/proc");
    for name in fs::read_to_string("/modules").unwrap_or_default().lines() {
        let module = fs::read(format!("/{name}")).unwrap();
        let loaded = unsafe { syscall(INIT_MODULE, module.as_ptr(), module.len(), c"".as_ptr()) };
        if loaded != 0 {
            println!("guest: load {name}: {}", std::io::Error::last_os_error());
        }
    }
    std::thread::spawn(|| {
        loop {
            TICKS.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let mut port = port();
    println!("guest: ready");
    let mut filled = Vec::new();
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        // Nobody is at the other end, for now.
        if port.read(&mut byte).unwrap_or(0) == 0 {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        if byte[0] != b'\n' {
            line.push(byte[0]);
            continue;
        }
        let asked = String::from_utf8_lossy(&std::mem::take(&mut line)).into_owned();
        let (what, rest) = asked.split_once(' ').unwrap_or((&asked, ""));
        let answer = match what {
            "echo" => rest.to_owned(),
            "tick" => TICKS.load(Ordering::Relaxed).to_string(),
            "fill" => {
                filled = vec![7_u8; rest.parse().unwrap()];
                filled.len().to_string()
            }
            "sum" => filled
                .iter()
                .map(|byte| u64::from(*byte))
                .sum::<u64>()
                .to_string(),
            "write" => fs::write("/dev/vda", format!("{rest:<512}"))
                .map_or_else(|e| e.to_string(), |()| "written".to_owned()),
            "read" => {
                let mut sector = [0; 512];
                let read =
                    fs::File::open("/dev/vda").and_then(|mut disk| disk.read_exact(&mut sector));
                read.map_or_else(
                    |e| e.to_string(),
                    |()| String::from_utf8_lossy(&sector).trim().to_owned(),
                )
            }
            "crash" => {
                fs::write("/proc/sysrq-trigger", "c").unwrap();
                String::new()
            }
            "off" => unsafe { reboot(POWER_OFF) }.to_string(),
            _ => "what?".to_owned(),
        };
        let _ = port.write_all(format!("{answer}\n").as_bytes());
    }
}
