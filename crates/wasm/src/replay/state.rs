//! A canister's whole state in one number.

use crate::guest::State;
use casemate_sys::pages::{Committed, Error, PAGE};
use sha2::{Digest, Sha256};

/// Pages that are read at once.
const AT_ONCE: usize = 64;

/// SHA-256 of what a canister's state is: the pages of its memories, heap and stable, that aren't
/// zero, its globals and its sizes. Holes and pages of zeros are the same.
pub fn state_hash(memories: [&Committed; 2], state: &State) -> Result<[u8; 32], Error> {
    let mut hash = Sha256::new().chain_update(b"state of a canister, 1\n");
    let mut bytes = vec![0; AT_ONCE * PAGE];
    for (which, memory) in memories.into_iter().enumerate() {
        for run in memory.all_held()?.as_slice() {
            for first in run.pages().step_by(AT_ONCE) {
                let bytes = &mut bytes[..AT_ONCE.min(run.end - first) * PAGE];
                memory.read(first, bytes)?;
                for (page, bytes) in (first..).zip(bytes.chunks_exact(PAGE)) {
                    if bytes.iter().any(|byte| *byte != 0) {
                        hash.update([which as u8]);
                        hash.update((page as u64).to_le_bytes());
                        hash.update(bytes);
                    }
                }
            }
        }
    }
    hash.update([0xff]);
    hash.update(state.to_bytes());
    Ok(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Value;

    #[test]
    fn it_is_of_what_is_there_and_not_of_how_it_lies() {
        let memory = |pages: &[(usize, u8)]| {
            let mut memory = Committed::new("heap", 200).unwrap();
            for (page, byte) in pages {
                let mut window = memory.map(page + 1).unwrap();
                window.write(*page, &[*byte; PAGE]).unwrap();
            }
            memory
        };
        let hash = |heap: &[(usize, u8)], stable: &[(usize, u8)], globals: &[Value]| {
            let state = State {
                globals: globals.to_vec(),
                heap_pages: 1,
                stable_pages: 1,
            };
            state_hash([&memory(heap), &memory(stable)], &state).unwrap()
        };
        let one = hash(&[(3, 1)], &[(150, 2)], &[Value::I32(5)]);
        assert_eq!(
            hash(&[(3, 1), (4, 0)], &[(0, 0), (150, 2)], &[Value::I32(5)]),
            one
        );
        assert_ne!(hash(&[(4, 1)], &[(150, 2)], &[Value::I32(5)]), one);
        assert_ne!(hash(&[(3, 2)], &[(150, 2)], &[Value::I32(5)]), one);
        assert_ne!(hash(&[(150, 2)], &[(3, 1)], &[Value::I32(5)]), one);
        assert_ne!(hash(&[(3, 1), (150, 2)], &[], &[Value::I32(5)]), one);
        assert_ne!(hash(&[(3, 1)], &[(150, 2)], &[Value::I32(6)]), one);
    }
}
