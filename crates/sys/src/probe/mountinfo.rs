//! `/proc/self/mountinfo`, read as `proc(5)` describes it.

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// The folder of the file system that is the root of this mount, such as `/` or `/sub`.
    pub(super) root: String,
    /// Where it is mounted, as the reading process sees it.
    pub(super) point: String,
    /// The file system's type, such as `cgroup2`.
    pub(super) kind: String,
    /// The mount is read-only.
    pub(super) read_only: bool,
    /// The super block's options, such as `rw` and `memory`.
    pub(super) options: Vec<String>,
}

/// Reads the whole text; a line that is not a mount is passed over.
pub(super) fn parse(text: &str) -> Vec<Mount> {
    text.lines().filter_map(line).collect()
}

/// What is mounted somewhere below `folder`, in the order of mounting.
pub(super) fn below<'a>(mounts: &'a [Mount], folder: &str) -> Vec<&'a Mount> {
    let prefix = format!("{}/", folder.trim_end_matches('/'));
    let inside = |mount: &&Mount| mount.point.starts_with(&prefix) && mount.point != prefix;
    mounts.iter().filter(inside).collect()
}

fn line(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(3);
    let (root, point) = (unescape(before.next()?), unescape(before.next()?));
    let read_only = before.next()?.split(',').any(|option| option == "ro");
    let mut after = after.split(' ');
    let kind = after.next()?.to_owned();
    let options = after.nth(1).unwrap_or_default();
    Some(Mount {
        root,
        point,
        kind,
        read_only,
        options: options.split(',').map(str::to_owned).collect(),
    })
}

/// Undoes the kernel's `\040` for a space, and likewise for tab, newline and backslash.
fn unescape(field: &str) -> String {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n")];
    let plain = |text: String, (from, to): &(&str, &str)| text.replace(from, to);
    escapes
        .iter()
        .fold(field.to_owned(), plain)
        .replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
22 27 0:21 / /proc rw,relatime - proc proc rw
35 31 0:32 /docker/ab /sys/fs/cgroup/memory ro,nosuid shared:9 master:3 - cgroup cgroup rw,memory
40 22 0:40 / /proc/kcore rw - tmpfs tmpfs rw
41 27 0:41 / /with\\040space rw - tmpfs none rw
this is not a mount
";

    #[test]
    fn mounts_are_read_with_and_without_optional_fields() {
        let mounts = parse(TEXT);
        assert_eq!(mounts.len(), 4);
        assert_eq!(mounts[0].point, "/proc");
        assert!(!mounts[0].read_only);
        assert_eq!(mounts[1].root, "/docker/ab");
        assert_eq!(mounts[1].kind, "cgroup");
        assert!(mounts[1].read_only);
        assert_eq!(mounts[1].options, ["rw", "memory"]);
        assert_eq!(mounts[3].point, "/with space");
    }

    #[test]
    fn below_is_strictly_below() {
        let mounts = parse(TEXT);
        let points = |folder| -> Vec<&str> {
            let found = below(&mounts, folder);
            found.iter().map(|mount| mount.point.as_str()).collect()
        };
        assert_eq!(points("/proc"), ["/proc/kcore"]);
        assert_eq!(points("/pro"), Vec::<&str>::new());
        assert_eq!(points("/").len(), 4);
    }
}
