//! Reading a policy from a file: what isn't a readable text file is refused with its reason.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use casemate_policy::{Document, MAX_FILE_BYTES};
use tempfile::TempDir;

/// What is said about the file, without its directory.
fn refusal(path: &Path) -> String {
    let error = Document::load(path).expect_err("accepted");
    let directory = path.parent().expect("in a directory").display();
    error.to_string().replace(&format!("{directory}/"), "")
}

fn file(directory: &TempDir, contents: &[u8]) -> PathBuf {
    let path = directory.path().join("policy.yaml");
    fs::write(&path, contents).expect("write the policy");
    path
}

#[test]
fn a_file_is_read() {
    let directory = TempDir::new().expect("temporary directory");
    let path = file(&directory, b"version: 1\nprocess: {run_as_user: 7}\n");
    let link = directory.path().join("link.yaml");
    symlink(&path, &link).expect("make a link");
    for path in [path, link] {
        let policy = Document::load(&path).expect("a policy");
        assert_eq!(policy.name(), path.display().to_string());
        let user = policy.process.run_as_user.as_ref().expect("given");
        assert_eq!(policy.at(user.position), format!("{}:2:24", path.display()));
    }
}

#[test]
fn problems_name_the_file() {
    let directory = TempDir::new().expect("temporary directory");
    let path = file(&directory, b"version: 1\nproces: {}\n");
    assert_eq!(
        refusal(&path),
        "policy.yaml:2:1: unknown field `proces`\nhint: did you mean `process`?"
    );
}

#[test]
fn what_is_not_a_file() {
    let directory = TempDir::new().expect("temporary directory");
    let path = directory.path().join("policy.yaml");
    let missing = "policy.yaml: cannot read the policy file: No such file or directory (os error 2)\n\
                   hint: check the name; a relative path starts at the current directory";
    let not_regular = |kind| {
        format!(
            "policy.yaml: the policy must be a regular file; this is {kind}\n\
             hint: name the file itself; pipes and devices are not read"
        )
    };
    assert_eq!(refusal(&path), missing);

    symlink("nowhere", &path).expect("make a link");
    assert_eq!(refusal(&path), missing);
    fs::remove_file(&path).expect("remove the link");

    fs::create_dir(&path).expect("make a directory");
    assert_eq!(refusal(&path), not_regular("a directory"));
    fs::remove_dir(&path).expect("remove the directory");

    let _listener = UnixListener::bind(&path).expect("make a socket");
    assert_eq!(refusal(&path), not_regular("a pipe, socket or device"));
    fs::remove_file(&path).expect("remove the socket");

    symlink("/dev/zero", &path).expect("make a link");
    assert_eq!(refusal(&path), not_regular("a pipe, socket or device"));
    fs::remove_file(&path).expect("remove the link");

    symlink("policy.yaml", &path).expect("make a link");
    assert_eq!(
        refusal(&path),
        "policy.yaml: cannot read the policy file: Too many levels of symbolic links (os error 40)"
    );
}

#[test]
fn text_in_another_encoding() {
    let directory = TempDir::new().expect("temporary directory");
    let hint = "hint: save the policy as UTF-8";
    for (contents, expected) in [
        (
            &b"version: 1\n# caf\xe9\n"[..],
            format!("policy.yaml:2:6: byte 0xe9 is not UTF-8\n{hint}"),
        ),
        (
            b"# \xc3\xa4\xc3",
            format!("policy.yaml:1:4: byte 0xc3 is not UTF-8\n{hint}"),
        ),
        (
            b"\xff\xfev\0e\0",
            format!("policy.yaml:1:1: byte 0xff is not UTF-8\n{hint}"),
        ),
    ] {
        assert_eq!(refusal(&file(&directory, contents)), expected);
    }
}

#[test]
fn a_file_that_is_too_large() {
    let directory = TempDir::new().expect("temporary directory");
    let mut contents = b"version: 1\n".to_vec();
    contents.resize(MAX_FILE_BYTES, b'\n');
    Document::load(&file(&directory, &contents)).expect("exactly the limit");

    contents.push(b'\n');
    assert_eq!(
        refusal(&file(&directory, &contents)),
        "policy.yaml: the policy file is larger than 1048576 bytes"
    );
}

#[test]
fn an_empty_file() {
    let directory = TempDir::new().expect("temporary directory");
    assert_eq!(
        refusal(&file(&directory, b"")),
        "policy.yaml:1:1: the policy is empty\nhint: begin with `version: 1`"
    );
}
