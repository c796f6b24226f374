//! System V and POSIX objects of the host, and the secret's file handle.

use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, Ordering};

use crate::stage::TOKEN;

pub(crate) struct Objects {
    key: i32,
    segment: i32,
    queue: CString,
    file: PathBuf,
    handle: String,
}

impl Objects {
    pub(crate) fn create(root: &Path) -> Self {
        let (key, segment) = fill_segment();
        let name = format!("/{}", root.file_name().unwrap().to_str().unwrap());
        let file = PathBuf::from(format!("/dev/shm{name}"));
        fs::write(&file, TOKEN).unwrap();
        let queue = CString::new(name).unwrap();
        fill_queue(&queue);
        let handle = handle_of(&root.join("home/.ssh/id_ed25519"));
        Self {
            key,
            segment,
            queue,
            file,
            handle,
        }
    }

    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        vec![
            ("ATTEMPT_SHM_KEY", self.key.to_string()),
            ("ATTEMPT_QUEUE", self.queue.to_str().unwrap().to_owned()),
            ("ATTEMPT_SHM_FILE", self.file.display().to_string()),
            ("ATTEMPT_HANDLE", self.handle.clone()),
        ]
    }
}

impl Drop for Objects {
    fn drop(&mut self) {
        unsafe {
            libc::shmctl(self.segment, libc::IPC_RMID, std::ptr::null_mut());
            libc::mq_unlink(self.queue.as_ptr());
        }
        let _ = fs::remove_file(&self.file);
    }
}

/// A segment under a key that nobody has: a test that was killed may have left one behind. Open
/// to every user, so that only a namespace protects it.
fn fill_segment() -> (i32, i32) {
    static NEXT: AtomicI32 = AtomicI32::new(1);
    let first = (std::process::id() as i32) << 8;
    for _ in 0..256 {
        let key = first | NEXT.fetch_add(1, Ordering::Relaxed) & 0xff;
        let flags = libc::IPC_CREAT | libc::IPC_EXCL | 0o666;
        let segment = unsafe { libc::shmget(key, 4096, flags) };
        if segment < 0 {
            let error = std::io::Error::last_os_error();
            assert_eq!(error.raw_os_error(), Some(libc::EEXIST), "shmget: {error}");
            continue;
        }
        unsafe {
            let at = libc::shmat(segment, std::ptr::null(), 0);
            std::ptr::copy_nonoverlapping(TOKEN.as_ptr(), at.cast(), TOKEN.len());
            libc::shmdt(at);
        }
        return (key, segment);
    }
    panic!("every key of this process is taken");
}

fn fill_queue(name: &CString) {
    unsafe {
        let flags = libc::O_CREAT | libc::O_EXCL | libc::O_RDWR;
        let queue = libc::mq_open(
            name.as_ptr(),
            flags,
            0o666,
            std::ptr::null::<libc::mq_attr>(),
        );
        assert!(queue >= 0, "mq_open: {}", std::io::Error::last_os_error());
        assert_eq!(
            libc::mq_send(queue, TOKEN.as_ptr().cast(), TOKEN.len(), 0),
            0
        );
        libc::mq_close(queue);
    }
}

/// struct file_handle in hexadecimal, or nothing where the file system has none.
fn handle_of(path: &Path) -> String {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    let mut handle = [0u8; 8 + 128];
    handle[0] = 128;
    let mut mount = 0;
    let (call, at) = (libc::SYS_name_to_handle_at, libc::AT_FDCWD);
    unsafe { libc::syscall(call, at, path.as_ptr(), handle.as_mut_ptr(), &mut mount, 0) };
    let length = 8 + usize::from(handle[0]);
    handle[..length]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
