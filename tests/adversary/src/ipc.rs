//! System V and POSIX objects of the host, which are names without files.

use std::fs;

use crate::attempt::{Attempt, Verdict, attempt};
use crate::call::{Step, c, sys};
use crate::stage;

pub(crate) const ATTEMPTS: &[Attempt] = &[
    attempt!(system_v_segment, "attach a System V segment of the host"),
    attempt!(posix_queue, "receive from a POSIX queue of the host"),
    attempt!(
        shared_memory_file,
        "open a POSIX shared memory object of the host"
    ),
];

/// shmget(2): shared across everything but an IPC namespace.
fn system_v_segment() -> Verdict {
    let key = stage::number("ATTEMPT_SHM_KEY")?;
    let segment = sys!(libc::shmget(key, 0, 0)).attack("shmget")?;
    let at = sys!(libc::shmat(
        segment as i32,
        std::ptr::null(),
        libc::SHM_RDONLY
    ))
    .attack("shmat")?;
    let bytes = unsafe { std::slice::from_raw_parts(at as *const u8, 4096) };
    stage::reveals(bytes, "a System V segment")
}

/// mq_overview(7).
fn posix_queue() -> Verdict {
    let name = c(stage::text("ATTEMPT_QUEUE")?);
    let queue = sys!(libc::mq_open(
        name.as_ptr(),
        libc::O_RDONLY | libc::O_NONBLOCK
    ))
    .attack("mq_open")? as i32;
    let mut bytes = vec![0u8; 8192];
    let length = sys!(libc::mq_receive(
        queue,
        bytes.as_mut_ptr().cast(),
        bytes.len(),
        std::ptr::null_mut()
    ))
    .attack("mq_receive")?;
    stage::reveals(&bytes[..length as usize], "a POSIX queue")
}

/// shm_overview(7): a file in /dev/shm.
fn shared_memory_file() -> Verdict {
    let path = stage::text("ATTEMPT_SHM_FILE")?;
    stage::reveals(&fs::read(&path).attack(&format!("open {path}"))?, &path)
}
