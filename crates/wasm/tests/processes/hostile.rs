//! What a worker or a compiler tries that was taken over by its guest.

use crate::guest::{CODE, GARBAGE, GIFT, PROBE, SEAL, ask, processes};
use casemate_wasm::process::CompileLimits;
use casemate_wasm::wire::{Broken, Malformed};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use std::time::{Duration, Instant};

/// Every attempt, a line each: its name, and `refused` or `WORKED`.
pub(crate) fn attempts(controller: i32, other: i32) -> String {
    let mut report = String::new();
    let mut memory = [0u64; 64];
    let at = memory.as_mut_ptr() as i64;
    let path = c"/".as_ptr() as i64;
    let exe = c"/proc/self/exe".as_ptr() as i64;
    let iov = [at, 8];
    let iov = iov.as_ptr() as i64;
    // SAFETY: a mapping that is this function's own.
    let page = unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ, flags, -1, 0)
    } as i64;
    let anonymous = i64::from(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    let rx = i64::from(libc::PROT_READ | libc::PROT_EXEC);
    let rwx = rx | i64::from(libc::PROT_WRITE);
    let users = i64::from(libc::CLONE_NEWUSER);
    let thread_in_users = 0x003d_0f00 | users;
    let here = i64::from(libc::AT_FDCWD);
    let (controller, other) = (i64::from(controller), i64::from(other));
    let attempts: &[(&str, i64, [i64; 6])] = &[
        ("open", libc::SYS_open, [path, 0, 0, 0, 0, 0]),
        ("openat", libc::SYS_openat, [here, path, 0, 0, 0, 0]),
        ("openat of /proc", libc::SYS_openat, [here, exe, 0, 0, 0, 0]),
        ("openat2", libc::SYS_openat2, [here, path, at, 24, 0, 0]),
        ("stat", libc::SYS_newfstatat, [here, exe, at, 0, 0, 0]),
        ("chdir", libc::SYS_chdir, [path, 0, 0, 0, 0, 0]),
        ("execve", libc::SYS_execve, [exe, 0, 0, 0, 0, 0]),
        ("execveat", libc::SYS_execveat, [here, exe, 0, 0, 0, 0]),
        ("fork", libc::SYS_fork, [0; 6]),
        ("vfork", libc::SYS_vfork, [0; 6]),
        ("clone of a process", libc::SYS_clone, [17, 0, 0, 0, 0, 0]),
        (
            "clone with namespaces",
            libc::SYS_clone,
            [thread_in_users, at, 0, 0, 0, 0],
        ),
        (
            "clone of a thread and more",
            libc::SYS_clone,
            [thread_in_users & !users | 1, 0, 0, 0, 0, 0],
        ),
        ("clone3", libc::SYS_clone3, [at, 88, 0, 0, 0, 0]),
        ("socket", libc::SYS_socket, [1, 1, 0, 0, 0, 0]),
        ("socketpair", libc::SYS_socketpair, [1, 1, 0, at, 0, 0]),
        ("connect", libc::SYS_connect, [3, at, 16, 0, 0, 0]),
        ("bind", libc::SYS_bind, [3, at, 2, 0, 0, 0]),
        ("ptrace", libc::SYS_ptrace, [0x4206, other, 0, 0, 0, 0]),
        (
            "process_vm_readv",
            libc::SYS_process_vm_readv,
            [other, iov, 1, iov, 1, 0],
        ),
        (
            "process_vm_writev",
            libc::SYS_process_vm_writev,
            [other, iov, 1, iov, 1, 0],
        ),
        ("kill", libc::SYS_kill, [controller, 9, 0, 0, 0, 0]),
        ("kill of all", libc::SYS_kill, [-1, 9, 0, 0, 0, 0]),
        ("tkill", libc::SYS_tkill, [controller, 9, 0, 0, 0, 0]),
        (
            "tgkill",
            libc::SYS_tgkill,
            [controller.max(2), controller.max(2), 9, 0, 0, 0],
        ),
        ("pidfd_open", libc::SYS_pidfd_open, [1, 0, 0, 0, 0, 0]),
        ("pidfd_getfd", libc::SYS_pidfd_getfd, [3, 0, 0, 0, 0, 0]),
        (
            "mmap of code",
            libc::SYS_mmap,
            [0, 4096, rx, anonymous, -1, 0],
        ),
        (
            "mmap of written code",
            libc::SYS_mmap,
            [0, 4096, rwx, anonymous, -1, 0],
        ),
        (
            "mprotect to code",
            libc::SYS_mprotect,
            [page, 4096, rx, 0, 0, 0],
        ),
        (
            "pkey_mprotect to code",
            libc::SYS_pkey_mprotect,
            [page, 4096, rx, -1, 0, 0],
        ),
        (
            "memfd_create",
            libc::SYS_memfd_create,
            [path, 0, 0, 0, 0, 0],
        ),
        ("memfd_secret", libc::SYS_memfd_secret, [0; 6]),
        ("shmget", libc::SYS_shmget, [0, 4096, 0o1777, 0, 0, 0]),
        ("unshare", libc::SYS_unshare, [users, 0, 0, 0, 0, 0]),
        ("setns", libc::SYS_setns, [3, 0, 0, 0, 0, 0]),
        ("mount", libc::SYS_mount, [path, path, 0, 0x1000, 0, 0]),
        (
            "fsopen",
            libc::SYS_fsopen,
            [c"tmpfs".as_ptr() as i64, 0, 0, 0, 0, 0],
        ),
        ("chroot", libc::SYS_chroot, [path, 0, 0, 0, 0, 0]),
        ("pivot_root", libc::SYS_pivot_root, [path, path, 0, 0, 0, 0]),
        ("PR_SET_DUMPABLE", libc::SYS_prctl, [4, 1, 0, 0, 0, 0]),
        (
            "PR_SET_PTRACER",
            libc::SYS_prctl,
            [0x5961_6d61, -1, 0, 0, 0, 0],
        ),
        ("PR_SET_MDWE", libc::SYS_prctl, [65, 0, 0, 0, 0, 0]),
        ("PR_SET_THP_DISABLE", libc::SYS_prctl, [41, 0, 0, 0, 0, 0]),
        ("PR_SET_MM", libc::SYS_prctl, [35, 8, at, 0, 0, 0]),
        (
            "io_uring_setup",
            libc::SYS_io_uring_setup,
            [8, at, 0, 0, 0, 0],
        ),
        ("bpf", libc::SYS_bpf, [0, at, 72, 0, 0, 0]),
        (
            "perf_event_open",
            libc::SYS_perf_event_open,
            [at, 0, -1, -1, 0, 0],
        ),
        ("keyctl", libc::SYS_keyctl, [1, 0, 0, 0, 0, 0]),
        ("add_key", libc::SYS_add_key, [path, path, at, 1, -1, 0]),
        ("userfaultfd", libc::SYS_userfaultfd, [0, 0, 0, 0, 0, 0]),
        (
            "personality",
            libc::SYS_personality,
            [0x0040_0000, 0, 0, 0, 0, 0],
        ),
        ("setuid", libc::SYS_setuid, [0, 0, 0, 0, 0, 0]),
        ("capset", libc::SYS_capset, [at, at, 0, 0, 0, 0]),
        (
            "prlimit of another",
            libc::SYS_prlimit64,
            [other.max(2), 7, 0, at, 0, 0],
        ),
        (
            "seccomp with a listener",
            libc::SYS_seccomp,
            [1, 8, at, 0, 0, 0],
        ),
        ("arch_prctl", libc::SYS_arch_prctl, [0x1003, at, 0, 0, 0, 0]),
        ("modify_ldt", libc::SYS_modify_ldt, [0, at, 16, 0, 0, 0]),
        (
            "landlock",
            libc::SYS_landlock_create_ruleset,
            [at, 8, 0, 0, 0, 0],
        ),
        ("TIOCSTI", libc::SYS_ioctl, [0, 0x5412, at, 0, 0, 0]),
        ("TIOCGWINSZ", libc::SYS_ioctl, [2, 0x5413, at, 0, 0, 0]),
        (
            "MADV_MERGEABLE",
            libc::SYS_madvise,
            [page, 4096, 12, 0, 0, 0],
        ),
        (
            "futex with priorities",
            libc::SYS_futex,
            [at, 6, 0, 0, 0, 0],
        ),
        ("dup", libc::SYS_dup, [3, 0, 0, 0, 0, 0]),
        ("getppid", libc::SYS_getppid, [0; 6]),
        ("uname", libc::SYS_uname, [at, 0, 0, 0, 0, 0]),
        ("sysinfo", libc::SYS_sysinfo, [at, 0, 0, 0, 0, 0]),
    ];
    for (name, call, [a, b, c, d, e, f]) in attempts {
        // SAFETY: each is refused; what isn't would end the test in a worker that is of no other use.
        let result = unsafe { libc::syscall(*call, *a, *b, *c, *d, *e, *f) };
        let word = if result == -1 { "refused" } else { "WORKED" };
        report += &format!("{name}: {word}\n");
    }
    report
}

/// What holds without the filter, and before a worker gives anything up itself: the root is empty and
/// can't be written, no network is up, nothing written becomes code, and there is nobody to signal.
pub(crate) fn before_the_filter() {
    assert_eq!(std::fs::read_dir("/").unwrap().count(), 0);
    std::fs::File::open("/proc/self/status").unwrap_err();
    std::fs::write("/new", b"").unwrap_err();
    std::net::TcpStream::connect("127.0.0.1:1").unwrap_err();
    std::net::TcpStream::connect("192.0.2.1:1").unwrap_err();
    assert_eq!(std::process::id(), 1);
    let write = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: mappings that are this function's own, and a signal that isn't one.
    unsafe {
        let map = |protection| libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0);
        assert_eq!(map(write | libc::PROT_EXEC), libc::MAP_FAILED);
        let page = map(write);
        assert_ne!(page, libc::MAP_FAILED);
        assert_eq!(
            libc::mprotect(page, 4096, libc::PROT_READ | libc::PROT_EXEC),
            -1
        );
        assert_eq!(libc::kill(2, 0), -1);
    }
}

/// Maps a file as code and says whether it could.
pub(crate) fn map_code(file: &OwnedFd) -> String {
    let flags = libc::MAP_PRIVATE;
    let protection = libc::PROT_READ | libc::PROT_EXEC;
    // SAFETY: a new mapping that nothing else uses.
    let at = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            4096,
            protection,
            flags,
            file.as_raw_fd(),
            0,
        )
    };
    if at == libc::MAP_FAILED {
        return "refused".to_owned();
    }
    // SAFETY: the file holds `mov eax, 42; ret`, which is a function without arguments.
    let function: extern "C" fn() -> i32 = unsafe { std::mem::transmute(at) };
    function().to_string()
}

/// The numbers below 1024 that are open.
pub(crate) fn open_descriptors() -> String {
    let open = (0..1024).filter(|fd| {
        // SAFETY: reads a flag.
        unsafe { libc::fcntl(*fd, libc::F_GETFD) >= 0 }
    });
    open.map(|fd| fd.to_string()).collect::<Vec<_>>().join(" ")
}

/// Takes no signal and never ends.
pub(crate) fn ignore_everything() -> ! {
    for signal in 1..65 {
        // SAFETY: SIG_IGN is a valid disposition; the two that can't be ignored say so.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    loop {
        std::thread::park();
    }
}

/// What an honest worker does: allocates, starts threads, asks the kernel about its pages.
pub(crate) fn live(opened: &[OwnedFd; 2]) -> String {
    let large = vec![5u8; 64 << 20];
    let small: Vec<String> = (0..10_000).map(|n| n.to_string()).collect();
    let threads: Vec<_> = (0..2)
        .map(|n| std::thread::spawn(move || vec![n; 1 << 20].iter().sum::<u64>()))
        .collect();
    let sum: u64 = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .sum();
    // struct uffdio_api: api, features, ioctls.
    let mut api = [0xAAu64, 0, 0];
    // SAFETY: the request takes three numbers.
    let shaken = unsafe { libc::ioctl(opened[0].as_raw_fd(), 0xC018_AA3F, api.as_mut_ptr()) };
    let mut scan = [0u64; 12];
    let start = large.as_ptr() as u64 & !4095;
    (scan[0], scan[2], scan[3]) = (96, start, start + (1 << 20));
    let mut found = [0u64; 3];
    (scan[5], scan[6], scan[9], scan[11]) = (found.as_mut_ptr() as u64, 1, 8, 8);
    // SAFETY: the request takes a pm_scan_arg, which is that long; what it finds has a place.
    let regions = unsafe { libc::ioctl(opened[1].as_raw_fd(), 0xC060_6610, scan.as_mut_ptr()) };
    let _ = std::thread::current().name();
    format!(
        "{} {} {sum} {shaken} {regions} {}",
        large.iter().filter(|byte| **byte == 5).count(),
        small.len(),
        std::env::vars_os().count(),
    )
}

/// `mov eax, 42; ret` in a sealed file.
fn code() -> OwnedFd {
    sealed(&[0xb8, 42, 0, 0, 0, 0xc3])
}

pub(crate) fn sealed(bytes: &[u8]) -> OwnedFd {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = memfd_create("test", flags).unwrap();
    rustix::io::write(&file, bytes).unwrap();
    let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    fcntl_add_seals(&file, seals).unwrap();
    file
}

fn assert_refused(report: &str) {
    let worked: Vec<&str> = report
        .lines()
        .filter(|line| !line.ends_with(": refused"))
        .collect();
    assert!(worked.is_empty(), "{worked:?}");
    assert!(report.lines().count() > 60, "{report}");
}

pub(crate) fn worker() {
    let processes = processes("");
    let other = processes.worker().unwrap();
    let mut worker = processes.worker().unwrap();
    let victims = [std::process::id() as i32, other.pid()];
    let payload: Vec<u8> = victims.iter().flat_map(|pid| pid.to_le_bytes()).collect();
    let (code, deadline) = (code(), Some(Instant::now() + Duration::from_secs(60)));
    let map_code = |worker: &mut casemate_wasm::process::Worker| {
        worker
            .connection
            .send(CODE, b"", &[code.as_fd()], deadline)
            .unwrap();
        worker.connection.receive(deadline).unwrap().0.payload
    };
    assert_refused(&ask(&mut worker, PROBE, &payload).unwrap());
    assert_eq!(map_code(&mut worker), b"42");
    assert_refused(&ask(&mut worker, SEAL, b"").unwrap());
    assert_eq!(map_code(&mut worker), b"refused");
    assert_refused(&ask(&mut worker, PROBE, &payload).unwrap());
}

pub(crate) fn compiler() {
    let processes = processes("");
    let limits = CompileLimits::default();
    let report = processes
        .compile(sealed(b"probe").as_fd(), &limits)
        .unwrap();
    let mut text = vec![0; 1 << 16];
    let length = rustix::io::pread(&report, &mut text, 0).unwrap();
    assert_refused(std::str::from_utf8(&text[..length]).unwrap());
}

pub(crate) fn garbage() {
    let processes = processes("");
    let mut bystander = processes.worker().unwrap();
    let soon = || Some(Instant::now() + Duration::from_secs(60));
    for (bytes, expected) in [
        (&[0xff; 8][..], Malformed::TooLong(u32::MAX)),
        (
            &[0, 0, 0, 0, 1, 0, 17, 0],
            Malformed::TooManyDescriptors(17),
        ),
        (&[0, 0, 0, 0, 1, 0, 3, 0], Malformed::Descriptors),
    ] {
        let mut worker = processes.worker().unwrap();
        worker.connection.send(GARBAGE, bytes, &[], soon()).unwrap();
        let broken = worker.connection.receive(soon()).unwrap_err();
        assert_eq!(broken, Broken::Malformed(expected));
    }
    let mut worker = processes.worker().unwrap();
    let broken = ask(&mut worker, GIFT, b"").unwrap_err();
    assert_eq!(broken, Broken::Malformed(Malformed::Descriptors));
    ask(&mut bystander, crate::guest::ECHO, b"still here").unwrap();
}
