//! passwd(5) and group(5), read without the C library, which would load modules of the
//! sandbox's into the agent.

use super::User;
use rustix::fs::{FileType, Mode, OFlags};
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Bytes of an account file; more is nobody's list of users.
const LIMIT: u64 = 1 << 20;
/// Supplementary groups of a user (NGROUPS_MAX in Linux is 65,536).
const GROUPS: usize = 1024;

/// The users and groups of the sandbox.
pub(crate) struct Accounts {
    passwd: String,
    group: String,
}

impl Accounts {
    /// As the files say now. No group file is no groups.
    pub(crate) fn read() -> std::io::Result<Self> {
        Ok(Self {
            passwd: content("/etc/passwd".as_ref())?,
            group: content("/etc/group".as_ref()).unwrap_or_default(),
        })
    }

    /// The user with this name.
    pub(crate) fn user(&self, name: &str) -> Option<User> {
        let mut user = self
            .passwd
            .lines()
            .filter_map(account)
            .find(|u| u.name == name)?;
        user.groups = self.groups_of(&user);
        Some(user)
    }

    /// The names of all users; the first of a number counts.
    pub(crate) fn user_names(&self) -> HashMap<u32, String> {
        let mut names = HashMap::new();
        for user in self.passwd.lines().filter_map(account) {
            names.entry(user.uid).or_insert(user.name);
        }
        names
    }

    /// The names of all groups; the first of a number counts.
    pub(crate) fn group_names(&self) -> HashMap<u32, String> {
        let mut names = HashMap::new();
        for group in self.group.lines().filter_map(group) {
            names
                .entry(group.gid)
                .or_insert_with(|| group.name.to_owned());
        }
        names
    }

    fn groups_of(&self, user: &User) -> Vec<u32> {
        let mut gids = vec![user.gid];
        for group in self.group.lines().filter_map(group) {
            let member = group.members.split(',').any(|m| m == user.name);
            if member && group.gid != user.gid && gids.len() < GROUPS {
                gids.push(group.gid);
            }
        }
        gids
    }
}

/// A file's text, if it is a regular file of moderate size: a pipe in its place would hold the
/// agent up.
fn content(path: &Path) -> std::io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
    if kind != FileType::RegularFile {
        return Err(std::io::ErrorKind::InvalidInput.into());
    }
    let mut bytes = Vec::new();
    File::from(file).take(LIMIT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// `name:password:uid:gid:comment:home:shell`.
fn account(line: &str) -> Option<User> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    let home = fields.nth(1).filter(|home| home.starts_with('/'));
    Some(User {
        name: name.to_owned(),
        uid,
        gid,
        groups: Vec::new(),
        home: home.unwrap_or("/").into(),
    })
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

/// `name:password:gid:members`.
fn group(line: &str) -> Option<Group<'_>> {
    let mut fields = line.split(':');
    Some(Group {
        name: fields.next()?,
        gid: fields.nth(1)?.parse().ok()?,
        members: fields.next().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts {
            passwd: "root:x:0:0:root:/root:/bin/bash\n\
                     # comment\nbroken\nhalf:x:1\nminus:x:-1:0::/:/bin/sh\n\
                     user:x:1000:1000:,,,:/home/user:/bin/bash\n\
                     odd:x:7:8::relative:\nuser:x:2:2::/second:/bin/sh\n"
                .into(),
            group: "root:x:0:\nsudo:x:27:user,odd\nuser:x:1000:user\ndocker:x:99:odd,users\n"
                .into(),
        }
    }

    #[test]
    fn the_first_of_a_name_counts() {
        let user = accounts().user("user").unwrap();
        assert_eq!((user.uid, user.gid), (1000, 1000));
        assert_eq!(user.home, Path::new("/home/user"));
        assert_eq!(user.groups, [1000, 27]);
    }

    #[test]
    fn odd_lines_are_nobody() {
        for name in ["broken", "half", "minus", "", "# comment", "nobody"] {
            assert_eq!(accounts().user(name), None, "{name}");
        }
        let odd = accounts().user("odd").unwrap();
        assert_eq!(odd.home, Path::new("/"));
        assert_eq!(odd.groups, [8, 27, 99]);
    }

    #[test]
    fn numbers_have_names() {
        let accounts = accounts();
        let (users, groups) = (accounts.user_names(), accounts.group_names());
        assert_eq!(users.get(&1000).map(String::as_str), Some("user"));
        assert_eq!(users.get(&3), None);
        assert_eq!(groups.get(&27).map(String::as_str), Some("sudo"));
        assert_eq!(groups.get(&3), None);
    }

    #[test]
    fn a_pipe_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("passwd");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
        assert!(content(&pipe).is_err());
        assert!(content(folder.path()).is_err());
    }
}
