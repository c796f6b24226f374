//! `--root`: folders and archives as the root file system, honest and hostile ones.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/https.rs"]
mod https;
#[path = "support/rootfs.rs"]
mod rootfs;
#[path = "support/sandbox.rs"]
mod sandbox;
#[path = "support/server.rs"]
mod server;

use https::Https;
use rootfs::Tar;
use sandbox::{Ended, Stage, both};
use server::Server;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

both!(
    a_folder_is_the_root,
    writes_to_a_folder_vanish,
    kept_writes,
    kept_writes_need_a_folder,
    kept_writes_do_not_go_into_the_root_itself,
    a_kept_folder_that_the_program_can_reach,
    names_that_overlayfs_would_read_otherwise,
    the_workspace_is_there_too,
    programs_are_found_in_the_root,
    set_id_programs_of_a_root,
    set_id_bits_in_kept_writes,
    a_root_whose_folders_are_links_to_the_host,
    a_root_whose_files_are_links_to_the_host,
    a_root_without_folders,
    the_hosts_own_root,
    an_archive_is_the_root,
    a_gzip_archive,
    a_gzip_archive_in_several_members,
    kept_writes_of_an_archive,
    the_disk_limit_holds_for_an_archive,
    an_archive_larger_than_the_disk,
    names_that_lead_out,
    hard_links_that_lead_out,
    links_inside_an_archive,
    symbolic_links_and_files_through_them,
    device_nodes,
    set_id_programs_of_an_archive,
    broken_archives,
    a_gzip_checksum_that_is_wrong,
    names_that_would_drive_a_terminal,
    the_authority_of_what_is_inspected,
);

/// Unpacks nothing on the host and says so: the whole stage looks as before.
#[track_caller]
fn refused(stage: &Stage, archive: Vec<u8>, message: &str) {
    stage.write("outside/root.tar", archive);
    let (path, before) = (stage.text("outside/root.tar"), stage.listing(""));
    let ended = stage.run(["--root", &path, "--", "touch", "ran"]);
    ended.assert(125, "", &message.replace("PATH", &path));
    stage.assert_same("", &before);
    stage.assert_nothing_left();
}

/// Writes an archive and runs a script in it.
fn in_archive(stage: &Stage, archive: Vec<u8>, flags: &[&str], script: &str) -> Ended {
    stage.write("outside/root.tar", archive);
    let path = stage.text("outside/root.tar");
    let flags: Vec<&str> = ["--root", &path]
        .into_iter()
        .chain(flags.iter().copied())
        .collect();
    stage.shell(&flags, script)
}

/// Runs a script in the root `outside/root`.
fn in_folder(stage: &Stage, flags: &[&str], script: &str) -> Ended {
    let path = stage.text("outside/root");
    let flags: Vec<&str> = ["--root", &path]
        .into_iter()
        .chain(flags.iter().copied())
        .collect();
    stage.shell(&flags, script)
}

/// Makes `outside/root`; false if this machine has nothing to make it of.
fn made(stage: &Stage) -> bool {
    let can = rootfs::can_be_made();
    if can {
        rootfs::folder(stage, "outside/root");
    }
    can
}

fn a_folder_is_the_root(stage: &Stage) {
    if !made(stage) {
        return;
    }
    in_folder(
        stage,
        &[],
        "cat /etc/issue; ls -d /usr 2>/dev/null; cat /proc/sys/kernel/hostname; id -u",
    )
    .assert_out(&format!("the root's own\ncasemate\n{}\n", stage.uid()));
    let ended = in_folder(stage, &[], "cd /; echo *");
    assert_eq!(ended.out, "bin dev etc home proc run sys tmp var\n");
    // Its /etc says who the program is, and nothing of the host.
    let ended = in_folder(
        stage,
        &["--hostname", "h"],
        "cat /etc/hostname; grep -c . /etc/passwd; ls -A /tmp /run /var/tmp /dev/shm | grep -v :",
    );
    assert!(ended.out.starts_with("h\n"), "{ended:?}");
}

fn writes_to_a_folder_vanish(stage: &Stage) {
    if !made(stage) {
        return;
    }
    let before = stage.listing("outside");
    let script = "echo new > /new; echo changed > /etc/issue; rm /bin/dd; mv /bin /b; /b/mkdir /etc/d; /b/cat /new /etc/issue; /b/rm -rf /tmp/x /b";
    in_folder(stage, &[], script).assert_out("new\nchanged\n");
    stage.assert_same("outside", &before);
    in_folder(stage, &[], "cat /etc/issue; ls /new 2>/dev/null").assert(1, "the root's own\n", "");
    stage.assert_nothing_left();
}

fn kept_writes(stage: &Stage) {
    if !made(stage) {
        return;
    }
    stage.folder("outside/kept");
    let (before, kept) = (stage.listing("outside/root"), stage.text("outside/kept"));
    let script =
        "echo new > /new; echo changed > /etc/issue; rm /bin/dd; mkdir /d; echo gone > /tmp/t";
    in_folder(stage, &["--keep", &kept], script).assert_out("");
    stage.assert_same("outside/root", &before);
    in_folder(
        stage,
        &["--keep", &kept],
        "cat /new /etc/issue; ls /bin/dd /tmp/t 2>/dev/null; ls -d /d",
    )
    .assert_out("new\nchanged\n/d\n");
    // Without the flag they are not there.
    in_folder(stage, &[], "ls /new /d 2>/dev/null").assert(1, "", "");
}

fn kept_writes_need_a_folder(stage: &Stage) {
    if !made(stage) {
        return;
    }
    let nope = stage.text("nope");
    let ended = in_folder(stage, &["--keep", &nope], "echo ran");
    assert_eq!((ended.code, &*ended.out), (125, ""));
    assert!(
        ended.err.starts_with("casemate: error: ") && ended.err.contains(&nope),
        "{}",
        ended.err
    );
    assert!(!stage.path("nope").exists());
}

fn kept_writes_do_not_go_into_the_root_itself(stage: &Stage) {
    if !made(stage) {
        return;
    }
    let (root, before) = (stage.text("outside/root"), stage.listing("outside/root"));
    let ended = in_folder(stage, &["--keep", &root], "echo x > /new");
    assert_eq!((ended.code, &*ended.out), (125, ""), "{}", ended.err);
    stage.assert_same("outside/root", &before);
}

fn a_kept_folder_that_the_program_can_reach(stage: &Stage) {
    if !made(stage) {
        return;
    }
    stage.folder("ws/kept");
    stage.folder("outside/victim");
    let kept = stage.text("ws/kept");
    let swap = format!(
        "rm -rf kept/upper kept/work; ln -s {} kept/upper",
        stage.text("outside/victim")
    );
    // Whether the first run is refused or not: the second must not follow the link.
    in_folder(stage, &["--keep", &kept], &swap);
    stage.shell(&[], &swap);
    in_folder(stage, &["--keep", &kept], "echo x > /authorized_keys");
    assert_eq!(
        fs::read_dir(stage.path("outside/victim")).unwrap().count(),
        0
    );
}

fn names_that_overlayfs_would_read_otherwise(stage: &Stage) {
    if !rootfs::can_be_made() {
        return;
    }
    for name in ["a:b", "a,b", "a\\b", "a b", "a,upperdir=x", "ä"] {
        rootfs::folder(stage, &format!("outside/{name}"));
        stage.folder(format!("outside/kept {name}"));
        let (root, kept) = (
            stage.text(&format!("outside/{name}")),
            stage.text(&format!("outside/kept {name}")),
        );
        let ended = stage.shell(
            &["--root", &root, "--keep", &kept],
            "echo x > /new; cat /etc/issue",
        );
        ended.assert_out("the root's own\n");
        assert_eq!(stage.read(&format!("outside/kept {name}/upper/new")), "x\n");
    }
}

fn the_workspace_is_there_too(stage: &Stage) {
    if !made(stage) {
        return;
    }
    stage.write("ws/in", "from outside\n");
    in_folder(stage, &[], "pwd; cat in; echo from inside > out")
        .assert_out(&format!("{}\nfrom outside\n", stage.text("ws")));
    assert_eq!(stage.read("ws/out"), "from inside\n");
    assert!(
        !stage
            .path("outside/root")
            .join(stage.workspace().strip_prefix("/").unwrap())
            .exists()
    );
}

fn programs_are_found_in_the_root(stage: &Stage) {
    if !made(stage) {
        return;
    }
    let root = stage.text("outside/root");
    const HINT: &str = "hint: the program or its interpreter is not in the view; bring its folder in with --ro PATH\n";
    let ended = stage.run(["--root", &root, "--", "/usr/bin/env"]);
    ended.assert(
        127,
        "",
        &format!(
            "casemate: error: run /usr/bin/env: No such file or directory (os error 2)\n{HINT}"
        ),
    );
    let ended = stage.run(["--root", &root, "--", "/etc"]);
    ended.assert(
        126,
        "",
        "casemate: error: run /etc: Permission denied (os error 13)\n",
    );
    stage
        .run(["--root", &root, "--", "/bin/echo", "found"])
        .assert_out("found\n");
}

fn set_id_programs_of_a_root(stage: &Stage) {
    if !made(stage) {
        return;
    }
    stage.mode("outside/root/bin/busybox", 0o6755);
    let uid = stage.uid();
    in_folder(
        stage,
        &[],
        "id -u; id -g; grep -c 'Cap...:.0000000000000000' /proc/self/status",
    )
    .assert_out(&format!("{uid}\n{uid}\n5\n"));
}

fn set_id_bits_in_kept_writes(stage: &Stage) {
    if !made(stage) {
        return;
    }
    stage.folder("outside/kept");
    let kept = stage.text("outside/kept");
    in_folder(
        stage,
        &["--keep", &kept],
        "cd /; echo x > su; chmod 4755 su; chmod 2755 su; mkdir -m 2755 d; chmod u+s bin/busybox",
    );
    assert_eq!(set_ids(&stage.path("outside")), Vec::<String>::new());
}

/// Files with a set-id bit, and folders with one.
fn set_ids(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let meta = entry.metadata().unwrap();
        if meta.mode() & 0o6000 != 0 && !meta.is_symlink() {
            found.push(entry.path().display().to_string());
        }
        // overlayfs keeps a folder to itself that nobody may enter.
        if meta.is_dir() && (meta.mode() & 0o500 == 0o500) {
            found.extend(set_ids(&entry.path()));
        }
    }
    found
}

/// A folder of the host that a hostile root aims at.
fn target(stage: &Stage) -> String {
    stage.folder("outside/target");
    stage.write("outside/target/passwd", "the host's own\n");
    stage.text("outside/target")
}

fn a_root_whose_folders_are_links_to_the_host(stage: &Stage) {
    if !rootfs::can_be_made() {
        return;
    }
    let target = target(stage);
    let up = format!("../../../../../../../..{target}");
    for (at, name) in ["proc", "dev", "tmp", "etc", "run", "home", "sys", "var"]
        .into_iter()
        .enumerate()
    {
        for (which, to) in [&target, &up].into_iter().enumerate() {
            let root = format!("outside/root-{at}-{which}");
            rootfs::folder(stage, &root);
            let link = stage.path(&root).join(name);
            let _ = fs::remove_dir_all(&link);
            symlink(to, link).unwrap();
            // Where the link leads in the root itself, there is something, too.
            stage.folder(format!("{root}{target}"));
            let before = stage.listing("outside");
            let ended = stage.shell(
                &["--root", &stage.text(&root)],
                &format!("echo x > /{name}/written; echo x > {target}/written"),
            );
            assert!([0, 1, 2, 125].contains(&ended.code), "/{name}: {ended:?}");
            assert_eq!(stage.listing("outside"), before, "/{name}: {ended:?}");
            assert!(
                ended.code != 125 || ended.err.starts_with("casemate: error: "),
                "{ended:?}"
            );
        }
    }
}

fn a_root_whose_files_are_links_to_the_host(stage: &Stage) {
    if !made(stage) {
        return;
    }
    let target = target(stage);
    for name in [
        "passwd",
        "group",
        "hostname",
        "hosts",
        "resolv.conf",
        "nsswitch.conf",
    ] {
        symlink(
            format!("{target}/passwd"),
            stage.path(&format!("outside/root/etc/{name}")),
        )
        .unwrap();
    }
    let before = stage.listing("outside");
    let ended = in_folder(
        stage,
        &[],
        "grep -c . /etc/passwd; cat /etc/hostname; echo x > /etc/hosts",
    );
    assert_eq!(
        (ended.code, ended.out.lines().last()),
        (0, Some("casemate")),
        "{ended:?}"
    );
    stage.assert_same("outside", &before);
    assert_eq!(stage.read("outside/target/passwd"), "the host's own\n");
}

fn a_root_without_folders(stage: &Stage) {
    if !rootfs::can_be_made() {
        return;
    }
    stage.folder("outside/root");
    let root = stage.text("outside/root");
    stage.run(["--root", &root, "--", "/bin/sh"]).assert(
        127,
        "",
        "casemate: error: run /bin/sh: No such file or directory (os error 2)\n\
         hint: the program or its interpreter is not in the view; bring its folder in with --ro PATH\n",
    );
    assert_eq!(fs::read_dir(root).unwrap().count(), 0);
}

fn the_hosts_own_root(stage: &Stage) {
    let ended = stage.run(["--root", "/", "--", "touch", "ran"]);
    assert_eq!((ended.code, &*ended.out), (125, ""), "{}", ended.err);
    assert!(!stage.path("ws/ran").exists());
}

fn an_archive_is_the_root(stage: &Stage) {
    if !rootfs::can_be_made() {
        return;
    }
    let archive = || {
        Tar::with_busybox()
            .file("etc/issue", 0o644, b"the archive's own\n")
            .folder("srv")
            .bytes()
    };
    let script =
        "cat /etc/issue; echo new > /srv/new; rm /bin/dd; cat /srv/new; pwd; echo on > out";
    in_archive(stage, archive(), &[], script)
        .assert_out(&format!("the archive's own\nnew\n{}\n", stage.text("ws")));
    assert_eq!(stage.read("ws/out"), "on\n");
    assert_eq!(fs::read(stage.path("outside/root.tar")).unwrap(), archive());
    in_archive(stage, archive(), &[], "ls /srv; ls /bin/dd").assert_out("/bin/dd\n");
    stage.assert_nothing_left();
}

fn gzip(stage: &Stage, archive: Vec<u8>) -> Vec<u8> {
    stage.write("outside/to-gzip", archive);
    stage.outside(&format!(
        "gzip -n < {0} > {0}.gz",
        stage.text("outside/to-gzip")
    ));
    fs::read(stage.path("outside/to-gzip.gz")).unwrap()
}

fn a_gzip_archive(stage: &Stage) {
    if !rootfs::can_be_made() {
        return;
    }
    let archive = gzip(
        stage,
        Tar::with_busybox()
            .file("etc/issue", 0o644, b"packed\n")
            .bytes(),
    );
    in_archive(stage, archive, &[], "cat /etc/issue").assert_out("packed\n");
}

fn a_gzip_archive_in_several_members(stage: &Stage) {
    if !rootfs::can_be_made() {
        return;
    }
    // RFC 1952, section 2.2: a file is a series of members, which some tools make use of.
    let whole = Tar::with_busybox()
        .file("etc/issue", 0o644, b"packed\n")
        .bytes();
    let (first, second) = whole.split_at(whole.len() / 2);
    let members = [gzip(stage, first.to_vec()), gzip(stage, second.to_vec())].concat();
    in_archive(stage, members, &[], "cat /etc/issue").assert_out("packed\n");
}

fn kept_writes_of_an_archive(stage: &Stage) {
    if !rootfs::can_be_made() {
        return;
    }
    stage.folder("outside/kept");
    let kept = stage.text("outside/kept");
    let ended = in_archive(
        stage,
        Tar::with_busybox().bytes(),
        &["--keep", &kept],
        "echo x > /new",
    );
    // Kept, or refused: what was asked for isn't just left out.
    let is_kept = stage
        .listing("outside/kept")
        .keys()
        .any(|path| path.ends_with("new"));
    assert!(
        is_kept || ended.code == 125,
        "the writes are gone, and nobody said so: {ended:?}"
    );
}

fn the_disk_limit_holds_for_an_archive(stage: &Stage) {
    if !rootfs::can_be_made() {
        return;
    }
    let script = "dd if=/dev/zero of=/full bs=64k 2>/dev/null; echo on";
    let ended = in_archive(
        stage,
        Tar::with_busybox().bytes(),
        &["--disk", "8M", "--ro", "."],
        script,
    );
    // It may be stopped before it says more.
    assert_eq!(
        (ended.code, ended.err.as_str()),
        (122, "casemate: stopped: disk limit 8 MiB reached\n")
    );
    let script = "dd if=/dev/zero of=/a bs=1M count=4 && dd if=/dev/zero of=/tmp/b bs=1M count=4";
    let ended = in_archive(
        stage,
        Tar::with_busybox().bytes(),
        &["--disk", "8M", "--ro", "."],
        script,
    );
    assert_eq!(
        ended.code, 122,
        "8 MiB of disk hold a busybox and twice 4 MiB: {ended:?}"
    );
}

fn an_archive_larger_than_the_disk(stage: &Stage) {
    if !rootfs::can_be_made() {
        return;
    }
    let archive = Tar::with_busybox()
        .file("large", 0o644, &vec![7; 4 << 20])
        .bytes();
    let ended = in_archive(stage, archive, &["--disk", "4M", "--ro", "."], "echo ran");
    assert_eq!((ended.code, &*ended.out), (125, ""), "{}", ended.err);
    let path = stage.text("outside/root.tar");
    assert!(
        ended.err.contains(&path) && ended.err.contains("--disk"),
        "{}",
        ended.err
    );
}

fn names_that_lead_out(stage: &Stage) {
    for name in [
        "../evil",
        "a/../../evil",
        "/../evil",
        "./../evil",
        "..",
        "a/..",
    ] {
        let message = format!(
            "casemate: error: use the root archive PATH: entry {name}: its name leads out of the archive\n"
        );
        refused(
            stage,
            Tar::with_nothing().file(name, 0o644, b"x").bytes(),
            &message,
        );
    }
}

fn hard_links_that_lead_out(stage: &Stage) {
    for to in ["../../etc/passwd", "a/../../passwd"] {
        let archive = Tar::with_nothing().hard_link("x", to).bytes();
        refused(
            stage,
            archive,
            "casemate: error: use the root archive PATH: entry x: it is a hard link that leads out\n",
        );
    }
    for to in ["/etc/passwd", "etc/passwd", "./etc/passwd"] {
        let archive = Tar::with_nothing().hard_link("x", to).bytes();
        let message = "casemate: error: use the root archive PATH: entry x: it is a hard link to etc/passwd, which is not in the archive\n";
        refused(stage, archive, message);
    }
}

fn links_inside_an_archive(stage: &Stage) {
    if !rootfs::can_be_made() {
        return;
    }
    let archive = Tar::with_busybox()
        .file("a", 0o644, b"x\n")
        .hard_link("b", "a")
        .symlink("c", "/a")
        .bytes();
    in_archive(
        stage,
        archive,
        &[],
        "cat /b /c; echo y > /b; cat /a; stat -c %h /a",
    )
    .assert_out("x\nx\ny\n2\n");
}

/// A file through a link lands where the link leads below the archive's own root, as some honest
/// archives have it (`bin` → `usr/bin`); never on the host.
fn symbolic_links_and_files_through_them(stage: &Stage) {
    if !rootfs::can_be_made() {
        return;
    }
    let target = target(stage);
    let before = stage.listing("outside/target");
    for to in [target.clone(), format!("../../../../../../..{target}")] {
        let archive = Tar::with_busybox()
            .symlink("out", &to)
            .file("out/written", 0o644, b"x")
            .bytes();
        let ended = in_archive(stage, archive, &[], "echo ran");
        assert_eq!((ended.code, &*ended.out), (125, ""), "{ended:?}");
        assert!(
            ended.err.contains(&stage.text("outside/root.tar")),
            "no name of the archive in: {}",
            ended.err
        );
        let archive = Tar::with_busybox()
            .symlink("s", &format!("{to}/passwd"))
            .hard_link("h", "s")
            .bytes();
        let ended = in_archive(stage, archive, &[], "cat /h");
        assert!(!ended.out.contains("the host's own"), "{ended:?}");
        stage.assert_same("outside/target", &before);
    }
    let archive = Tar::with_busybox()
        .folder("etc")
        .symlink("e", "/etc")
        .file("e/through", 0o644, b"x\n")
        .bytes();
    in_archive(stage, archive, &[], "cat /etc/through").assert_out("x\n");
    assert!(!Path::new("/etc/through").exists());
}

fn device_nodes(stage: &Stage) {
    const WHY: &str =
        "it is a device node\nhint: make the archive without /dev; a sandbox has its own\n";
    let message = format!("casemate: error: use the root archive PATH: entry dev/x: {WHY}");
    refused(
        stage,
        Tar::with_nothing().character_device("dev/x").bytes(),
        &message,
    );
    refused(
        stage,
        Tar::with_nothing().block_device("dev/x").bytes(),
        &message,
    );
}

fn set_id_programs_of_an_archive(stage: &Stage) {
    if !rootfs::can_be_made() {
        return;
    }
    let busybox = fs::read("/bin/busybox").unwrap();
    let archive = Tar::with_busybox()
        .file("bin/su", 0o6755, &busybox)
        .symlink("bin/who", "su")
        .bytes();
    let uid = stage.uid();
    in_archive(stage, archive, &[], "stat -c %a /bin/su; id -u")
        .assert_out(&format!("755\n{uid}\n"));
}

fn broken_archives(stage: &Stage) {
    let whole = Tar::with_nothing()
        .file("a", 0o644, &[b'x'; 5000])
        .file("b", 0o644, b"y")
        .bytes();
    let packed = gzip(stage, whole.clone());
    let mut garbage = vec![0x1f, 0x8b];
    garbage.extend([0xaa; 4096]);
    for (what, archive) in [
        ("cut in a file", whole[..2000].to_vec()),
        ("cut in a header", whole[..700].to_vec()),
        ("a wrong sum", [b"b", &whole[1..]].concat()),
        ("text", b"neither a tar file nor gzip\n".repeat(100)),
        ("cut gzip", packed[..packed.len() / 2].to_vec()),
        ("gzip in name only", garbage),
        (
            "another compression",
            [&b"\xfd7zXZ\0"[..], &[7; 4096]].concat(),
        ),
    ] {
        stage.write("outside/root.tar", archive);
        let (path, before) = (stage.text("outside/root.tar"), stage.listing(""));
        let ended = stage.run(["--root", &path, "--", "touch", "ran"]);
        assert_eq!((ended.code, &*ended.out), (125, ""), "{what}: {ended:?}");
        assert!(
            ended
                .err
                .starts_with(&format!("casemate: error: read the archive {path}: ")),
            "{what}: {ended:?}"
        );
        assert!(
            ended
                .err
                .ends_with("\nhint: a root archive is a tar file, plain or gzip\n"),
            "{what}: {ended:?}"
        );
        assert!(
            ended.err.bytes().all(|byte| byte == b'\n' || byte >= b' '),
            "{what}: {ended:?}"
        );
        assert_eq!(stage.listing(""), before, "{what}");
    }
}

fn a_gzip_checksum_that_is_wrong(stage: &Stage) {
    if !rootfs::can_be_made() {
        return;
    }
    let mut archive = gzip(stage, Tar::with_busybox().bytes());
    // The last eight bytes are the sum and the length (RFC 1952).
    let at = archive.len() - 8;
    archive[at] ^= 0xff;
    let ended = in_archive(stage, archive, &[], "echo ran");
    assert_eq!((ended.code, &*ended.out), (125, ""), "{ended:?}");
}

fn names_that_would_drive_a_terminal(stage: &Stage) {
    let archive = Tar::with_nothing()
        .character_device("dev/\u{1b}]0;owned\u{7}")
        .bytes();
    let ended = in_archive(stage, archive, &[], "echo ran");
    assert_eq!((ended.code, &*ended.out), (125, ""));
    assert!(!ended.err.contains(['\u{1b}', '\u{7}']), "{:?}", ended.err);
}

/// The programs of a root know nothing of it but what variables name.
fn the_authority_of_what_is_inspected(stage: &Stage) {
    let address = Server::start().map(|server| server.ip());
    let https = address.and_then(|ip| Https::start(stage, ip));
    let (Some(https), true) = (https, Path::new("/usr/bin/curl").exists()) else {
        return println!("skipped: needs curl, openssl and an address that isn't loopback");
    };
    stage.folder("outside/root");
    for name in ["bin", "lib", "lib64"] {
        stage.symlink(Path::new("usr").join(name), &format!("outside/root/{name}"));
    }
    let (ip, port) = (https.address.ip(), https.address.port());
    stage.write(
        "outside/p.yaml",
        format!(
            "version: 1\nfilesystem_policy: {{ read_only: [/usr] }}\nnetwork_policies:\n  it:\n    \
             binaries: [{{ path: /usr/bin/curl }}]\n    endpoints: [{{ host: \"{ip}\", port: {port}, \
             protocol: rest, enforcement: enforce, access: read-only }}]\n"
        ),
    );
    let before = stage.listing("outside");
    let mut casemate = stage.casemate();
    casemate.env("SSL_CERT_FILE", &https.authority);
    casemate.args(["run", "--quiet", "--root", &stage.text("outside/root")]);
    casemate.args(["--policy", &stage.text("outside/p.yaml"), "--"]);
    let url = format!("https://{ip}:{port}/");
    let script = format!("grep -c BEGIN $NODE_EXTRA_CA_CERTS; curl -sS {url}");
    casemate.args(["sh", "-c", &script]);
    Ended::of(&mut casemate).assert(0, "1\nsecret", "");
    stage.assert_same("outside", &before);
}
