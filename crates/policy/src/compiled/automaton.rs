//! Patterns that are looked for together, in one pass over the text.
//!
//! An automaton is determinate. A step is one look-up, and a match costs what the text is long,
//! whatever the patterns are and whoever chose the text.

use regex_automata::dfa::{Automaton as _, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::primitives::StateID;
use regex_automata::util::start;
use regex_automata::util::syntax;
use regex_automata::{Anchored, MatchKind};

use super::glob::{BadGlob, Dialect, expression};

/// A group of patterns is split when its automaton gets larger than this.
const MAX_AUTOMATON_BYTES: usize = 2 * 1024 * 1024;

/// More patterns than this are not put into one automaton: making one costs more than linear time.
const MAX_GROUP: usize = 64;

/// Several patterns that are looked for at once.
pub(super) struct Automaton {
    dfa: dense::DFA<Vec<u32>>,
    start: StateID,
    dialect: Dialect,
}

impl Automaton {
    pub(super) fn new(patterns: &[&str], dialect: Dialect) -> Result<Self, BadGlob> {
        let mut expressions = Vec::new();
        for pattern in patterns {
            expressions.push(expression(pattern, dialect)?);
        }
        let config = dense::Config::new()
            .start_kind(StartKind::Anchored)
            .match_kind(MatchKind::All)
            .accelerate(false)
            .dfa_size_limit(Some(MAX_AUTOMATON_BYTES))
            .determinize_size_limit(Some(4 * MAX_AUTOMATON_BYTES));
        let nfa = thompson::Config::new()
            .utf8(false)
            .nfa_size_limit(Some(MAX_AUTOMATON_BYTES));
        let syntax = syntax::Config::new().utf8(false).dot_matches_new_line(true);
        let dfa = dense::Builder::new()
            .configure(config)
            .thompson(nfa)
            .syntax(syntax)
            .build_many(&expressions)
            .map_err(|_| BadGlob::TooComplex)?;
        let start = dfa
            .start_state(&start::Config::new().anchored(Anchored::Yes))
            .map_err(|_| BadGlob::TooComplex)?;
        Ok(Automaton {
            dfa,
            start,
            dialect,
        })
    }

    /// The indices of the patterns that match the whole text.
    pub(super) fn patterns(&self, text: &[u8]) -> impl Iterator<Item = usize> {
        let end = self.dfa.next_eoi_state(self.read(text));
        let count = if self.dfa.is_match_state(end) {
            self.dfa.match_len(end)
        } else {
            0
        };
        (0..count).map(move |index| self.dfa.match_pattern(end, index).as_usize())
    }

    fn read(&self, text: &[u8]) -> StateID {
        let mut state = self.start;
        for &byte in text {
            state = match (self.dialect, byte) {
                (Dialect::Dotted, b'.') => {
                    let before = self.dfa.next_state(state, b'/');
                    let dot = self.dfa.next_state(before, b'.');
                    self.dfa.next_state(dot, b'/')
                }
                (Dialect::Dotted, b'/') => self.dfa.next_state(state, 0),
                _ => self.dfa.next_state(state, byte),
            };
            if self.dfa.is_dead_state(state) {
                break;
            }
        }
        state
    }
}

impl std::fmt::Debug for Automaton {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Automaton({} patterns)", self.dfa.pattern_len())
    }
}

/// Patterns, each with what it stands for, in as few automata as is reasonable.
#[derive(Debug)]
pub(super) struct Index<T> {
    groups: Vec<(Automaton, Vec<T>)>,
}

impl<T> Default for Index<T> {
    fn default() -> Self {
        Self { groups: Vec::new() }
    }
}

impl<T> Index<T> {
    /// # Errors
    /// The first pattern that is no pattern, or too complex even by itself.
    pub(super) fn new(
        mut patterns: Vec<(String, T)>,
        dialect: Dialect,
    ) -> Result<Self, (String, BadGlob)> {
        let mut groups = Vec::new();
        let mut size = MAX_GROUP;
        while !patterns.is_empty() {
            let count = size.min(patterns.len());
            let texts: Vec<_> = patterns[..count].iter().map(|(text, _)| &**text).collect();
            match Automaton::new(&texts, dialect) {
                Ok(automaton) => {
                    let rest = patterns.split_off(count);
                    let values = std::mem::replace(&mut patterns, rest);
                    groups.push((
                        automaton,
                        values.into_iter().map(|(_, value)| value).collect(),
                    ));
                    size = MAX_GROUP;
                }
                Err(_) if count > 1 => size = count / 2,
                Err(bad) => return Err((texts[0].to_owned(), bad)),
            }
        }
        Ok(Index { groups })
    }

    /// What the patterns stand for that match `text`.
    pub(super) fn matches(&self, text: &[u8]) -> impl Iterator<Item = &T> {
        let groups = self.groups.iter();
        groups.flat_map(move |(automaton, values)| {
            automaton.patterns(text).map(move |index| &values[index])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Dialect, Index};

    #[test]
    fn many_patterns_are_told_apart() {
        let patterns: Vec<_> = (0..300).map(|n| (format!("/opt/*/tool{n}*"), n)).collect();
        let index = Index::new(patterns, Dialect::Path).expect("patterns");
        let found: Vec<_> = index.matches(b"/opt/x/tool123").copied().collect();
        assert_eq!(found, [1, 12, 123]);
    }
}
