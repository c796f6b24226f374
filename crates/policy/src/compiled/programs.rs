//! Who: exact paths in a hash map, patterns in automata that hang on a trie of folders.
//!
//! A pattern begins with folders that are written out (`/opt/tool/**` has `/opt/tool/`), and a
//! program that isn't below them can't match. So each pattern is kept at its folder, and a look-up
//! runs the automata of the folders that it passes through. A policy for a thousand tools in a
//! thousand folders is as fast as one for a single tool.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::automaton::Index;
use super::glob::{BadGlob, Dialect, Glob, Globs, is_literal};
use super::subject::Ancestor;
use crate::network::Binary;

/// Which entry lists a program, and what else it asks of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Listed {
    pub(super) entry: u32,
    /// From 1.
    condition: Option<NonZeroUsize>,
}

/// What is asked of a program besides its path.
#[derive(Debug)]
struct Condition {
    /// Sorted; any digest if it's empty.
    digests: Vec<[u8; 32]>,
    script: Option<Arc<Glob>>,
}

/// The programs of a policy.
#[derive(Debug, Default)]
pub(super) struct Programs {
    exact: HashMap<Box<[u8]>, Vec<Listed>, FixedState>,
    folders: Folder,
    conditions: Vec<Condition>,
}

#[derive(Debug, Default)]
struct Folder {
    folders: HashMap<Box<[u8]>, Folder, FixedState>,
    patterns: Index<Vec<Listed>>,
}

impl Programs {
    /// Gives `visit` each list, sorted by entry, that the path of `program` is in.
    pub(super) fn listing<'a>(&'a self, executable: &[u8], mut visit: impl FnMut(&'a [Listed])) {
        if let Some(list) = self.exact.get(executable) {
            visit(list);
        }
        let mut folder = &self.folders;
        let mut rest = executable;
        loop {
            folder
                .patterns
                .matches(executable)
                .for_each(|list| visit(list));
            let Some(slash) = rest.iter().position(|&byte| byte == b'/') else {
                return;
            };
            let Some(next) = folder.folders.get(&rest[..slash]) else {
                return;
            };
            (folder, rest) = (next, &rest[slash + 1..]);
        }
    }

    /// Whether the program is what the entry asks for, given that its path is.
    pub(super) fn holds(&self, listed: Listed, program: &Ancestor<'_>) -> bool {
        self.digest_holds(listed, program) && self.script_holds(listed, program)
    }

    pub(super) fn digest_holds(&self, listed: Listed, program: &Ancestor<'_>) -> bool {
        self.condition(listed).is_none_or(|condition| {
            let known = |digest: &[u8; 32]| condition.digests.binary_search(digest).is_ok();
            condition.digests.is_empty() || program.sha256.is_some_and(known)
        })
    }

    pub(super) fn script_holds(&self, listed: Listed, program: &Ancestor<'_>) -> bool {
        let script = self
            .condition(listed)
            .and_then(|condition| condition.script.as_ref());
        script.is_none_or(|glob| program.script.is_some_and(|script| glob.matches(script)))
    }

    fn condition(&self, listed: Listed) -> Option<&Condition> {
        listed
            .condition
            .map(|number| &self.conditions[number.get() - 1])
    }
}

/// Collects the programs of a policy.
#[derive(Default)]
pub(super) struct Builder {
    programs: Programs,
    patterns: BTreeMap<String, Vec<Listed>>,
}

impl Builder {
    /// Entries are added in ascending order.
    pub(super) fn add(
        &mut self,
        entry: u32,
        binary: &Binary,
        globs: &mut Globs,
    ) -> Result<(), BadGlob> {
        let listed = Listed {
            entry,
            condition: self.condition(binary, globs)?,
        };
        let path = &binary.path.value;
        if path.contains('*') {
            // Tried now, so that the complaint is about this very path.
            globs.get(path, Dialect::Path)?;
            let list = self.patterns.entry(path.clone()).or_default();
            list.push(listed);
        } else {
            let exact = &mut self.programs.exact;
            exact
                .entry(path.as_bytes().into())
                .or_default()
                .push(listed);
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Programs, (String, BadGlob)> {
        let mut by_folder: BTreeMap<String, Vec<(String, Vec<Listed>)>> = BTreeMap::new();
        for (pattern, list) in self.patterns {
            let folder = folder(&pattern).to_owned();
            by_folder.entry(folder).or_default().push((pattern, list));
        }
        let mut programs = self.programs;
        for (path, patterns) in by_folder {
            let mut place = &mut programs.folders;
            for name in path.split_terminator('/') {
                place = place.folders.entry(name.as_bytes().into()).or_default();
            }
            place.patterns = Index::new(patterns, Dialect::Path)?;
        }
        Ok(programs)
    }

    fn condition(
        &mut self,
        binary: &Binary,
        globs: &mut Globs,
    ) -> Result<Option<NonZeroUsize>, BadGlob> {
        if binary.sha256.is_empty() && binary.script.is_none() {
            return Ok(None);
        }
        let script = match &binary.script {
            Some(script) => Some(globs.get_program(&script.value)?),
            None => None,
        };
        let mut digests = binary.sha256.clone();
        digests.sort_unstable();
        self.programs.conditions.push(Condition { digests, script });
        Ok(NonZeroUsize::new(self.programs.conditions.len()))
    }
}

/// What the pattern begins with, up to the last `/` before anything special.
fn folder(pattern: &str) -> &str {
    let special = pattern.find(|character: char| !is_literal(character.encode_utf8(&mut [0; 4])));
    let plain = &pattern[..special.unwrap_or(pattern.len())];
    &plain[..plain.rfind('/').map_or(0, |slash| slash + 1)]
}

#[cfg(test)]
mod tests {
    use super::{Builder, Globs, Programs};
    use crate::network::Binary;
    use crate::position::{Located, Position};

    fn programs(paths: &[&str]) -> Programs {
        let (mut builder, mut globs) = (Builder::default(), Globs::default());
        for (entry, path) in (0..).zip(paths) {
            let binary = Binary {
                path: Located::new((*path).to_owned(), Position::START),
                sha256: Vec::new(),
                script: None,
            };
            builder.add(entry, &binary, &mut globs).expect(path);
        }
        builder.finish().expect("programs")
    }

    fn found(programs: &Programs, path: &[u8]) -> Vec<u32> {
        let mut found = Vec::new();
        programs.listing(path, |list| {
            found.extend(list.iter().map(|listed| listed.entry))
        });
        found.sort_unstable();
        found
    }

    #[test]
    fn a_pattern_is_found_from_its_folder() {
        let programs = programs(&[
            "/usr/bin/git",
            "/usr/bin/*",
            "/usr/**",
            "/**",
            "**/git",
            "/usr/bin/g{i,o}*",
            "/u*/bin/git",
            "*",
        ]);
        assert_eq!(found(&programs, b"/usr/bin/git"), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(found(&programs, b"/usr/bin/"), [1, 2, 3]);
        assert_eq!(found(&programs, b"/usr"), [3]);
        assert_eq!(found(&programs, b"/opt/\xff/git"), [3, 4]);
        assert_eq!(found(&programs, b"git"), [4, 7]);
        assert_eq!(found(&programs, b""), [7]);
    }
}
