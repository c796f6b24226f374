//! The workspace as a carrier: files in it that the host's tools run or trust later.
//!
//! Every attempt looks again after a while: a wall may also undo what it could not refuse, and
//! what counts is what the host's tools would find.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::attempt::{Attempt, Stop, Verdict, attempt};
use crate::call::{Step, blocked, c, inconclusive, open, open_mode, sleep, sys};
use crate::stage;

pub(crate) const ATTEMPTS: &[Attempt] = &[
    attempt!(rewrite_hook, "rewrite a git hook"),
    attempt!(add_hook, "add a git hook"),
    attempt!(enable_hook, "make a git hook executable"),
    attempt!(
        hook_by_hard_link,
        "rewrite a git hook through a hard link made inside"
    ),
    attempt!(
        hook_by_symlink,
        "rewrite a git hook through a symbolic link to its directory"
    ),
    attempt!(
        hook_by_descriptor,
        "rewrite a git hook through /proc/self/fd"
    ),
    attempt!(hook_by_rename, "rename a file over a git hook"),
    attempt!(rewrite_git_config, "name a program in .git/config"),
    attempt!(
        replace_git_config,
        "rename a new file over .git/config, as git does"
    ),
    attempt!(replace_git, "rename .git away and make another"),
    attempt!(exchange_git, "exchange .git with a directory made inside"),
    attempt!(replace_hooks, "remove .git/hooks and make it again"),
    attempt!(
        rewrite_nested_hook,
        "rewrite a hook of a repository further down"
    ),
    attempt!(
        replace_parent,
        "rename the parent of a nested repository away and make another"
    ),
    attempt!(create_tasks, "create .vscode/tasks.json"),
    attempt!(create_idea, "create .idea/workspace.xml"),
    attempt!(create_envrc, "create .envrc"),
    attempt!(create_mcp, "create .mcp.json"),
    attempt!(create_workflow, "create .github/workflows/x.yml"),
    attempt!(create_shell_rc, "create .bashrc"),
    attempt!(envrc_by_rename, "rename a file to .envrc"),
    attempt!(envrc_by_hard_link, "hard-link a file to .envrc"),
    attempt!(
        envrc_by_symlink,
        "make .envrc a symbolic link to a file made inside"
    ),
    attempt!(envrc_nameless, "give the name .envrc to a nameless file"),
    attempt!(envrc_by_descriptor, "create .envrc through /proc/self/cwd"),
    attempt!(tasks_by_rename, "rename a directory to .vscode"),
    attempt!(
        write_old_hard_link,
        "write through a hard link to a file outside"
    ),
];

const MARK: &str = "planted";
const HOOK: &str = ".git/hooks/pre-commit";

fn at(name: &str) -> Result<PathBuf, Stop> {
    stage::workspace(name)
}

/// Crossed if the mark is still there after a while.
fn remains(name: &str) -> Verdict {
    sleep(300);
    let text = fs::read_to_string(at(name)?).attack("open after 300 ms")?;
    if !text.contains(MARK) {
        return blocked(format!("{name} is without the mark after 300 ms"));
    }
    Ok(format!("{name} has the mark after 300 ms"))
}

/// A file that may be made anywhere in the workspace.
fn innocent(name: &str) -> Result<PathBuf, Stop> {
    let path = at(name)?;
    fs::write(&path, MARK).prepare("create")?;
    Ok(path)
}

fn plant(name: &str) -> Verdict {
    let path = at(name)?;
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).attack("mkdir")?;
    }
    fs::write(path, MARK).attack(&format!("write {name}"))?;
    remains(name)
}

/// githooks(5): runs at the host's next commit.
fn rewrite_hook() -> Verdict {
    plant(HOOK)
}

/// A hook that did not exist at the start.
fn add_hook() -> Verdict {
    plant(".git/hooks/post-checkout")
}

/// A sample hook becomes a real one by its mode; the workspace's own hook lacks the bit.
fn enable_hook() -> Verdict {
    let path = at(HOOK)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).attack("chmod")?;
    sleep(300);
    match fs::metadata(path).prepare("stat")?.mode() & 0o111 {
        0 => blocked("the hook is not executable"),
        _ => Ok("the hook is executable".to_owned()),
    }
}

/// A second name for the hook's inode, outside the protected directory.
fn hook_by_hard_link() -> Verdict {
    let alias = at("alias")?;
    fs::hard_link(at(HOOK)?, &alias).attack("link")?;
    fs::write(alias, MARK).attack("write")?;
    remains(HOOK)
}

/// A second path to the protected directory.
fn hook_by_symlink() -> Verdict {
    symlink(".git/hooks", at("alias")?).prepare("symlink")?;
    fs::write(at("alias/pre-commit")?, MARK).attack("write")?;
    remains(HOOK)
}

/// A path that has no `.git` in it.
fn hook_by_descriptor() -> Verdict {
    let directory = open(at(".git/hooks")?, libc::O_PATH).attack("open O_PATH")?;
    let path = format!("/proc/self/fd/{directory}/pre-commit");
    fs::write(path, MARK).attack("write")?;
    remains(HOOK)
}

/// rename(2) asks the directory, not the file.
fn hook_by_rename() -> Verdict {
    fs::rename(innocent("new-hook")?, at(HOOK)?).attack("rename")?;
    remains(HOOK)
}

/// git-config(1): core.fsmonitor, core.sshCommand and aliases name programs to run.
fn rewrite_git_config() -> Verdict {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .open(at(".git/config")?)
        .attack("open")?;
    file.seek(SeekFrom::End(0)).prepare("lseek")?;
    file.write_all(b"[core]\n\tfsmonitor = planted\n")
        .attack("write")?;
    remains(".git/config")
}

/// How `git config` itself writes: a lock file, renamed.
fn replace_git_config() -> Verdict {
    let lock = at(".git/config.lock")?;
    fs::write(&lock, MARK).attack("create .git/config.lock")?;
    let renamed = fs::rename(&lock, at(".git/config")?);
    // A lock that is left behind would stop git for everyone.
    let _ = fs::remove_file(lock);
    renamed.attack("rename")?;
    remains(".git/config")
}

/// Protection of a path ends where its parent can be moved.
fn replace_git() -> Verdict {
    fs::rename(at(".git")?, at("moved")?).attack("rename .git")?;
    plant(HOOK)
}

/// renameat2(2), RENAME_EXCHANGE: there is never a moment without `.git`.
fn exchange_git() -> Verdict {
    fs::create_dir_all(at("mine/hooks")?).prepare("mkdir")?;
    innocent("mine/hooks/pre-commit")?;
    let (from, to, here) = (c(at("mine")?), c(at(".git")?), libc::AT_FDCWD);
    let (from, to) = (from.as_ptr(), to.as_ptr());
    sys!(libc::renameat2(here, from, here, to, libc::RENAME_EXCHANGE)).attack("renameat2")?;
    remains(HOOK)
}

/// A directory that is not itself pinned can be removed.
fn replace_hooks() -> Verdict {
    fs::remove_dir_all(at(".git/hooks")?).attack("rmdir .git/hooks")?;
    plant(HOOK)
}

/// A repository that was there at the start, but not at the top.
fn rewrite_nested_hook() -> Verdict {
    plant("vendored/library/.git/hooks/pre-commit")
}

/// A pinned path moves along with its parent, and the old path is free again.
fn replace_parent() -> Verdict {
    fs::rename(at("vendored")?, at("moved")?).attack("rename vendored")?;
    plant("vendored/library/.git/hooks/pre-commit")
}

/// Visual Studio Code runs tasks when a folder is opened.
fn create_tasks() -> Verdict {
    plant(".vscode/tasks.json")
}

/// Start-up tasks of JetBrains' editors.
fn create_idea() -> Verdict {
    plant(".idea/workspace.xml")
}

/// direnv(1) runs it on entering the directory.
fn create_envrc() -> Verdict {
    plant(".envrc")
}

/// Coding agents start the servers it names.
fn create_mcp() -> Verdict {
    plant(".mcp.json")
}

/// Runs with the repository's secrets after the next push.
fn create_workflow() -> Verdict {
    plant(".github/workflows/x.yml")
}

/// bash(1) reads it, should the workspace be a home.
fn create_shell_rc() -> Verdict {
    plant(".bashrc")
}

/// A rule about open(2) misses rename(2).
fn envrc_by_rename() -> Verdict {
    fs::rename(innocent("x")?, at(".envrc")?).attack("rename")?;
    remains(".envrc")
}

/// A rule about open(2) and rename(2) misses link(2).
fn envrc_by_hard_link() -> Verdict {
    fs::hard_link(innocent("x")?, at(".envrc")?).attack("link")?;
    remains(".envrc")
}

/// And symlink(2).
fn envrc_by_symlink() -> Verdict {
    innocent("x")?;
    symlink("x", at(".envrc")?).attack("symlink")?;
    remains(".envrc")
}

/// open(2), O_TMPFILE: the name comes last.
fn envrc_nameless() -> Verdict {
    let flags = libc::O_TMPFILE | libc::O_RDWR;
    let fd = open_mode(at("")?, flags, 0o644).prepare("open O_TMPFILE")?;
    sys!(libc::write(fd, MARK.as_ptr().cast(), MARK.len())).prepare("write")?;
    let (from, to) = (c(format!("/proc/self/fd/{fd}")), c(at(".envrc")?));
    let (here, follow) = (libc::AT_FDCWD, libc::AT_SYMLINK_FOLLOW);
    sys!(libc::linkat(here, from.as_ptr(), here, to.as_ptr(), follow)).attack("linkat")?;
    remains(".envrc")
}

/// A path that does not name the workspace.
fn envrc_by_descriptor() -> Verdict {
    std::env::set_current_dir(at("")?).prepare("chdir")?;
    fs::write(Path::new("/proc/self/cwd/.envrc"), MARK).attack("open")?;
    remains(".envrc")
}

/// A directory that is filled first and named afterwards.
fn tasks_by_rename() -> Verdict {
    fs::create_dir(at("v")?).prepare("mkdir")?;
    innocent("v/tasks.json")?;
    fs::rename(at("v")?, at(".vscode")?).attack("rename")?;
    remains(".vscode/tasks.json")
}

/// The file outside changes, if the name in the workspace is still its second one.
fn write_old_hard_link() -> Verdict {
    let path = at("linked")?;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .attack("open")?;
    file.write_all(MARK.as_bytes()).attack("write")?;
    match file.metadata().prepare("fstat")?.nlink() {
        0 => inconclusive("the file has no name"),
        1 => blocked("a private copy was written (one link)"),
        links => Ok(format!("a file with {links} links was written")),
    }
}
