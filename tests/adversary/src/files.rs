//! Reading what the workspace does not hold.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::attempt::Setting::Shared;
use crate::attempt::{Attempt, Verdict, attempt};
use crate::call::{Step, blocked, c, inconclusive, open, read, sys};
use crate::stage;

pub(crate) const ATTEMPTS: &[Attempt] = &[
    attempt!(
        read_by_path,
        "read a private key of the caller by its absolute path"
    ),
    attempt!(
        see_secret,
        "see that a private key of the caller exists, without reading it"
    ),
    attempt!(list_home, "list the directory that holds the caller's keys"),
    attempt!(
        read_through_dotdot,
        "climb out of the workspace with .. to the key"
    ),
    attempt!(
        read_through_init_root,
        "read the key through the root of init in /proc"
    ),
    attempt!(
        read_through_self_root,
        "read the key through /proc/self/root and .."
    ),
    attempt!(
        read_through_working_directories,
        "read beside the working directory of any process"
    ),
    attempt!(
        read_through_descriptors,
        "read the open files of any process through /proc"
    ),
    attempt!(
        read_through_old_symlink,
        "follow a symbolic link that was in the workspace before"
    ),
    attempt!(
        read_through_new_symlink,
        "follow a symbolic link made inside to the host's root"
    ),
    attempt!(link_secret_in, "hard-link the key into the workspace"),
    attempt!(rename_secret_in, "move the key into the workspace"),
    attempt!(read_by_handle, "open the key by its file handle").root(),
    attempt!(read_by_openat2, "open the key with openat2"),
    attempt!(
        read_by_path_descriptor,
        "open the key's directory as O_PATH and the key below it"
    ),
    attempt!(
        run_from_outside,
        "run a program of the caller that lies outside"
    ),
    attempt!(watch_outside, "watch a directory outside with inotify"),
    attempt!(
        lease_read_only,
        "hold a lease on a file of the host that is only read"
    )
    .with(Shared),
    attempt!(
        lease_with_high_half,
        "the same, with a command whose upper half the kernel drops"
    )
    .with(Shared),
    attempt!(
        notify_read_only,
        "be signalled when the host changes a directory"
    )
    .with(Shared),
];

fn read_path(path: impl AsRef<Path>) -> Verdict {
    let bytes = fs::read(&path).attack(&format!("open {}", path.as_ref().display()))?;
    stage::reveals(&bytes, &path.as_ref().display().to_string())
}

/// The plainest theft: what every dependency's install script can do.
fn read_by_path() -> Verdict {
    read_path(stage::secret()?)
}

/// A hidden file should be absent, not merely unreadable: lstat(2) tells the two apart.
fn see_secret() -> Verdict {
    let found = fs::symlink_metadata(stage::secret()?).attack("lstat")?;
    Ok(format!("lstat shows a file of {} bytes", found.len()))
}

/// getdents64(2) on the key's directory.
fn list_home() -> Verdict {
    let secret = stage::secret()?;
    let Some(directory) = secret.parent() else {
        return inconclusive("no parent");
    };
    let names = fs::read_dir(directory).attack("opendir")?.flatten().count();
    if names == 0 {
        return blocked("the directory is empty");
    }
    Ok(format!("{names} names listed"))
}

/// Resolution of `..` stops at the root only; see path_resolution(7).
fn read_through_dotdot() -> Verdict {
    std::env::set_current_dir(stage::workspace("")?).prepare("chdir")?;
    let secret = stage::secret()?;
    read_path(format!(
        "{}{}",
        "../".repeat(40),
        secret.strip_prefix("/").unwrap_or(&secret).display()
    ))
}

/// proc_pid_root(5): a magic link that does not pass the reader's own root.
fn read_through_init_root() -> Verdict {
    read_path(format!(
        "/proc/{}/root{}",
        stage::init(),
        stage::secret()?.display()
    ))
}

/// The reader's own root link, walked upwards.
fn read_through_self_root() -> Verdict {
    read_path(format!(
        "/proc/self/root/../..{}",
        stage::secret()?.display()
    ))
}

/// proc_pid_cwd(5): a helper left standing outside is a way out, as in CVE-2024-21626.
fn read_through_working_directories() -> Verdict {
    for pid in stage::processes() {
        if let Ok(bytes) = fs::read(format!("/proc/{pid}/cwd/token")) {
            return stage::reveals(&bytes, &format!("the working directory of {pid}"));
        }
    }
    blocked("no visible process works outside")
}

/// proc_pid_fd(5): opening the link opens the file again, past every path.
fn read_through_descriptors() -> Verdict {
    for pid in stage::processes() {
        let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            continue;
        };
        for entry in entries.flatten() {
            let is_file = fs::metadata(entry.path()).is_ok_and(|found| found.is_file());
            if let Some(bytes) = is_file.then(|| fs::read(entry.path()).ok()).flatten()
                && let Ok(how) = stage::reveals(&bytes, &entry.path().display().to_string())
            {
                return Ok(how);
            }
        }
    }
    blocked("no visible process holds the key open")
}

/// A link planted by an earlier run, in the hope that a mount or a copy follows it.
fn read_through_old_symlink() -> Verdict {
    read_path(stage::workspace("way-out")?)
}

/// A link to `/` must mean the sandbox's root.
fn read_through_new_symlink() -> Verdict {
    let link = stage::workspace("root")?;
    symlink("/", &link).prepare("symlink")?;
    let verdict = read_path(format!("{}{}", link.display(), stage::secret()?.display()));
    let _ = fs::remove_file(link);
    verdict
}

/// linkat(2): allowed to the owner, if both names are on one mount.
fn link_secret_in() -> Verdict {
    let stolen = stage::workspace("stolen")?;
    fs::hard_link(stage::secret()?, &stolen).attack("link")?;
    let verdict = read_path(&stolen);
    let _ = fs::remove_file(stolen);
    verdict
}

/// rename(2) needs no right to read the file.
fn rename_secret_in() -> Verdict {
    let (secret, stolen) = (stage::secret()?, stage::workspace("stolen")?);
    fs::rename(&secret, &stolen).attack("rename")?;
    let verdict = read_path(&stolen);
    fs::rename(&stolen, &secret).prepare("rename back")?;
    verdict
}

/// open_by_handle_at(2) passes every path and mount: the "shocker" container escape of 2014.
fn read_by_handle() -> Verdict {
    let text = stage::text("ATTEMPT_HANDLE")?;
    let byte = |at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    let mut handle: Vec<u8> = (0..text.len()).step_by(2).filter_map(byte).collect();
    let mount = open(stage::workspace("")?, libc::O_RDONLY | libc::O_DIRECTORY).prepare("open")?;
    let pointer = handle.as_mut_ptr();
    let fd = sys!(libc::syscall(
        libc::SYS_open_by_handle_at,
        mount,
        pointer,
        libc::O_RDONLY
    ))
    .attack("open_by_handle_at")?;
    stage::reveals(&read(fd as i32).attack("read")?, "a file handle")
}

/// openat2(2): its arguments lie in memory, out of a filter's sight.
fn read_by_openat2() -> Verdict {
    let (path, how) = (c(stage::secret()?), [libc::O_RDONLY as u64, 0, 0]);
    let fd = sys!(libc::syscall(
        libc::SYS_openat2,
        libc::AT_FDCWD,
        path.as_ptr(),
        &how,
        24
    ))
    .attack("openat2")?;
    stage::reveals(&read(fd as i32).attack("read")?, "openat2")
}

/// open(2), O_PATH: needs no right to read the directory.
fn read_by_path_descriptor() -> Verdict {
    let secret = stage::secret()?;
    let (Some(parent), Some(name)) = (secret.parent(), secret.file_name()) else {
        return inconclusive("the secret has no parent");
    };
    let directory = open(parent, libc::O_PATH).attack("open O_PATH")?;
    let fd = sys!(libc::openat(directory, c(name).as_ptr(), libc::O_RDONLY)).attack("openat")?;
    stage::reveals(&read(fd as i32).attack("read")?, "openat below O_PATH")
}

/// execve(2) of a file that a sandbox was not given.
fn run_from_outside() -> Verdict {
    let output = std::process::Command::new(stage::outside("program")?)
        .arg("--identity")
        .output();
    let output = output.attack("execve")?;
    Ok(format!("it ran and printed {} bytes", output.stdout.len()))
}

/// inotify(7) reports names and times of what the caller does.
fn watch_outside() -> Verdict {
    let inotify = sys!(libc::inotify_init1(libc::IN_CLOEXEC)).prepare("inotify_init1")?;
    let path = c(stage::outside("")?);
    sys!(libc::inotify_add_watch(
        inotify as i32,
        path.as_ptr(),
        libc::IN_ALL_EVENTS
    ))
    .attack("inotify_add_watch")?;
    Ok("the directory is watched".to_owned())
}

/// fcntl(2), F_SETLEASE: whoever opens the file for writing waits for the holder, 45 seconds long.
fn lease_read_only() -> Verdict {
    lease(libc::F_SETLEASE as libc::c_long)
}

/// A filter sees 64 bits of an argument, and fcntl(2) takes 32 of this one.
fn lease_with_high_half() -> Verdict {
    lease(1 << 32 | libc::F_SETLEASE as libc::c_long)
}

fn lease(command: libc::c_long) -> Verdict {
    let fd = open(stage::shared("plain")?, libc::O_RDONLY).prepare("open")?;
    sys!(libc::syscall(libc::SYS_fcntl, fd, command, libc::F_RDLCK)).attack("F_SETLEASE")?;
    Ok("the lease is held".to_owned())
}

/// fcntl(2), F_NOTIFY.
fn notify_read_only() -> Verdict {
    let fd = open(stage::shared("")?, libc::O_RDONLY).prepare("open")?;
    let (create, modify) = (0x4, 0x2);
    sys!(libc::fcntl(fd, libc::F_NOTIFY, create | modify)).attack("F_NOTIFY")?;
    Ok("the directory is watched".to_owned())
}
