//! System calls (syscalls(2)), as the few that are needed here.

use core::arch::asm;
use core::ffi::{CStr, c_char};

const READ: usize = 0;
const WRITE: usize = 1;
const OPEN: usize = 2;
const CLOSE: usize = 3;
const IOCTL: usize = 16;
const NANOSLEEP: usize = 35;
const GETPID: usize = 39;
const EXECVE: usize = 59;
const EXIT: usize = 60;
const CHDIR: usize = 80;
const FCHDIR: usize = 81;
const MKDIR: usize = 83;
const UNLINK: usize = 87;
const CHROOT: usize = 161;
const SYNC: usize = 162;
const MOUNT: usize = 165;
const UMOUNT2: usize = 166;
const REBOOT: usize = 169;
const FINIT_MODULE: usize = 313;

/// Of open(2).
pub(crate) const READ_ONLY: usize = 0;
const CLOSE_ON_EXEC: usize = 0o2_000_000;
const NO_CONTROLLING_TERMINAL: usize = 0o400;
/// A folder itself, and no link to one: `O_PATH | O_DIRECTORY | O_NOFOLLOW`.
pub(crate) const FOLDER: usize = 0o10_000_000 | 0o200_000 | 0o400_000;

/// Of mount(2).
pub(crate) const MOUNT_READ_ONLY: usize = 1;
pub(crate) const MOUNT_NO_SUID: usize = 2;
pub(crate) const MOUNT_NO_DEVICES: usize = 4;
pub(crate) const MOUNT_MOVE: usize = 8192;
const DETACH: usize = 2;

const DRAIN: usize = 0x5409;
const MAGIC: [usize; 2] = [0xfee1_dead, 672_274_793];
const POWER_OFF: usize = 0x4321_fedc;

/// Of errno(3).
pub(crate) const NO_ENTRY: i32 = 2;
pub(crate) const EXISTS: i32 = 17;
pub(crate) const TOO_BIG: i32 = 27;
pub(crate) const TIMED_OUT: i32 = 110;

/// A number of errno(3).
pub(crate) type Result<T> = core::result::Result<T, i32>;

/// # Safety
/// The arguments are what the call takes: addresses in them are valid for what it does with them.
unsafe fn call(number: usize, arguments: [usize; 5]) -> Result<usize> {
    let [a, b, c, d, e] = arguments;
    let result: isize;
    // SAFETY: the kernel changes the result's register and these two (syscall(2)); as for memory,
    // the caller answers.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number.cast_signed() => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    match result {
        -4095..=-1 => Err(i32::try_from(-result).unwrap_or(i32::MAX)),
        result => Ok(result.cast_unsigned()),
    }
}

fn address(text: &CStr) -> usize {
    text.as_ptr().addr()
}

/// An open file; the few there are are closed by hand, or by the end of this program.
#[derive(Clone, Copy)]
pub(crate) struct File(usize);

impl File {
    pub(crate) const ERRORS: File = File(2);

    pub(crate) fn open(path: &CStr, flags: usize) -> Result<Self> {
        let flags = flags | CLOSE_ON_EXEC | NO_CONTROLLING_TERMINAL;
        // SAFETY: the path is a string.
        unsafe { call(OPEN, [address(path), flags, 0, 0, 0]) }.map(Self)
    }

    pub(crate) fn close(self) {
        // SAFETY: no memory is concerned.
        let _ = unsafe { call(CLOSE, [self.0, 0, 0, 0, 0]) };
    }

    pub(crate) fn read(self, buffer: &mut [u8]) -> Result<usize> {
        let (start, length) = (buffer.as_mut_ptr().expose_provenance(), buffer.len());
        // SAFETY: the kernel writes at most this length there.
        unsafe { call(READ, [self.0, start, length, 0, 0]) }
    }

    pub(crate) fn write(self, bytes: &[u8]) -> Result<usize> {
        let start = bytes.as_ptr().expose_provenance();
        // SAFETY: the kernel reads this length there.
        unsafe { call(WRITE, [self.0, start, bytes.len(), 0, 0]) }
    }

    /// Waits until a terminal has sent everything (tcdrain(3)).
    pub(crate) fn drain(self) {
        // SAFETY: a number is all it takes.
        let _ = unsafe { call(IOCTL, [self.0, DRAIN, 1, 0, 0]) };
    }

    pub(crate) fn load_module(self) -> Result<()> {
        // SAFETY: the parameters are an empty string.
        unsafe { call(FINIT_MODULE, [self.0, address(c""), 0, 0, 0]) }.map(drop)
    }

    pub(crate) fn enter(self) -> Result<()> {
        // SAFETY: no memory is concerned.
        unsafe { call(FCHDIR, [self.0, 0, 0, 0, 0]) }.map(drop)
    }
}

pub(crate) fn process_id() -> usize {
    // SAFETY: it takes nothing and can't fail.
    unsafe { call(GETPID, [0; 5]) }.unwrap_or(0)
}

pub(crate) fn exit(status: usize) -> ! {
    loop {
        // SAFETY: it doesn't come back.
        let _ = unsafe { call(EXIT, [status, 0, 0, 0, 0]) };
    }
}

pub(crate) fn sleep(milliseconds: usize) {
    let time = [0, milliseconds * 1_000_000];
    // SAFETY: the time is seconds and nanoseconds, as a timespec is.
    let _ = unsafe {
        call(
            NANOSLEEP,
            [(&raw const time).expose_provenance(), 0, 0, 0, 0],
        )
    };
}

pub(crate) fn make_folder(path: &CStr) -> Result<()> {
    // SAFETY: the path is a string.
    unsafe { call(MKDIR, [address(path), 0o755, 0, 0, 0]) }.map(drop)
}

pub(crate) fn unlink(path: &CStr) {
    // SAFETY: the path is a string.
    let _ = unsafe { call(UNLINK, [address(path), 0, 0, 0, 0]) };
}

pub(crate) fn enter(path: &CStr) -> Result<()> {
    // SAFETY: the path is a string.
    unsafe { call(CHDIR, [address(path), 0, 0, 0, 0]) }.map(drop)
}

pub(crate) fn change_root(path: &CStr) -> Result<()> {
    // SAFETY: the path is a string.
    unsafe { call(CHROOT, [address(path), 0, 0, 0, 0]) }.map(drop)
}

pub(crate) fn mount(source: &CStr, target: &CStr, kind: &CStr, flags: usize) -> Result<()> {
    let strings = [source, target, kind].map(address);
    // SAFETY: all three are strings, and there are no options.
    unsafe { call(MOUNT, [strings[0], strings[1], strings[2], flags, 0]) }.map(drop)
}

pub(crate) fn unmount(path: &CStr) {
    // SAFETY: the path is a string.
    let _ = unsafe { call(UMOUNT2, [address(path), DETACH, 0, 0, 0]) };
}

/// Becomes another program, or says why not.
///
/// # Safety
/// Both lists end with null and hold strings.
pub(crate) unsafe fn execute(
    program: &CStr,
    arguments: *const *const c_char,
    environment: *const *const c_char,
) -> i32 {
    let (arguments, environment) = (
        arguments.expose_provenance(),
        environment.expose_provenance(),
    );
    // SAFETY: as the caller promises.
    match unsafe { call(EXECVE, [address(program), arguments, environment, 0, 0]) } {
        Ok(_) => 0,
        Err(errno) => errno,
    }
}

/// Ends the machine. A kernel that can't switch it off panics instead, as its first process ends.
pub(crate) fn power_off() -> ! {
    // SAFETY: they take numbers.
    let _ = unsafe { call(SYNC, [0; 5]) };
    // SAFETY: as above.
    let _ = unsafe { call(REBOOT, [MAGIC[0], MAGIC[1], POWER_OFF, 0, 0]) };
    exit(1)
}
