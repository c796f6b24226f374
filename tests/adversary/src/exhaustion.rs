//! Using up what the machine has. Each attempt goes well past the limit that it was told, holds
//! what it took long enough for a supervisor that only looks now and then, and gives it back.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::attempt::Setting::{Disk, Memory, Pids};
use crate::attempt::{Attempt, CAP_SYS_RESOURCE, Stop, Verdict, attempt};
use crate::call::{Step, blocked, c, fork, inconclusive, sleep, sys, wait};
use crate::stage;

pub(crate) const ATTEMPTS: &[Attempt] = &[
    attempt!(fork_bomb, "have 15,000 processes at once").with(Pids),
    attempt!(zombie_storm, "have 5,000 dead processes that nobody reaps").with(Pids),
    attempt!(thread_bomb, "have 5,000 threads at once").with(Pids),
    attempt!(touch_memory, "touch twice the memory of the limit").with(Memory),
    attempt!(
        touch_memory_together,
        "touch it in eight processes, each below the limit"
    )
    .with(Memory),
    attempt!(
        touch_memory_file,
        "fill a nameless memory file past the limit"
    )
    .with(Memory),
    attempt!(
        touch_shared_segment,
        "fill a System V segment past the limit"
    )
    .with(Memory),
    attempt!(fill_temporary, "fill /tmp past the disk limit").with(Disk),
    attempt!(fill_shared_memory, "fill /dev/shm past the limits").with(Disk),
    attempt!(fill_inodes, "make 200,000 empty files").with(Disk),
    attempt!(fill_descriptors, "have 100,000 open files").capability(CAP_SYS_RESOURCE),
    attempt!(dump_core, "leave a core dump"),
];

/// What a supervisor that polls may need to notice.
const HOLD: u64 = 700;
const MANY: usize = 5_000;

/// Reads a count from a child that keeps what it made until it is killed.
fn counted_in_child(count: impl FnOnce() -> usize) -> Result<usize, Stop> {
    let mut ends = [0; 2];
    sys!(libc::pipe(ends.as_mut_ptr())).prepare("pipe")?;
    let child = fork(|| {
        let bytes = count().to_ne_bytes();
        let _ = sys!(libc::write(ends[1], bytes.as_ptr().cast(), bytes.len()));
        sleep(5000);
        0
    })
    .prepare("fork")?;
    unsafe { libc::close(ends[1]) };
    let mut bytes = [0u8; 8];
    let length = sys!(libc::read(ends[0], bytes.as_mut_ptr().cast(), 8)).prepare("read")?;
    if length == 8 {
        sleep(300);
    }
    unsafe { libc::kill(child, libc::SIGKILL) };
    wait(child).prepare("waitpid")?;
    match length {
        8 => Ok(usize::from_ne_bytes(bytes)),
        _ => blocked("the child that made them was killed"),
    }
}

fn at_least(wanted: usize, count: usize, what: &str) -> Verdict {
    match count >= wanted {
        true => Ok(format!("{count} {what} at once")),
        false => blocked(format!("stopped after {count} {what}")),
    }
}

/// The oldest of all denials of service. The children die with their parent.
fn fork_bomb() -> Verdict {
    const WANTED: usize = 15_000;
    let end = Instant::now() + Duration::from_millis(3000);
    let count = counted_in_child(|| {
        let pause = || unsafe { libc::pause() };
        (0..20_000)
            .take_while(|_| Instant::now() < end && fork(pause).is_ok())
            .count()
    })?;
    if count < WANTED && Instant::now() > end {
        return inconclusive(format!("only {count} processes in three seconds"));
    }
    at_least(WANTED, count, "processes")
}

/// wait(2), "zombie": a dead process still has its number.
fn zombie_storm() -> Verdict {
    let count = counted_in_child(|| (0..MANY).take_while(|_| fork(|| 0).is_ok()).count())?;
    at_least(MANY, count, "dead processes")
}

/// Threads count as processes do; clone(2), CLONE_THREAD.
fn thread_bomb() -> Verdict {
    let count = counted_in_child(|| {
        let start = || {
            let builder = std::thread::Builder::new().stack_size(16 << 10);
            builder.spawn(|| sleep(5000)).is_ok()
        };
        (0..MANY).take_while(|_| start()).count()
    })?;
    at_least(MANY, count, "threads")
}

fn memory_wanted() -> Result<usize, Stop> {
    Ok(2 * stage::number::<usize>("ATTEMPT_MEMORY")?)
}

/// Maps memory and writes to each page of it.
fn touch(length: usize) -> Result<(), Stop> {
    let (rights, flags) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
    );
    let at = sys!(libc::mmap(
        std::ptr::null_mut(),
        length,
        rights,
        flags,
        -1,
        0
    ))
    .attack("mmap")?;
    fill(at as *mut u8, length);
    Ok(())
}

fn fill(at: *mut u8, length: usize) {
    for offset in (0..length).step_by(4096) {
        unsafe { at.add(offset).write_volatile(1) };
    }
}

fn held(length: usize) -> Verdict {
    sleep(HOLD);
    Ok(format!("{} MiB were held", length >> 20))
}

/// The kernel gives a page when it is written, not when it is mapped.
fn touch_memory() -> Verdict {
    let length = memory_wanted()?;
    touch(length)?;
    held(length)
}

/// RLIMIT_AS counts each process by itself; getrlimit(2).
fn touch_memory_together() -> Verdict {
    let length = memory_wanted()?;
    let start = || {
        fork(move || match touch(length / 8) {
            Ok(()) => {
                sleep(HOLD + 500);
                0
            }
            Err(_) => 1,
        })
    };
    let children: Vec<_> = (0..8).map(|_| start()).collect();
    for child in children {
        let status = wait(child.attack("fork")?).prepare("waitpid")?;
        if status != 0 {
            return blocked(format!("one of eight ended with wait status {status:#x}"));
        }
    }
    Ok(format!("{} MiB were held by eight processes", length >> 20))
}

fn write_all(mut file: impl Write, length: usize) -> Result<(), Stop> {
    let block = vec![1u8; 1 << 20];
    for _ in 0..length >> 20 {
        file.write_all(&block).attack("write")?;
    }
    Ok(())
}

/// memfd_create(2): memory that is in no process's address space.
fn touch_memory_file() -> Verdict {
    let length = memory_wanted()?;
    let fd =
        sys!(libc::memfd_create(c("fill").as_ptr(), libc::MFD_CLOEXEC)).attack("memfd_create")?;
    let file: fs::File = unsafe { std::os::fd::FromRawFd::from_raw_fd(fd as i32) };
    write_all(&file, length)?;
    held(length)
}

/// shmget(2): the segment would outlive the processes, so it is marked for removal at once.
fn touch_shared_segment() -> Verdict {
    let length = memory_wanted()?;
    let segment = sys!(libc::shmget(libc::IPC_PRIVATE, length, 0o600)).attack("shmget")? as i32;
    let at = sys!(libc::shmat(segment, std::ptr::null(), 0));
    sys!(libc::shmctl(segment, libc::IPC_RMID, std::ptr::null_mut())).prepare("shmctl")?;
    fill(at.attack("shmat")? as *mut u8, length);
    held(length)
}

fn fill_directory(directory: &str) -> Verdict {
    let length = 2 * stage::number::<usize>("ATTEMPT_DISK")?;
    let path = Path::new(directory).join(format!("fill-{}", std::process::id()));
    let file = fs::File::create_new(&path).attack(&format!("create {}", path.display()))?;
    let result = write_all(file, length).and_then(|()| held(length));
    let _ = fs::remove_file(path);
    result
}

/// The place where programs leave things.
fn fill_temporary() -> Verdict {
    fill_directory("/tmp")
}

/// shm_overview(7): half of the machine's memory by default.
fn fill_shared_memory() -> Verdict {
    fill_directory("/dev/shm")
}

/// A file takes an inode even if it is empty. They lie in memory, to be quick outside too.
fn fill_inodes() -> Verdict {
    const WANTED: usize = 200_000;
    let mut last = inconclusive("no place for files");
    for directory in ["/dev/shm", "/tmp"] {
        let path = Path::new(directory).join(format!("inodes-{}", std::process::id()));
        if fs::create_dir(&path).is_err() {
            continue;
        }
        let end = Instant::now() + Duration::from_secs(2);
        let create = |number: &usize| {
            Instant::now() < end && fs::File::create(path.join(number.to_string())).is_ok()
        };
        let count = (0..WANTED).take_while(create).count();
        let late = Instant::now() >= end;
        let _ = fs::remove_dir_all(&path);
        last = at_least(WANTED, count, "files");
        match (late, &last) {
            (_, Ok(_)) => return last,
            (true, _) => return inconclusive(format!("{count} files in two seconds")),
            _ => {}
        }
    }
    last
}

/// The machine's table of open files is shared by all; proc_sys_fs(5), file-max.
fn fill_descriptors() -> Verdict {
    const WANTED: usize = 100_000;
    let mut limit: libc::rlimit64 = unsafe { std::mem::zeroed() };
    sys!(libc::getrlimit64(libc::RLIMIT_NOFILE, &mut limit)).prepare("getrlimit")?;
    limit.rlim_cur = limit.rlim_max.max(WANTED as u64 + 100);
    limit.rlim_max = limit.rlim_cur;
    if sys!(libc::setrlimit64(libc::RLIMIT_NOFILE, &limit)).is_err() {
        // Not more than the hard limit then.
        sys!(libc::getrlimit64(libc::RLIMIT_NOFILE, &mut limit)).prepare("getrlimit")?;
        limit.rlim_cur = limit.rlim_max;
        sys!(libc::setrlimit64(libc::RLIMIT_NOFILE, &limit)).prepare("setrlimit")?;
    }
    let count = (0..WANTED)
        .take_while(|_| sys!(libc::dup(0)).is_ok())
        .count();
    at_least(WANTED, count, "open files")
}

/// core(5): a dump may hold secrets, and may start a program of the host.
fn dump_core() -> Verdict {
    let unlimited = libc::rlimit64 {
        rlim_cur: u64::MAX,
        rlim_max: u64::MAX,
    };
    sys!(libc::setrlimit64(libc::RLIMIT_CORE, &unlimited)).attack("setrlimit")?;
    let directory = stage::workspace("dumps")?;
    fs::create_dir(&directory).prepare("mkdir")?;
    std::env::set_current_dir(&directory).prepare("chdir")?;
    let child = fork(|| unsafe { libc::abort() }).prepare("fork")?;
    let status = wait(child).prepare("waitpid")?;
    let files = fs::read_dir(&directory).prepare("opendir")?.count();
    let _ = fs::remove_dir_all(directory);
    match libc::WCOREDUMP(status) {
        true => Ok(format!("the kernel dumped core ({files} files here)")),
        false => blocked("the kernel dumped no core"),
    }
}
