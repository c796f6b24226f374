//! What a power cut may leave of a disk.
//!
//! Nothing is on the disk before it was synced, and anything may be: names each for itself, in any
//! combination; of what was written to a file, all, nothing, the last half, or holes. That is more
//! than any file system does, and what POSIX allows.

use super::trace::Step;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// More names than this that aren't synced: no longer each combination of them.
const MOST_COMBINED: usize = 6;

#[derive(Debug, Clone)]
enum Content {
    File { bytes: Vec<u8>, pending: Vec<Step> },
    Folder(BTreeMap<String, u64>),
}

/// A disk, step by step.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    root: u64,
    files: BTreeMap<u64, Content>,
    /// Names that aren't synced, in their order.
    names: Vec<Name>,
    /// The kernel gives a number again when a file is gone; here each file has its own.
    numbers: BTreeMap<u64, u64>,
}

/// A name that was given or taken away.
#[derive(Debug, Clone)]
struct Name {
    folder: u64,
    gone: Option<String>,
    given: Option<(u64, String, u64)>,
}

/// Of what was written to a file and not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Data {
    None,
    All,
    Torn,
    WithoutFirst,
    OnlyLast,
    LengthOnly,
}

impl Disk {
    /// As a folder is now, all of it on the disk.
    pub(crate) fn of(root: &Path) -> Self {
        let mut files = BTreeMap::new();
        let root = Self::take(root, &mut files);
        Self {
            root,
            files,
            names: Vec::new(),
            numbers: BTreeMap::new(),
        }
    }

    fn file(&self, number: u64) -> u64 {
        self.numbers.get(&number).copied().unwrap_or(number)
    }

    fn take(path: &Path, files: &mut BTreeMap<u64, Content>) -> u64 {
        let number = fs::symlink_metadata(path).unwrap().ino();
        let content = if path.is_dir() {
            let entries = fs::read_dir(path).unwrap().map(|entry| {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                (name, Self::take(&entry.path(), files))
            });
            Content::Folder(entries.collect())
        } else {
            Content::File {
                bytes: fs::read(path).unwrap(),
                pending: Vec::new(),
            }
        };
        files.insert(number, content);
        number
    }

    /// One more step.
    pub(crate) fn step(&mut self, step: &Step) {
        match step {
            Step::Told(_) => {}
            Step::Made {
                folder,
                name,
                file,
                is_folder,
            } => {
                let content = match is_folder {
                    true => Content::Folder(BTreeMap::new()),
                    false => Content::File {
                        bytes: Vec::new(),
                        pending: Vec::new(),
                    },
                };
                let folder = self.file(*folder);
                let own = (1 << 48) + self.files.len() as u64;
                self.numbers.insert(*file, own);
                self.files.insert(own, content);
                self.names.push(Name {
                    folder,
                    gone: None,
                    given: Some((folder, name.clone(), own)),
                });
            }
            Step::Removed { folder, name } => self.names.push(Name {
                folder: self.file(*folder),
                gone: Some(name.clone()),
                given: None,
            }),
            Step::Renamed { from, to, file } => self.names.push(Name {
                folder: self.file(from.0),
                gone: Some(from.1.clone()),
                given: Some((self.file(to.0), to.1.clone(), self.file(*file))),
            }),
            Step::SyncedFolder { folder } => {
                let folder = self.file(*folder);
                for name in std::mem::take(&mut self.names) {
                    let is_of = name.folder == folder
                        || name.given.as_ref().is_some_and(|given| given.0 == folder);
                    match is_of {
                        true => apply(&mut self.files, &name),
                        false => self.names.push(name),
                    }
                }
            }
            Step::Synced { file } => {
                let file = self.file(*file);
                if let Some(Content::File { bytes, pending }) = self.files.get_mut(&file) {
                    *bytes = survived(bytes, pending, Data::All);
                    pending.clear();
                }
            }
            Step::Wrote { file, .. } | Step::Cut { file, .. } | Step::Punched { file, .. } => {
                let file = self.file(*file);
                if let Some(Content::File { pending, .. }) = self.files.get_mut(&file) {
                    pending.push(step.clone());
                }
            }
        }
    }

    /// What may be left: each is a tree that `leave` writes down.
    pub(crate) fn remains(&self) -> Vec<Remains<'_>> {
        let count = self.names.len();
        let kept: Vec<Vec<bool>> = match count <= MOST_COMBINED {
            true => (0..1_usize << count)
                .map(|mask| (0..count).map(|bit| mask >> bit & 1 == 1).collect())
                .collect(),
            false => {
                let prefixes = (0..=count).map(|end| (0..count).map(|at| at < end).collect());
                let without = (0..count).map(|one| (0..count).map(|at| at != one).collect());
                let alone = (0..count).map(|one| (0..count).map(|at| at == one).collect());
                prefixes.chain(without).chain(alone).collect()
            }
        };
        let is_clean = self.files.values().all(|content| match content {
            Content::File { pending, .. } => pending.is_empty(),
            Content::Folder(_) => true,
        });
        let data: &[Data] = match is_clean {
            true => &[Data::All],
            false => &[
                Data::None,
                Data::All,
                Data::Torn,
                Data::WithoutFirst,
                Data::OnlyLast,
                Data::LengthOnly,
            ],
        };
        kept.iter()
            .flat_map(|names| {
                data.iter().map(|data| Remains {
                    disk: self,
                    names: names.clone(),
                    data: *data,
                })
            })
            .collect()
    }
}

/// One of the trees that a power cut may leave.
#[derive(Debug)]
pub(crate) struct Remains<'a> {
    disk: &'a Disk,
    names: Vec<bool>,
    data: Data,
}

impl Remains<'_> {
    /// Writes it into a folder that is there.
    pub(crate) fn leave(&self, folder: &Path) {
        let mut files = self.disk.files.clone();
        for (name, is_kept) in self.disk.names.iter().zip(&self.names) {
            if *is_kept {
                apply(&mut files, name);
            }
        }
        write(&files, self.disk.root, folder, self.data);
    }

    /// For a report.
    pub(crate) fn told(&self) -> String {
        let names = self.disk.names.iter().zip(&self.names);
        let names: Vec<String> = names
            .map(|(name, is_kept)| format!("{is_kept}: {:?} → {:?}", name.gone, name.given))
            .collect();
        format!("{:?}; {}", self.data, names.join("; "))
    }
}

fn apply(files: &mut BTreeMap<u64, Content>, name: &Name) {
    if let (Some(gone), Some(Content::Folder(names))) = (&name.gone, files.get_mut(&name.folder)) {
        names.remove(gone);
    }
    if let Some((folder, given, file)) = &name.given
        && let Some(Content::Folder(names)) = files.get_mut(folder)
    {
        names.insert(given.clone(), *file);
    }
}

fn write(files: &BTreeMap<u64, Content>, number: u64, path: &Path, data: Data) {
    match &files[&number] {
        Content::Folder(names) => {
            fs::create_dir_all(path).unwrap();
            for (name, file) in names {
                write(files, *file, &path.join(name), data);
            }
        }
        Content::File { bytes, pending } => {
            fs::write(path, survived(bytes, pending, data)).unwrap();
        }
    }
}

fn survived(bytes: &[u8], pending: &[Step], data: Data) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (number, step) in pending.iter().enumerate() {
        let (is_first, is_last) = (number == 0, number + 1 == pending.len());
        let is_kept = match data {
            Data::None => false,
            Data::All | Data::Torn | Data::LengthOnly => true,
            Data::WithoutFirst => !is_first,
            Data::OnlyLast => is_last,
        };
        if !is_kept {
            continue;
        }
        match step {
            Step::Wrote { at, bytes: new, .. } => {
                let new = match data == Data::Torn && is_last {
                    true => &new[..new.len() / 2],
                    false => &new[..],
                };
                let (at, end) = (*at as usize, *at as usize + new.len());
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                if data != Data::LengthOnly {
                    bytes[at..end].copy_from_slice(new);
                }
            }
            Step::Cut { length, .. } => bytes.resize(*length as usize, 0),
            Step::Punched { range, .. } => {
                let end = (range.end as usize).min(bytes.len());
                let start = (range.start as usize).min(end);
                bytes[start..end].fill(0);
            }
            _ => {}
        }
    }
    bytes
}
