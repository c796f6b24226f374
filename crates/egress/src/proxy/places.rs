//! Places that programs share: for connections, and for those among them that go to the proxy
//! itself and have not said yet what they want, which anyone inside may open.
//!
//! One program gets fewer than there are: if it keeps them all, the others still have theirs.

use casemate_identity::Identity;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// See the module.
#[derive(Clone)]
pub(super) struct Places {
    most: usize,
    most_of_one: usize,
    taken: Arc<Mutex<HashMap<Box<[u8]>, usize>>>,
}

/// One of them. Dropped, it is free.
pub(super) struct Place {
    places: Places,
    program: Box<[u8]>,
}

impl Places {
    /// So many, and so many for one executable.
    pub(super) fn new(most: usize, most_of_one: usize) -> Self {
        Self {
            most,
            most_of_one,
            taken: Arc::default(),
        }
    }

    /// A place, or why there is none for this program. So many are taken besides.
    pub(super) fn enter(&self, identity: &Identity, besides: usize) -> Result<Place, String> {
        self.enter_as(&identity.executable.path, besides)
    }

    /// How many are taken.
    pub(super) fn count(&self) -> usize {
        self.taken().values().sum()
    }

    /// How many there are.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    fn enter_as(&self, program: &[u8], besides: usize) -> Result<Place, String> {
        let mut taken = self.taken();
        let own = taken.get(program).copied().unwrap_or(0);
        let (of_one, most) = (self.most_of_one, self.most);
        if own >= of_one {
            return Err(format!(
                "the program has too many connections: {of_one} of the {most} that its sandbox may have"
            ));
        }
        if taken.values().sum::<usize>() + besides >= most {
            return Err(format!(
                "the sandbox has {most} connections, as many as it may"
            ));
        }
        taken.insert(program.into(), own + 1);
        Ok(Place {
            places: self.clone(),
            program: program.into(),
        })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<Box<[u8]>, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        if let Some(own) = taken.get_mut(&self.program) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.program);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Places;

    #[test]
    fn one_program_leaves_the_others_their_places() {
        let places = Places::new(8, 6);
        let mut taken: Vec<_> = (0..6).map(|_| places.enter_as(b"/a", 0).unwrap()).collect();
        let why = places.enter_as(b"/a", 0).err().unwrap();
        assert!(
            why.ends_with("6 of the 8 that its sandbox may have"),
            "{why}"
        );
        let why = places.enter_as(b"/b", 2).err().unwrap();
        assert_eq!(why, "the sandbox has 8 connections, as many as it may");
        assert!(places.enter_as(b"/b", 1).is_ok());
        taken.pop();
        assert!(places.enter_as(b"/a", 0).is_ok());
    }

    #[test]
    fn they_are_few_altogether_and_none_is_lost() {
        let places = Places::new(8, 6);
        let names = (0..20u8).map(|number| [number]);
        let taken: Vec<_> = names
            .filter_map(|name| places.enter_as(&name, 0).ok())
            .collect();
        assert_eq!(taken.len(), 8);
        drop(taken);
        assert!(places.taken().is_empty());
    }
}
