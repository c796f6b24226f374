//! Where the calling process stands in the mounted hierarchies: `/proc/self/mountinfo` says what
//! is mounted where, `/proc/self/cgroup` which group of each hierarchy is ours.

use std::path::{Path, PathBuf};

use super::super::mountinfo;

/// What is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hierarchy {
    /// No control groups.
    None,
    /// Version 1 only.
    V1,
    /// Version 2 only, as systemd sets up today.
    V2,
    /// Controllers in version 1, and a version 2 tree beside them.
    Hybrid,
}

/// The caller's own group in each mounted hierarchy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    v1: Vec<(String, PathBuf)>,
    v2: Option<PathBuf>,
}

impl Place {
    /// Reads the two texts. A hierarchy whose mount doesn't show the caller's group is left out.
    pub fn find(mountinfo: &str, cgroup: &str) -> Self {
        let mounts = mountinfo::parse(mountinfo);
        let mut place = Place::default();
        for (controllers, group) in cgroup.lines().filter_map(membership) {
            if controllers.is_empty() {
                let mut mounted = mounts.iter().filter(|mount| mount.kind == "cgroup2");
                place.v2 = mounted.find_map(|mount| folder(mount, group));
            }
            for controller in controllers.split(',').filter(|name| !name.is_empty()) {
                let mut mounted = mounts.iter().filter(|mount| carries(mount, controller));
                let found = mounted.find_map(|mount| folder(mount, group));
                place
                    .v1
                    .extend(found.map(|folder| (controller.to_owned(), folder)));
            }
        }
        place
    }

    /// The folder of the caller's group in the version 1 hierarchy of `controller`.
    pub fn v1(&self, controller: &str) -> Option<&Path> {
        let own = self.v1.iter().find(|(name, _)| name == controller)?;
        Some(&own.1)
    }

    /// The folder of the caller's group in the version 2 hierarchy.
    pub fn v2(&self) -> Option<&Path> {
        self.v2.as_deref()
    }

    /// The caller's folder in every hierarchy; one that has several controllers comes as often.
    pub fn all(&self) -> impl Iterator<Item = &Path> {
        let v1 = self.v1.iter().map(|(_, folder)| folder.as_path());
        v1.chain(self.v2())
    }

    /// What is mounted; a version 1 hierarchy without controllers (`name=systemd`) is none.
    pub fn hierarchy(&self) -> Hierarchy {
        let v1 = self.v1.iter().any(|(name, _)| !name.starts_with("name="));
        match (v1, self.v2.is_some()) {
            (false, false) => Hierarchy::None,
            (true, false) => Hierarchy::V1,
            (false, true) => Hierarchy::V2,
            (true, true) => Hierarchy::Hybrid,
        }
    }
}

/// `4:memory:/path` as controllers and path; version 2 has no controllers there.
fn membership(line: &str) -> Option<(&str, &str)> {
    let (_, rest) = line.split_once(':')?;
    rest.split_once(':')
}

fn carries(mount: &mountinfo::Mount, controller: &str) -> bool {
    mount.kind == "cgroup" && mount.options.iter().any(|option| option == controller)
}

/// Where `group` appears under this mount, which may show only a part of the hierarchy.
fn folder(mount: &mountinfo::Mount, group: &str) -> Option<PathBuf> {
    // A group outside the root of the cgroup namespace reads `/../…` and is not reachable.
    if group.starts_with("/..") {
        return None;
    }
    let inside = Path::new(group).strip_prefix(&mount.root).ok()?;
    Some(Path::new(&mount.point).join(inside))
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1_AND_BARE_V2: &str = "\
35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";

    #[test]
    fn a_hybrid_machine_has_both() {
        let cgroup = "9:name=systemd:/\n4:memory:/a/b\n1:cpu,cpuacct:/\n0::/x\n";
        let place = Place::find(V1_AND_BARE_V2, cgroup);
        assert_eq!(place.hierarchy(), Hierarchy::Hybrid);
        assert_eq!(
            place.v1("memory"),
            Some(Path::new("/sys/fs/cgroup/memory/a/b"))
        );
        assert_eq!(
            place.v1("cpu"),
            Some(Path::new("/sys/fs/cgroup/cpu,cpuacct"))
        );
        assert_eq!(place.v1("pids"), None);
        assert_eq!(place.v2(), Some(Path::new("/sys/fs/cgroup/unified/x")));
    }

    #[test]
    fn a_systemd_machine_has_version_2() {
        let mounts = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        let place = Place::find(mounts, "0::/user.slice/user-1000.slice/session-3.scope\n");
        assert_eq!(place.hierarchy(), Hierarchy::V2);
        let own = "/sys/fs/cgroup/user.slice/user-1000.slice/session-3.scope";
        assert_eq!(place.v2(), Some(Path::new(own)));
    }

    #[test]
    fn a_container_sees_a_part() {
        let mounts = "30 23 0:26 /docker/ab /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        let inside = Place::find(mounts, "4:memory:/docker/ab/c\n");
        assert_eq!(
            inside.v1("memory"),
            Some(Path::new("/sys/fs/cgroup/memory/c"))
        );
        let outside = Place::find(mounts, "4:memory:/other\n");
        assert_eq!(outside.hierarchy(), Hierarchy::None);
        let beyond = Place::find("30 23 0:26 / /c rw - cgroup2 none rw\n", "0::/../up\n");
        assert_eq!(beyond.v2(), None);
    }

    #[test]
    fn nothing_mounted_is_nothing() {
        assert_eq!(Place::find("", "0::/\n").hierarchy(), Hierarchy::None);
        assert_eq!(Place::find("", "").hierarchy(), Hierarchy::None);
    }

    #[test]
    fn systemds_own_hierarchy_limits_nothing() {
        let mounts = "40 31 0:37 / /s rw - cgroup cgroup rw,name=systemd\n";
        let place = Place::find(mounts, "1:name=systemd:/\n");
        assert_eq!(place.hierarchy(), Hierarchy::None);
    }
}
