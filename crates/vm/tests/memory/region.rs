//! What is in the memory that is compared: pages, each of which a seed says.

/// Of the guest's.
pub(crate) const PAGES: u32 = 4096;
pub(crate) const SIZE: usize = 4096;

/// The contents of each page; seed 0 is a page of zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Region(pub(crate) Vec<u32>);

impl Region {
    pub(crate) fn new() -> Self {
        Self(vec![0; PAGES as usize])
    }

    /// What the guest is to answer if it is asked for all of it.
    pub(crate) fn sum(&self) -> u64 {
        let pages = self.0.iter().zip(0..);
        sum(pages.map(|(seed, page)| sum_of(&bytes(*seed, page))))
    }
}

/// A page.
pub(crate) fn bytes(seed: u32, page: u32) -> Vec<u8> {
    if seed == 0 {
        return vec![0; SIZE];
    }
    let mut state = u64::from(seed) << 32 | u64::from(page);
    // Some differ from each other in one place only.
    let words = if seed.is_multiple_of(3) { 1 } else { SIZE / 8 };
    let mut bytes: Vec<u8> = (0..words)
        .flat_map(|_| next(&mut state).to_le_bytes())
        .collect();
    bytes.resize(SIZE, 0);
    bytes.rotate_right(if words == 1 {
        page as usize % 512 * 8
    } else {
        0
    });
    bytes
}

/// SplitMix64.
pub(crate) fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

pub(crate) fn sum(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.fold(7, |sum: u64, number| {
        (sum ^ number)
            .wrapping_mul(0x0100_0000_01b3)
            .rotate_left(23)
    })
}

/// Of one page's bytes.
pub(crate) fn sum_of(page: &[u8]) -> u64 {
    if page.iter().all(|byte| *byte == 0) {
        return 0;
    }
    let (words, _) = page.as_chunks();
    sum(words.iter().map(|word| u64::from_le_bytes(*word)))
}
