//! What is done, one after another, from the initramfs to the agent.

use crate::call::{self, File};
use crate::{console, list};
use core::ffi::{CStr, c_char};

/// The program that becomes process 1.
pub(crate) const AGENT: &CStr = c"/.casemate/agent";

const MODULES: &CStr = c"/modules";
/// Bytes of the list of modules.
const LIST: usize = 8 << 10;
/// A disk is waited for so many times so many milliseconds: an emulated machine on a busy host
/// takes its time.
const TRIES: usize = 12_000;
const PAUSE: usize = 5;

/// A step that failed.
pub(crate) struct Failure<'a> {
    what: &'static str,
    object: &'a CStr,
    errno: i32,
}

impl Failure<'_> {
    /// One line on the console.
    pub(crate) fn say(&self) {
        let mut room = [0; 10];
        let errno = list::digits(self.errno.unsigned_abs(), &mut room);
        let (what, object) = (self.what.as_bytes(), self.object.to_bytes());
        console::line(&[what, b" ", object, b": errno ", errno]);
    }
}

fn failed<'a>(what: &'static str, object: &'a CStr) -> impl FnOnce(i32) -> Failure<'a> {
    move |errno| Failure {
        what,
        object,
        errno,
    }
}

/// Everything up to the agent.
pub(crate) fn make() -> Result<(), Failure<'static>> {
    match call::make_folder(c"/dev") {
        Ok(()) | Err(call::EXISTS) => {}
        Err(errno) => return Err(failed("make", c"/dev")(errno)),
    }
    call::mount(c"devtmpfs", c"/dev", c"devtmpfs", 0).map_err(failed("mount", c"/dev"))?;
    if !modules() {
        // It has been said which one, and why.
        call::power_off();
    }
    wait(c"/dev/vda")?;
    wait(c"/dev/vdb")?;
    mount_disks()?;
    enter_root()
}

/// Loads what the list says; false if one could not be, after saying so.
fn modules() -> bool {
    let mut room = [0; LIST];
    let read = match read(MODULES, &mut room) {
        Ok(read) => read,
        // A kernel that has everything built in.
        Err(call::NO_ENTRY) => return true,
        Err(errno) => {
            failed("read", MODULES)(errno).say();
            return false;
        }
    };
    for path in list::paths(room.get(..read).unwrap_or_default()) {
        if let Err(errno) = load(path) {
            failed("load", path)(errno).say();
            return false;
        }
        // The initramfs is memory.
        call::unlink(path);
    }
    call::unlink(MODULES);
    true
}

fn load(path: &CStr) -> call::Result<()> {
    let file = File::open(path, call::READ_ONLY)?;
    let loaded = file.load_module();
    file.close();
    match loaded {
        Err(call::EXISTS) => Ok(()),
        other => other,
    }
}

/// Fills `room` from a file; one that is larger is refused.
fn read(path: &CStr, room: &mut [u8]) -> call::Result<usize> {
    let file = File::open(path, call::READ_ONLY)?;
    let mut filled = 0;
    loop {
        let rest = room.get_mut(filled..).unwrap_or_default();
        if rest.is_empty() {
            return Err(call::TOO_BIG);
        }
        match file.read(rest)? {
            0 => break,
            more => filled += more,
        }
    }
    file.close();
    Ok(filled)
}

/// Drivers find their devices while everybody else goes on.
fn wait(device: &'static CStr) -> Result<(), Failure<'static>> {
    for _ in 0..TRIES {
        match File::open(device, call::READ_ONLY) {
            Ok(file) => {
                file.close();
                return Ok(());
            }
            Err(_) => call::sleep(PAUSE),
        }
    }
    Err(failed("wait for", device)(call::TIMED_OUT))
}

fn mount_disks() -> Result<(), Failure<'static>> {
    match call::make_folder(c"/root") {
        Ok(()) | Err(call::EXISTS) => {}
        Err(errno) => return Err(failed("make", c"/root")(errno)),
    }
    call::mount(c"/dev/vda", c"/root", c"ext4", 0).map_err(failed("mount", c"/dev/vda"))?;
    call::enter(c"/root").map_err(failed("enter", c"/root"))?;
    match call::make_folder(c".casemate") {
        Ok(()) | Err(call::EXISTS) => {}
        Err(errno) => return Err(failed("make", c"/.casemate")(errno)),
    }
    // What the root disk holds was written by anybody: a link of this name is not followed.
    let folder = File::open(c".casemate", call::FOLDER).map_err(failed("open", c"/.casemate"))?;
    folder.enter().map_err(failed("enter", c"/.casemate"))?;
    folder.close();
    let flags = call::MOUNT_READ_ONLY | call::MOUNT_NO_SUID | call::MOUNT_NO_DEVICES;
    call::mount(c"/dev/vdb", c".", c"ext4", flags).map_err(failed("mount", c"/dev/vdb"))
}

fn enter_root() -> Result<(), Failure<'static>> {
    call::unmount(c"/dev");
    call::unlink(c"/init");
    call::enter(c"/root").map_err(failed("enter", c"/root"))?;
    call::mount(c".", c"/", c"", call::MOUNT_MOVE).map_err(failed("move", c"/root"))?;
    call::change_root(c".").map_err(failed("change root to", c"/root"))?;
    call::enter(c"/").map_err(failed("enter", c"/"))
}

/// Comes back only if it can't.
///
/// # Safety
/// `arguments` and `environment` end with null and hold strings.
pub(crate) unsafe fn become_agent(
    arguments: &[*const c_char],
    environment: *const *const c_char,
) -> Failure<'static> {
    // SAFETY: as the caller promises.
    let errno = unsafe { call::execute(AGENT, arguments.as_ptr(), environment) };
    failed("execute", AGENT)(errno)
}
