//! A map that holds so much and no more: what wasn't used for longest goes first.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// A bounded map. A look-up marks the entry as used; a full map gives up its oldest tenth at
/// once, so that finding them costs little per entry.
pub(crate) struct Bounded<K, V> {
    entries: HashMap<K, (u64, V)>,
    most: usize,
    clock: u64,
}

impl<K: Hash + Eq, V> Bounded<K, V> {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            entries: HashMap::new(),
            most,
            clock: 0,
        }
    }

    pub(crate) fn get<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.clock += 1;
        let (used, value) = self.entries.get_mut(key)?;
        *used = self.clock;
        Some(value)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        if self.entries.len() >= self.most && !self.entries.contains_key(&key) {
            self.make_room();
        }
        self.clock += 1;
        self.entries.insert(key, (self.clock, value));
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    fn make_room(&mut self) {
        let mut ages: Vec<u64> = self.entries.values().map(|(used, _)| *used).collect();
        let (_, oldest, _) = ages.select_nth_unstable(self.most / 10);
        let oldest = *oldest;
        self.entries.retain(|_, (used, _)| *used > oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::Bounded;

    #[test]
    fn what_is_used_stays_and_the_rest_makes_room() {
        let mut map = Bounded::new(10);
        for key in 0..1000 {
            map.insert(key, key);
            assert_eq!(map.get(&0), Some(&mut 0));
            assert!(map.entries.len() <= 10);
        }
        assert_eq!(map.get(&999), Some(&mut 999));
        assert_eq!(map.get(&1), None);
    }

    #[test]
    fn a_map_of_one_holds_one() {
        let mut map = Bounded::new(1);
        map.insert(1, ());
        map.insert(2, ());
        assert_eq!(map.get(&1), None);
        assert_eq!(map.get(&2), Some(&mut ()));
    }
}
