//! The chosen part of /etc.
//!
//! What programs need to start, to find names and to trust certificates; nothing that says who
//! else uses this machine, how it is reached, or what it is allowed to do.

use super::{Host, Kind, Step};
use crate::layers::Layered;
use casemate_core::spec::{Access, Network, Root, SandboxSpec};
use std::path::Path;

/// Files and folders that come in as they are, if they exist.
const SHARED: &[&str] = &[
    "alternatives",
    "bash.bashrc",
    "crypto-policies",
    "fonts",
    "inputrc",
    "ld.so.cache",
    "locale.conf",
    "localtime",
    "mime.types",
    "os-release",
    "pki/ca-trust",
    "pki/tls/certs",
    "profile",
    "profile.d",
    "protocols",
    "debian_version",
    "python3.11",
    "python3.12",
    "python3.13",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "terminfo",
    "timezone",
];

/// Files that come in only with the host's network.
const NETWORK: &[&str] = &["resolv.conf", "host.conf", "gai.conf", "hosts"];

/// The steps for /etc.
pub(super) fn steps(spec: &SandboxSpec, host: &Host, layered: &[Layered]) -> Vec<Step> {
    let is_layered = |name: &&str| {
        let path = Path::new("/etc").join(name);
        let replaced = !layered.is_empty() && *name == "ld.so.cache";
        replaced || layered.iter().any(|layered| layered.path == path)
    };
    let shared = SHARED.iter().copied().filter(|name| !is_layered(name));
    let mut names: Vec<&str> = shared.collect();
    if spec.network == Network::Host {
        names.extend(NETWORK);
    }
    let mut steps = identity(spec, host);
    steps.extend(java());
    steps.extend(
        names
            .into_iter()
            .filter_map(|name| share(&Path::new("/etc").join(name))),
    );
    steps
}

/// Files up to this size are copied, which costs less than a mount.
const COPIED: u64 = 16 << 10;

/// A folder or file as it is; a symbolic link as a link if it leads into the view, else as what
/// it points to.
fn share(path: &Path) -> Option<Step> {
    let meta = std::fs::symlink_metadata(path).ok()?;
    if meta.is_file()
        && meta.len() <= COPIED
        && let Ok(contents) = std::fs::read_to_string(path)
    {
        return Some(Step::File {
            target: path.into(),
            contents,
        });
    }
    if !meta.is_symlink() {
        let kind = if meta.is_dir() {
            Kind::Folder
        } else {
            Kind::File
        };
        return Some(Step::same(path, Access::ReadOnly, kind));
    }
    let real = std::fs::canonicalize(path).ok()?;
    if real.starts_with("/usr") {
        return Some(Step::Symlink {
            target: path.into(),
            to: real,
        });
    }
    let kind = if real.is_dir() {
        Kind::Folder
    } else {
        Kind::File
    };
    Some(Step::Bind {
        source: real,
        target: path.into(),
        access: Access::ReadOnly,
        kind,
        devices: false,
    })
}

/// Debian keeps a Java installation's settings in /etc/java-N-openjdk.
fn java() -> Vec<Step> {
    let Ok(entries) = std::fs::read_dir("/usr/lib/jvm") else {
        return Vec::new();
    };
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    names
        .iter()
        .filter_map(|name| {
            name.to_str()?
                .strip_prefix("java-")?
                .split('-')
                .next()?
                .parse::<u32>()
                .ok()
        })
        .filter_map(|version| share(&Path::new("/etc").join(format!("java-{version}-openjdk"))))
        .fold(Vec::new(), |mut steps, step| {
            if !steps.contains(&step) {
                steps.push(step);
            }
            steps
        })
}

/// The accounts of a host's system, which packages name that are installed: not the people, and not
/// who is in which group.
fn system_accounts(path: &str, taken: &[&str]) -> String {
    /// The last id that isn't a person's (SYS_UID_MAX in login.defs(5)).
    const LAST: u32 = 999;
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let account = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let (name, id) = (*fields.first()?, fields.get(2)?.parse::<u32>().ok()?);
        if name.is_empty() || taken.contains(&name) || !(1..=LAST).contains(&id) {
            return None;
        }
        match fields[..] {
            [_, _, _, gid, _, home, shell] => {
                let gid: u32 = gid.parse().ok()?;
                Some(format!("{name}:x:{id}:{gid}::{home}:{shell}\n"))
            }
            [_, _, _, _] => Some(format!("{name}:x:{id}:\n")),
            _ => None,
        }
    };
    text.lines().filter_map(account).collect()
}

/// The files that are made anew: who the program is, and what its host is called.
pub(super) fn identity(spec: &SandboxSpec, host: &Host) -> Vec<Step> {
    let (uid, gid) = spec.identity.unwrap_or((host.uid, host.gid));
    let (user, home) = (&host.user, host.inner_home());
    let home = home.display();
    let shell = if Path::new("/bin/bash").exists() {
        "/bin/bash"
    } else {
        "/bin/sh"
    };
    let mut passwd = String::new();
    let mut group = String::new();
    if uid != 0 {
        let shell = if spec.rooted { shell } else { "/bin/sh" };
        passwd.push_str(&format!("root:x:0:0:root:/root:{shell}\n"));
    }
    if gid != 0 {
        group.push_str("root:x:0:\n");
    }
    passwd.push_str(&format!("{user}:x:{uid}:{gid}::{home}:{shell}\n"));
    passwd.push_str("nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n");
    group.push_str(&format!("{user}:x:{gid}:\n"));
    group.push_str("nogroup:x:65534:\n");
    if spec.rooted && spec.root == Root::Host {
        let taken = ["root", "nogroup", "nobody", user];
        passwd.push_str(&system_accounts("/etc/passwd", &taken));
        group.push_str(&system_accounts("/etc/group", &taken));
    }
    let name = &spec.hostname;
    let mut files = vec![
        ("passwd", passwd),
        ("group", group),
        ("hostname", format!("{name}\n")),
        ("nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\nprotocols: files\nservices: files\n".to_owned()),
    ];
    if spec.network != Network::Host {
        files.push((
            "hosts",
            format!("127.0.0.1 localhost {name}\n::1 localhost ip6-localhost {name}\n"),
        ));
        files.push((
            "resolv.conf",
            match spec.network {
                // Whichever server is asked, the same one answers.
                Network::Policy => format!("nameserver {}\n", casemate_sys::fence::ADDRESS),
                _ => "# No network: no names are resolved here.\n".to_owned(),
            },
        ));
    }
    files
        .into_iter()
        .map(|(name, contents)| Step::File {
            target: Path::new("/etc").join(name),
            contents,
        })
        .collect()
}
