//! The catalogue's attempts by a program in the place of a machine's monitor: what a guest has that
//! broke out of its machine.
//!
//! In a mount namespace of the server's own, a script is where QEMU was; whoever runs a machine
//! starts that, behind the wall. As root, which a mount takes; for an ordinary user's machine the wall
//! is the one that the test `wall` tries. That each attempt works where there is no wall is what that
//! test shows, too.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

use tempfile::TempDir;

/// What is replaced.
const QEMU: &str = "/usr/bin/qemu-system-x86_64";
/// Groups of what a program must not do to the machine and to its wall. The others are about a
/// caller's workspace, terminal and policy, which are not there.
const GROUPS: [&str; 10] = [
    "proc",
    "devices",
    "ptrace",
    "namespaces",
    "mounts",
    "capabilities",
    "seccomp",
    "io_uring",
    "keyring",
    "signals",
];
/// What attempts say that lack something of the caller's to aim at.
const AIMLESS: &str = "is not set";
const PATIENCE: Duration = Duration::from_secs(240);

/// A server, and the folder that it has everything in.
struct World {
    folder: TempDir,
    server: Option<Child>,
}

impl World {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Images that nobody boots, and the attempts beside them.
    fn images(&self) {
        let images = self.path("images");
        fs::create_dir(&images).unwrap();
        let hash = "0123456789abcdef".repeat(4);
        let mut parts = String::new();
        for (part, file) in [
            ("kernel", "kernel"),
            ("initramfs", "initramfs"),
            ("tools", "tools-0123456789abcdef.ext4"),
            ("root", "root.ext4"),
        ] {
            fs::write(images.join(file), [0; 4096]).unwrap();
            let facts = format!(r#""from": "a test", "size": 4096, "sha256": "{hash}""#);
            parts += &format!(r#", "{part}": {{ {facts} }}"#);
        }
        let manifest = format!(
            r#"{{ "version": 2, "made_by": "a test", "kernel_release": null, "modules": []{parts} }}"#
        );
        fs::write(images.join("manifest.json"), manifest).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_attempt"), images.join("attempt")).unwrap();
    }

    /// A script in QEMU's place, which makes attempts and then stays.
    fn script(&self, names: &[String]) -> PathBuf {
        let (images, data) = (self.path("images"), self.path("data"));
        let (images, data) = (images.display(), data.display());
        let script = format!(
            "#!/bin/sh
             mkdir work
             export ATTEMPT_WORKSPACE=$PWD/work ATTEMPT_TOKEN=nothing ATTEMPT_INIT=1
             for name in {names}; do
               said=$({images}/attempt $name 2>&1 </dev/null); code=$?
               echo $code $name $said
             done > said
             crossed() {{ echo 0 $1 >> said; }}
             stopped() {{ echo 77 $1 >> said; }}
             try() {{ what=$1; shift; if \"$@\" 2>/dev/null; then crossed $what; else stopped $what; fi; }}
             base=$PWD/../../base
             try write-image sh -c 'echo > {images}/kernel'
             try open-image chmod 666 {images}/root.ext4
             try write-base sh -c \"echo > $base/disk0.0\"
             try replace-base sh -c \"rm $base/disk0.0\"
             try add-to-base touch $base/more
             try see-others sh -c 'ls {data}/sandboxes | grep -q other'
             try read-store cat {data}/platform.sqlite
             try reach-keeper test -e $PWD/../../control.sock
             # In its own view of the folder above, which nobody else has.
             echo > $PWD/../../launch.json
             try signal-init kill -9 1
             echo done >> said
             exec sleep 1000\n",
            names = names.join(" "),
        );
        let path = self.path("qemu");
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// Starts the server where the script is QEMU, and has it make a machine. What the attempts said.
    fn attack(&mut self, names: &[String]) -> String {
        let script = self.script(names);
        // Somebody else's.
        fs::create_dir_all(self.path("data/sandboxes/other")).unwrap();
        let mode = fs::Permissions::from_mode(0o700);
        fs::set_permissions(self.path("data/sandboxes"), mode).unwrap();
        let serve = format!(
            "mount --bind {} {QEMU} && exec {} serve --wall vm --allow-emulation --warm 0 \
             --listen 127.0.0.1:0 --images {} --data {}",
            script.display(),
            casemate().display(),
            self.path("images").display(),
            self.path("data").display(),
        );
        let mut server = Command::new("unshare");
        server.args(["--mount", "sh", "-c", &serve]);
        server.stdin(Stdio::null());
        let out = fs::File::create(self.path("out")).unwrap();
        server.stdout(out).env("HOME", self.folder.path());
        self.server = Some(server.spawn().unwrap());
        let variables = self.wait("the server", || {
            let said = fs::read_to_string(self.path("out")).unwrap();
            let line = said.lines().find_map(|line| line.strip_prefix("export "));
            line.map(str::to_owned)
        });
        let mut create = Command::new(casemate());
        create.arg("create").stdin(Stdio::null());
        create.stdout(Stdio::null()).stderr(Stdio::null());
        create.envs(variables.split(' ').filter_map(|pair| pair.split_once('=')));
        // It waits for a guest that never comes.
        let mut create = create.spawn().unwrap();
        let said = self.wait("the attempts", || {
            let sandboxes = fs::read_dir(self.path("data/sandboxes")).unwrap();
            let mut said = sandboxes.flatten().filter_map(|sandbox| {
                fs::read_to_string(sandbox.path().join("machine/run/said")).ok()
            });
            said.find(|said| said.ends_with("done\n"))
        });
        create.kill().unwrap();
        create.wait().unwrap();
        said
    }

    fn wait<T>(&self, what: &str, look: impl Fn() -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "{what} didn't come");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Keepers outlive the server. Theirs is this folder, which nobody else has.
        let own = self.path("data");
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let pid = entry.file_name().to_string_lossy().parse::<i32>();
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line);
            if let Ok(pid) = pid
                && line.contains("\0keep\0")
                && line.contains(&*own.to_string_lossy())
            {
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
        }
        if let Some(server) = &mut self.server {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

fn casemate() -> PathBuf {
    if let Some(path) = env::var_os("CASEMATE_BIN") {
        return path.into();
    }
    // This test is in target/PROFILE/deps.
    let test = env::current_exe().unwrap();
    let path: &Path = test.parent().unwrap();
    path.with_file_name("casemate")
}

/// The names of the attempts that need nothing but a folder.
fn names() -> Vec<String> {
    let list = Command::new(env!("CARGO_BIN_EXE_attempt"))
        .arg("list")
        .output();
    let list = String::from_utf8(list.unwrap().stdout).unwrap();
    let fields = list
        .lines()
        .map(|line| line.split('\t').collect::<Vec<_>>());
    let wanted = fields.filter(|fields| GROUPS.contains(&fields[1]) && fields[4] == "plain");
    wanted.map(|fields| fields[0].to_owned()).collect()
}

#[test]
fn who_took_a_monitor_over_is_behind_the_wall() {
    if unsafe { libc::geteuid() } != 0 {
        return println!("skipped: needs root");
    }
    if !Path::new(QEMU).exists() {
        return println!("skipped: needs {QEMU}");
    }
    let folder = tempfile::Builder::new()
        .prefix("monitor-")
        .tempdir()
        .unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut world = World {
        folder,
        server: None,
    };
    world.images();
    let names = names();
    let said = world.attack(&names);
    let lines: Vec<&str> = said.lines().filter(|line| *line != "done").collect();
    assert_eq!(lines.len(), names.len() + 9, "{said}");
    let bad: Vec<&&str> = lines
        .iter()
        .filter(|line| {
            let blocked = line.starts_with("77 ");
            let aimless = line.starts_with("99 ") && line.contains(AIMLESS);
            !blocked && !aimless
        })
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
    let sandboxes = fs::read_dir(world.path("data/sandboxes")).unwrap();
    let launches = sandboxes
        .flatten()
        .filter_map(|sandbox| fs::read_to_string(sandbox.path().join("launch.json")).ok());
    let launches: Vec<String> = launches.collect();
    assert_eq!(launches.len(), 1);
    assert!(launches[0].contains("machine"), "{launches:?}");
}
