//! System calls and how their failure is judged: a step of the attack, or of its preparation.

use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use crate::attempt::Stop;

unsafe extern "C" {
    fn strerrorname_np(errno: libc::c_int) -> *const libc::c_char;
}

/// The symbolic name of an errno, e.g. `EPERM`.
pub(crate) fn errno_name(error: &io::Error) -> String {
    let Some(number) = error.raw_os_error() else {
        return error.to_string();
    };
    let name = unsafe { strerrorname_np(number) };
    if name.is_null() {
        return format!("errno {number}");
    }
    unsafe { CStr::from_ptr(name) }
        .to_string_lossy()
        .into_owned()
}

/// What the result of a call means for the attempt that made it.
pub(crate) trait Step<T> {
    /// The call is the attack: its failure is the wall's success.
    fn attack(self, call: &str) -> Result<T, Stop>;
    /// The call only prepares the attack: its failure proves nothing.
    fn prepare(self, call: &str) -> Result<T, Stop>;
}

impl<T> Step<T> for io::Result<T> {
    fn attack(self, call: &str) -> Result<T, Stop> {
        self.map_err(|error| Stop::Blocked(format!("{call}: {}", errno_name(&error))))
    }

    fn prepare(self, call: &str) -> Result<T, Stop> {
        self.map_err(|error| Stop::Inconclusive(format!("{call}: {}", errno_name(&error))))
    }
}

/// The integers that libc's wrappers return, -1 meaning errno.
pub(crate) trait Return {
    fn value(self) -> i64;
}

impl Return for i32 {
    fn value(self) -> i64 {
        self.into()
    }
}

impl Return for i64 {
    fn value(self) -> i64 {
        self
    }
}

impl Return for isize {
    fn value(self) -> i64 {
        self as i64
    }
}

impl<T> Return for *mut T {
    fn value(self) -> i64 {
        self as i64
    }
}

/// Must be called before anything else can change errno.
pub(crate) fn check(ret: impl Return) -> io::Result<i64> {
    match ret.value() {
        -1 => Err(io::Error::last_os_error()),
        value => Ok(value),
    }
}

/// A libc call as an `io::Result`. The pointers passed live until the call returns.
macro_rules! sys {
    ($call:expr) => {
        $crate::call::check(unsafe { $call })
    };
}
pub(crate) use sys;

pub(crate) fn blocked<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Blocked(why.into()))
}

pub(crate) fn inconclusive<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Inconclusive(why.into()))
}

/// Paths of a stage never hold a NUL byte.
pub(crate) fn c(path: impl AsRef<Path>) -> CString {
    CString::new(path.as_ref().as_os_str().as_bytes()).unwrap_or_default()
}

pub(crate) fn open(path: impl AsRef<Path>, flags: i32) -> io::Result<i32> {
    open_mode(path, flags, 0)
}

pub(crate) fn open_mode(path: impl AsRef<Path>, flags: i32, mode: u32) -> io::Result<i32> {
    sys!(libc::open(c(path).as_ptr(), flags | libc::O_CLOEXEC, mode)).map(|fd| fd as i32)
}

pub(crate) fn read(fd: i32) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0u8; 4096];
    let length = sys!(libc::read(fd, bytes.as_mut_ptr().cast(), bytes.len()))?;
    bytes.truncate(length as usize);
    Ok(bytes)
}

/// Runs `body` in a child that dies with its parent, and ends it with the returned status.
pub(crate) fn fork(body: impl FnOnce() -> i32) -> io::Result<i32> {
    let pid = sys!(libc::fork())? as i32;
    if pid == 0 {
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        let status = body();
        unsafe { libc::_exit(status) };
    }
    Ok(pid)
}

/// Waits for a child and returns its raw wait status.
pub(crate) fn wait(pid: i32) -> io::Result<i32> {
    let mut status = 0;
    sys!(libc::waitpid(pid, &mut status, 0))?;
    Ok(status)
}

pub(crate) fn sleep(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}
