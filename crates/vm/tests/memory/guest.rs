//! The guest's side: a region of its memory, in which it does what it is told.

use super::region::{PAGES, SIZE, bytes, sum, sum_of};
use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, memfd_create};
use std::fs::File;
use std::os::unix::fs::FileExt;

static ZERO: [u8; SIZE] = [0; SIZE];

/// A file that is in memory alone, as it has calls for all that is to be done.
pub(crate) struct Memory(File);

impl Memory {
    pub(crate) fn new() -> Self {
        let file = memfd_create(c"region", MemfdFlags::CLOEXEC).expect("there is memory");
        let file = File::from(file);
        file.set_len(u64::from(PAGES) * SIZE as u64)
            .expect("it is long");
        Self(file)
    }

    /// `sum`, or WHAT FIRST COUNT SEED.
    pub(crate) fn answer(&self, asked: &str) -> String {
        let words: Vec<&str> = asked.split(' ').collect();
        let numbers: Vec<u32> = words[1..].iter().flat_map(|word| word.parse()).collect();
        match (words[0], &numbers[..]) {
            ("sum", []) => self.sum().to_string(),
            ("page", [page]) => format!("{:?}", sum_of(&self.page(*page))),
            (what, [first, count, seed]) => {
                match what {
                    "write" => (*first..first + count).for_each(|page| {
                        self.write(page, &bytes(*seed, page));
                    }),
                    "zero" => (*first..first + count).for_each(|page| self.write(page, &ZERO)),
                    "free" => {
                        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                        let (at, length) = (u64::from(*first) << 12, u64::from(*count) << 12);
                        fallocate(&self.0, flags, at, length).expect("it is freed");
                    }
                    _ => return "what?".to_owned(),
                }
                "done".to_owned()
            }
            _ => "what?".to_owned(),
        }
    }

    fn write(&self, page: u32, bytes: &[u8]) {
        let at = u64::from(page) << 12;
        self.0.write_all_at(bytes, at).expect("there is memory");
    }

    fn page(&self, page: u32) -> Vec<u8> {
        let mut bytes = vec![0; SIZE];
        let at = u64::from(page) << 12;
        self.0.read_exact_at(&mut bytes, at).expect("it is there");
        bytes
    }

    fn sum(&self) -> u64 {
        let mut page = [0; SIZE];
        sum((0..PAGES).map(|number| {
            let at = u64::from(number) << 12;
            self.0.read_exact_at(&mut page, at).expect("it is there");
            match page == ZERO {
                true => 0,
                false => sum_of(&page),
            }
        }))
    }
}
