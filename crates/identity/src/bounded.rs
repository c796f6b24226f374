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
    /// So many are looked through for those that are over.
    swept_at: usize,
}

/// Fewer aren't looked through.
const FEW: usize = 64;

impl<K: Hash + Eq, V> Bounded<K, V> {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            entries: HashMap::new(),
            most,
            clock: 0,
            swept_at: FEW,
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

    /// The same, and drops what is over whenever there is twice as much as the last time.
    pub(crate) fn insert_sweeping(&mut self, key: K, value: V, is_over: impl Fn(&K) -> bool) {
        if self.entries.len() >= self.swept_at {
            self.entries.retain(|key, _| !is_over(key));
            self.swept_at = (self.entries.len() * 2).max(FEW);
        }
        self.insert(key, value);
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
    use super::{Bounded, FEW};

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

    #[test]
    fn what_is_over_goes_long_before_the_map_is_full() {
        let mut map = Bounded::new(4096);
        for number in 0..10_000 {
            map.insert_sweeping(number, (), |own| *own >= 10);
            assert!(map.entries.len() <= FEW, "{}", map.entries.len());
        }
        assert!((0..10).all(|own| map.get(&own).is_some()));
        // What goes on is kept, however much it is.
        for number in 0..1000 {
            map.insert_sweeping(number, (), |_| false);
        }
        assert!((0..1000).all(|own| map.get(&own).is_some()));
    }
}
