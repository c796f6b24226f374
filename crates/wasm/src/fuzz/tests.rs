use super::{TARGETS, Target, read};

/// Inputs of each target.
const INPUTS: u64 = 30_000;
/// Of those that take longer.
const FEWER: u64 = 1_000;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// Random bytes, or valid ones that were changed in a few places.
    fn input(&mut self, valid: &[Vec<u8>]) -> Vec<u8> {
        if self.below(10) == 0 {
            return (0..self.below(200)).map(|_| self.next() as u8).collect();
        }
        let mut bytes = valid[self.below(valid.len())].clone();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(8) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, self.next() as u8),
                2 if at < bytes.len() => drop(bytes.remove(at)),
                3 => {
                    let from = self.below(bytes.len());
                    let piece = bytes[from..].iter().take(16).copied().collect::<Vec<_>>();
                    bytes.splice(at..at, piece);
                }
                // Lengths and numbers are where it hurts.
                4 => {
                    let number = [0, 1, 0x7f, 0x80, 0xff][self.below(5)];
                    let length = 1 + self.below(8);
                    bytes
                        .iter_mut()
                        .skip(at)
                        .take(length)
                        .for_each(|byte| *byte = number);
                }
                _ => {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= 1 << self.below(8);
                    }
                }
            }
        }
        bytes
    }
}

fn target(name: &str, inputs: u64) {
    let Target { valid, .. } = TARGETS.iter().find(|target| target.name == name).unwrap();
    let valid = valid();
    for bytes in &valid {
        read(name, bytes);
    }
    for seed in 0..inputs {
        let bytes = Random(seed).input(&valid);
        let was_read = std::panic::catch_unwind(|| read(name, &bytes));
        assert!(was_read.is_ok(), "seed {seed}: {bytes:02x?}");
    }
}

macro_rules! targets {
    ($($name:ident $inputs:ident)*) => {
        $(
            #[test]
            fn $name() {
                target(stringify!($name), $inputs);
            }
        )*

        #[test]
        fn each_target_has_its_program() {
            let here = [$(stringify!($name)),*];
            let known: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(known, here);
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz");
            let manifest = std::fs::read_to_string(format!("{folder}/Cargo.toml")).unwrap();
            for name in here {
                let program = std::fs::read_to_string(format!("{folder}/fuzz_targets/{name}.rs"));
                assert!(program.unwrap().contains(&format!("read(\"{name}\"")), "{name}");
                assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
            }
        }
    };
}

targets! {
    frames INPUTS
    calls INPUTS
    outcomes INPUTS
    requests INPUTS
    replies INPUTS
    reviews INPUTS
    runs INPUTS
    documents FEWER
    journals FEWER
    overlays FEWER
    modules FEWER
    bundles FEWER
}
