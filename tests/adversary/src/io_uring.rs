//! Calls made through a ring of requests: a filter of system calls never sees them.

use std::mem::size_of;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::attempt::{Attempt, Stop, Verdict, attempt};
use crate::call::{Step, c, read, sys};
use crate::{sockets, stage, unix};

pub(crate) const ATTEMPTS: &[Attempt] = &[
    attempt!(ring_setup, "set up an io_uring").kernel("io_uring"),
    attempt!(ring_open, "open the caller's key through io_uring").kernel("io_uring"),
    attempt!(
        ring_connect,
        "connect to a Unix socket of the host through io_uring"
    )
    .kernel("io_uring"),
];

/// linux/io_uring.h.
const OP_CONNECT: u8 = 16;
const OP_OPENAT: u8 = 18;
const OFFSET_RING: i64 = 0;
const OFFSET_REQUESTS: i64 = 0x1000_0000;

/// struct io_uring_params as words: the offsets of both rings begin at the 10th and the 20th.
type Parameters = [u32; 30];

struct Ring {
    fd: i32,
    parameters: Parameters,
}

impl Ring {
    fn new() -> Result<Self, Stop> {
        let mut parameters: Parameters = [0; 30];
        let fd = sys!(libc::syscall(libc::SYS_io_uring_setup, 1, &mut parameters))
            .attack("io_uring_setup")?;
        Ok(Self {
            fd: fd as i32,
            parameters,
        })
    }

    fn map(&self, offset: i64) -> Result<*mut u8, Stop> {
        let (rights, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        let at = sys!(libc::mmap(
            std::ptr::null_mut(),
            8192,
            rights,
            shared,
            self.fd,
            offset
        ))
        .prepare("mmap of the ring")?;
        Ok(at as *mut u8)
    }

    /// Makes one request, waits for it, and gives its result.
    fn submit(&self, request: [u64; 8]) -> Result<i32, Stop> {
        let (ring, requests) = (self.map(OFFSET_RING)?, self.map(OFFSET_REQUESTS)?);
        let [tail, array] = [11, 16].map(|word| self.parameters[word] as usize);
        let completions = self.parameters[25] as usize;
        unsafe {
            requests.cast::<[u64; 8]>().write(request);
            ring.add(array).cast::<u32>().write(0);
            (*ring.add(tail).cast::<AtomicU32>()).store(1, Ordering::Release);
        }
        const GET_EVENTS: u32 = 1;
        sys!(libc::syscall(
            libc::SYS_io_uring_enter,
            self.fd,
            1,
            1,
            GET_EVENTS,
            0,
            0
        ))
        .attack("io_uring_enter")?;
        // Of a completion, the first eight bytes are the caller's and the next four the result.
        let result = unsafe { ring.add(completions + 8).cast::<i32>().read_volatile() };
        match result {
            error if error < 0 => {
                Err(std::io::Error::from_raw_os_error(-error)).attack("io_uring request")
            }
            result => Ok(result),
        }
    }
}

/// The first words of a request: operation and descriptor, offset, address, length and flags.
fn request(operation: u8, fd: i32, offset: u64, address: u64, length_and_flags: u64) -> [u64; 8] {
    let head = u64::from(operation) | u64::from(fd as u32) << 32;
    [head, offset, address, length_and_flags, 0, 0, 0, 0]
}

/// io_uring_setup(2): an attack surface by itself.
fn ring_setup() -> Verdict {
    let ring = Ring::new()?;
    Ok(format!("descriptor {} is a ring", ring.fd))
}

/// IORING_OP_OPENAT.
fn ring_open() -> Verdict {
    let path = c(stage::secret()?);
    let path = path.as_ptr() as u64;
    let fd = Ring::new()?.submit(request(OP_OPENAT, libc::AT_FDCWD, 0, path, 0))?;
    stage::reveals(&read(fd).attack("read")?, "io_uring")
}

/// Connects a socket by a request of a ring.
pub(crate) fn connect_by_ring(
    fd: i32,
    address: *const libc::sockaddr,
    length: u32,
) -> Result<(), Stop> {
    Ring::new()?.submit(request(OP_CONNECT, fd, length.into(), address as u64, 0))?;
    Ok(())
}

/// IORING_OP_CONNECT.
fn ring_connect() -> Verdict {
    let fd = sys!(libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)).attack("socket")? as i32;
    let address = unix::address(stage::workspace("before.sock")?)?;
    let length = size_of::<libc::sockaddr_un>() as u32;
    connect_by_ring(fd, std::ptr::from_ref(&address).cast(), length)?;
    sockets::greeting(fd, "io_uring")
}
