//! Who commands of a sandbox are: its user, its root, and nobody else.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

#[path = "support/sandbox.rs"]
mod sandbox;
#[path = "support/serving.rs"]
mod serving;
mod support;

use sandbox::{Ended, Stage, both, wait_until};
use serving::Serving;
use std::fs;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::process::Command;
use std::time::Duration;
use support::PATIENCE;

both!(
    who_they_are,
    files_of_root,
    owners_can_be_changed,
    the_home_of_root,
    commands_reach_each_other,
    the_agent_is_left_alone,
    a_pause_stops_everybody,
    what_makes_commands_is_made_anew,
    roots_terminal,
    the_hosts_folders_stay,
    packages_are_installed,
    packages_from_a_repository,
);

/// A shell in a new sandbox, as somebody.
struct Shell<'a> {
    serving: &'a Serving<'a>,
    id: String,
}

impl<'a> Shell<'a> {
    fn new(serving: &'a Serving<'a>) -> Self {
        let id = serving.create(&[]);
        Self { serving, id }
    }

    fn ends(&self, user: &str, script: &str) -> Ended {
        self.serving
            .run(&["exec", "--user", user, &self.id, "--", "sh", "-c", script])
    }

    #[track_caller]
    fn says(&self, user: &str, script: &str) -> String {
        let ended = self.ends(user, script);
        assert_eq!((ended.code, &*ended.err), (0, ""), "{script}: {ended:?}");
        ended.out
    }
}

/// The processor time of this machine's processes with these arguments, in ticks, by the user alone
/// (proc_pid_stat(5), field 14).
fn ticks(args: &str) -> Vec<u64> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let folders = all.map(|entry| entry.path()).filter(|folder| {
        fs::read(folder.join("cmdline")).is_ok_and(|text| text == args.as_bytes())
    });
    let stats = folders.filter_map(|folder| fs::read_to_string(folder.join("stat")).ok());
    let ticks = stats.filter_map(|stat| stat.rsplit_once(") ")?.1.split(' ').nth(11)?.parse().ok());
    ticks.collect()
}

fn a_pause_stops_everybody(stage: &Stage) {
    let serving = Serving::new(stage);
    let id = serving.create(&[]);
    // Only this test's sandbox has this one.
    let script = format!("while :; do :; done # {}", std::process::id());
    let args = format!("sh\0-c\0{script}\0");
    for user in ["user", "root"] {
        serving.says(&["exec", "-d", "--user", user, &id, "--", "sh", "-c", &script]);
    }
    let run = || {
        let ticks = ticks(&args);
        ticks.len() == 2 && ticks.iter().all(|ticks| *ticks > 0)
    };
    wait_until(PATIENCE, "both to run", run);
    serving.says(&["pause", &id]);
    let paused = ticks(&args);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(ticks(&args), paused);
    serving.says(&["resume", &id]);
    let went_on = || std::iter::zip(ticks(&args), &paused).all(|(now, then)| now > *then);
    wait_until(PATIENCE, "both to go on", went_on);
    serving.says(&["kill", &id]);
    wait_until(PATIENCE, "both to end", || ticks(&args).is_empty());
}

fn who_they_are(stage: &Stage) {
    let serving = Serving::new(stage);
    let shell = Shell::new(&serving);
    let who = "id -u; id -g; whoami; echo $HOME $USER $LOGNAME; pwd; cd; pwd";
    let root = "0\n0\nroot\n/root root root\n/root\n/root\n";
    assert_eq!(shell.says("root", who), root);
    let user = "1000\n1000\nuser\n/home/user user user\n/home/user\n/home/user\n";
    assert_eq!(shell.says("user", who), user);
    let accounts = shell.says(
        "user",
        "grep -E '^(root|user):' /etc/passwd | cut -d: -f1,3,4,6",
    );
    assert_eq!(accounts, "root:0:0:/root\nuser:1000:1000:/home/user\n");
    assert_eq!(
        shell.says("user", "grep -cE '^(root:x:0|user:x:1000):' /etc/group"),
        "2\n"
    );
    let nobody = shell.ends("no-such-user", "true");
    assert!(
        nobody.err.contains("invalid username: 'no-such-user'"),
        "{nobody:?}"
    );
    // No more rights than a root of this needs, whatever it executes.
    let rights = shell.says(
        "root",
        "grep -E 'Cap(Inh|Eff|Bnd|Amb)' /proc/self/status | cut -f2",
    );
    let [inherited, effective, bounding, ambient] = rights.lines().collect::<Vec<_>>()[..] else {
        panic!("{rights}");
    };
    assert_eq!(
        (inherited, ambient),
        ("0000000000000000", "0000000000000000")
    );
    // chown, dac_override, fowner, fsetid, kill, setgid, setuid, net_bind_service.
    assert_eq!(
        (effective, bounding),
        ("00000000000004fb", "00000000000004fb")
    );
    let rights = shell.says("user", "grep CapEff /proc/self/status | cut -f2");
    assert_eq!(rights, "0000000000000000\n");
}

fn files_of_root(stage: &Stage) {
    let serving = Serving::new(stage);
    let shell = Shell::new(&serving);
    let make = "umask 077; echo secret > /root/secret; echo for all > /etc/motd; mkdir /data";
    shell.says("root", make);
    assert_eq!(
        shell.says("root", "cat /root/secret; stat -c %u:%g /root/secret"),
        "secret\n0:0\n"
    );
    // Root is another user only where there is more than one.
    let peek = shell.ends("user", "cat /root/secret");
    assert_eq!(peek.code != 0, stage.is_root(), "{peek:?}");
    let change = shell.ends("user", "echo more >> /etc/passwd");
    assert_eq!(change.code != 0, stage.is_root(), "{change:?}");
    // By the files of the interface, too.
    let local = stage.path("home/local");
    fs::write(&local, "from outside").unwrap();
    let there = format!("{}:/root/copied", shell.id);
    serving.says(&["cp", "--user", "root", local.to_str().unwrap(), &there]);
    assert_eq!(
        shell.says("root", "cat /root/copied; stat -c %U /root/copied"),
        "from outsideroot\n"
    );
}

fn owners_can_be_changed(stage: &Stage) {
    let serving = Serving::new(stage);
    let shell = Shell::new(&serving);
    let script = "cd /root && touch f && chown user:user f && chown -h 33:33 f && chgrp user f \
                  && setpriv --reuid 1000 --regid 1000 --clear-groups true && stat -c %u:%g f";
    let owner = if stage.is_root() {
        "33:1000\n"
    } else {
        "0:0\n"
    };
    assert_eq!(shell.says("root", script), owner);
    // What root gives to the user is the user's.
    shell.says("root", "mkdir /app && chown user /app");
    shell.says("user", "echo mine > /app/file");
    // An archive with owners, as packages are.
    let archive = "cd /tmp && mkdir a && touch a/b && tar -cf a.tar --owner=77 --group=77 a \
                   && mkdir out && tar -xpf a.tar -C out && test -e out/a/b";
    shell.says("root", archive);
    let refused = shell.ends("user", "touch /tmp/mine && chown 0:0 /tmp/mine");
    assert_ne!(refused.code, 0, "{refused:?}");
}

fn the_home_of_root(stage: &Stage) {
    let serving = Serving::new(stage);
    let shell = Shell::new(&serving);
    let homes = shell.says("root", "stat -c '%a %U' /root /home/user");
    // Seen by the one user there is, everything is its own.
    let user = if stage.is_root() { "user" } else { "root" };
    assert_eq!(homes, format!("700 root\n700 {user}\n"));
    assert_eq!(
        shell.says(
            "root",
            "bash -lc 'echo ~; echo > ~/.x && ls -A ~ | grep .x'"
        ),
        "/root\n.x\n"
    );
}

fn commands_reach_each_other(stage: &Stage) {
    let serving = Serving::new(stage);
    let shell = Shell::new(&serving);
    for (whose, whos) in [("user", "user"), ("user", "root"), ("root", "root")] {
        let id = &shell.id;
        let pid = serving.says(&["exec", "-d", "--user", whose, id, "--", "sleep", "1000"]);
        shell.says(whos, &format!("kill -9 {pid}"));
        wait_until(PATIENCE, "the process to end", || {
            shell.ends("root", &format!("kill -0 {pid}")).code != 0
        });
    }
    let id = &shell.id;
    let pid = serving.says(&["exec", "-d", "--user", "root", id, "--", "sleep", "1000"]);
    let ended = shell.ends("user", &format!("kill -9 {pid}"));
    assert_eq!(ended.code != 0, stage.is_root(), "{ended:?}");
}

fn the_agent_is_left_alone(stage: &Stage) {
    let serving = Serving::new(stage);
    let shell = Shell::new(&serving);
    // A command's parent is the agent.
    let attacks = [
        "kill -9 $PPID",
        "kill -STOP $PPID",
        "kill -TERM 1",
        "cat /proc/$PPID/environ",
        "ls /proc/$PPID/fd",
        "head -c 1 /proc/$PPID/mem",
        "python3 -c 'import os, signal, sys; \
         signal.pidfd_send_signal(os.pidfd_open(int(sys.argv[1])), 9)' $PPID 2>/dev/null",
        "ss -xl 2>/dev/null | grep agent.sock",
        "ls -d /proc/$PPID",
    ];
    for user in ["user", "root"] {
        for attack in attacks {
            let ended = shell.ends(user, attack);
            assert!(
                (1..125).contains(&ended.code),
                "{user}: {attack}: {ended:?}"
            );
        }
    }
    assert_eq!(shell.says("user", "echo alive"), "alive\n");
}

fn what_makes_commands_is_made_anew(stage: &Stage) {
    let serving = Serving::new(stage);
    let shell = Shell::new(&serving);
    for user in ["user", "root"] {
        // All that this user may reach, itself last.
        let ended = shell.ends(user, "kill -9 -1; echo over");
        assert!(matches!(ended.code, 0 | 137), "{ended:?}");
        assert_eq!(shell.says("user", "echo alive"), "alive\n");
        assert_eq!(shell.says("root", "id -u"), "0\n");
    }
}

fn roots_terminal(stage: &Stage) {
    let serving = Serving::new(stage);
    let shell = Shell::new(&serving);
    for user in ["user", "root"] {
        let script = "script -qec 'stat -c %U $(tty)' /dev/null";
        assert_eq!(shell.says(user, script).trim_end(), user);
    }
}

/// Root may change what it sees of the system, and nobody else sees that.
fn the_hosts_folders_stay(stage: &Stage) {
    let serving = Serving::new(stage);
    let shell = Shell::new(&serving);
    let before = fs::metadata("/usr/bin/env").unwrap();
    let change = "echo new > /usr/bin/new && mkdir /usr/share/doc/new && cp /bin/true /usr/bin/env.new \
                  && mv /usr/bin/env.new /usr/bin/env && rm /usr/bin/cut && mv /usr/share/doc/new /usr/new \
                  && ln -s /bin/true /etc/alternatives/new && ls -d /usr/new /usr/bin/new";
    assert_eq!(shell.says("root", change), "/usr/bin/new\n/usr/new\n");
    let gone = shell.ends("user", "cut --version");
    assert_eq!(gone.code, 127, "{gone:?}");
    shell.ends(
        "root",
        "chmod 777 /usr; mount -o remount,rw /usr; umount -l /usr; rm -rf /usr/games",
    );
    let after = fs::metadata("/usr/bin/env").unwrap();
    assert_eq!(
        (before.permissions(), before.len()),
        (after.permissions(), after.len())
    );
    for path in ["/usr/bin/new", "/usr/new", "/etc/alternatives/new"] {
        assert!(!fs::exists(path).unwrap(), "{path}");
    }
    assert!(fs::exists("/usr/bin/cut").unwrap());
    // What is written lies where nobody looks.
    assert_eq!(shell.says("root", "ls -A /.writes | wc -l"), "0\n");
    let refused = shell.ends("root", "touch /.writes/x");
    assert_ne!(refused.code, 0, "{refused:?}");
    let other = Shell::new(&serving);
    let look = "cut --version > /dev/null && ls /usr/new 2>/dev/null | wc -l";
    assert_eq!(other.says("root", look), "0\n");
    // As before, the user may do so only where it is the same one.
    let user = other.ends("user", "touch /usr/bin/mine");
    assert_eq!(user.code != 0, stage.is_root(), "{user:?}");
}

fn lacks_apt() -> bool {
    let lacks = !fs::exists("/usr/bin/apt-get").unwrap();
    if lacks {
        println!("skipped: this machine has no apt-get");
    }
    lacks
}

fn packages_are_installed(stage: &Stage) {
    if lacks_apt() {
        return;
    }
    let serving = Serving::new(stage);
    let shell = Shell::new(&serving);
    let build = "cd /tmp && mkdir -p p/DEBIAN p/usr/bin p/usr/share/doc/greets p/etc/greets p/var/lib/greets \
                 && printf '#!/bin/sh\\necho greetings\\n' > p/usr/bin/greets && chmod 755 p/usr/bin/greets \
                 && echo setting > p/etc/greets/conf && echo doc > p/usr/share/doc/greets/README \
                 && printf 'Package: greets\\nVersion: 1\\nArchitecture: all\\nMaintainer: a <a@example.org>\\nDescription: greets\\n' > p/DEBIAN/control \
                 && printf '#!/bin/sh\\nset -e\\nchown user:user /var/lib/greets\\nldconfig\\n' > p/DEBIAN/postinst \
                 && chmod 755 p/DEBIAN/postinst && dpkg-deb --build p greets.deb";
    let built = shell.ends("root", build);
    assert_eq!(built.code, 0, "{built:?}");
    let install = "DEBIAN_FRONTEND=noninteractive apt-get install -y /tmp/greets.deb";
    let installed = shell.ends("root", install);
    assert_eq!(installed.code, 0, "{installed:?}");
    assert_eq!(
        shell.says("user", "greets; cat /etc/greets/conf"),
        "greetings\nsetting\n"
    );
    assert_eq!(shell.says("user", "dpkg-query -W greets"), "greets\t1\n");
    let removed = shell.ends("root", "apt-get purge -y greets");
    assert_eq!(removed.code, 0, "{removed:?}");
    assert_eq!(shell.ends("user", "greets").code, 127);
    assert!(!fs::exists("/usr/bin/greets").unwrap());
}

/// The addresses of the repositories that this host uses.
fn repositories() -> Vec<String> {
    let script = "apt-get indextargets --format '$(SITE)' | sort -u";
    let sites = Command::new("sh").args(["-c", script]).output().unwrap();
    let sites = String::from_utf8_lossy(&sites.stdout).into_owned();
    let host = |site: &str| Some(site.split("://").nth(1)?.split('/').next()?.to_owned());
    let resolve = |host: String| {
        let host = if host.contains(':') {
            host
        } else {
            format!("{host}:80")
        };
        host.to_socket_addrs().into_iter().flatten()
    };
    let addresses = sites.lines().filter_map(host).flat_map(resolve);
    let net = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => format!("{ip}/32"),
        IpAddr::V6(ip) => format!("{ip}/128"),
    };
    addresses.map(net).collect()
}

fn packages_from_a_repository(stage: &Stage) {
    if lacks_apt() {
        return;
    }
    // The host's repository may be on a network of its own.
    let near: Vec<String> = repositories();
    let flags: Vec<&str> = near
        .iter()
        .flat_map(|ip| ["--allow-ip", ip.as_str()])
        .collect();
    let serving = Serving::with(stage, &flags);
    let shell = Shell::new(&serving);
    let update = shell.ends("root", "apt-get update -qq -o APT::Update::Error-Mode=any");
    if update.code != 0 {
        let why = update.err.lines().next().unwrap_or_default();
        return println!("skipped: no package index is within reach: {why}");
    }
    let install = "DEBIAN_FRONTEND=noninteractive apt-get install -y hello && hello -g greetings";
    let installed = shell.ends("root", install);
    assert!(
        installed.code == 0 && installed.out.ends_with("greetings\n"),
        "{installed:?}"
    );
    assert!(!fs::exists("/usr/bin/hello").unwrap() || stage.is_root());
}
