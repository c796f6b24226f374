//! Where the monitor has mapped the guest's memory, which is what it says: nothing of it is believed
//! before it has been checked.

use crate::memory::PAGE;
use casemate_core::error::{Error, Result};
use serde::Deserialize;
use std::ops::Range;

/// The pages that there are: ordinary and huge ones.
const SIZES: [u64; 2] = [PAGE, 2 << 20];
/// A machine has one or two, and a few more if memory can be added to it.
const MOST: usize = 64;
/// The end of a process's addresses (Documentation/arch/x86/x86_64/mm.rst, five levels).
const END: u64 = 1 << 56;

/// One, in the words of the message.
#[derive(Debug, Deserialize)]
struct Word {
    base_host_virt_addr: u64,
    size: u64,
    offset: u64,
    page_size: Option<u64>,
    /// The same in bytes, whatever its name says; it is what older monitors send.
    page_size_kib: Option<u64>,
}

/// A part of the guest's memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Region {
    /// Where the monitor has it.
    pub(super) addresses: Range<u64>,
    /// Where the source has it, pages of 4 KiB.
    pub(super) pages: Range<u64>,
    /// What it consists of, bytes.
    pub(super) page_size: u64,
}

impl Region {
    fn checked(word: &Word) -> Result<Self, String> {
        let page_size = word.page_size.or(word.page_size_kib);
        let page_size = page_size.ok_or("it doesn't say how large its pages are")?;
        if !SIZES.contains(&page_size) || word.page_size_kib.is_some_and(|size| size != page_size) {
            return Err(format!("there are no pages of {page_size} bytes"));
        }
        let (start, size, offset) = (word.base_host_virt_addr, word.size, word.offset);
        let end = start.checked_add(size).filter(|end| *end <= END);
        let last = offset.checked_add(size);
        let (Some(end), Some(last)) = (end, last) else {
            return Err(format!("{size} bytes at {start:#x} aren't addresses"));
        };
        if size == 0 || [start, size, offset].iter().any(|n| n % page_size != 0) {
            return Err(format!(
                "{size} bytes at {start:#x} and {offset} aren't whole pages"
            ));
        }
        Ok(Self {
            addresses: start..end,
            pages: offset / PAGE..last / PAGE,
            page_size,
        })
    }

    /// Pages of 4 KiB in one of its own.
    pub(super) fn step(&self) -> u64 {
        self.page_size / PAGE
    }

    /// Where the monitor has these pages, which are its own.
    pub(super) fn addresses_of(&self, pages: &Range<u64>) -> Range<u64> {
        let address = |page| self.addresses.start + (page - self.pages.start) * PAGE;
        address(pages.start)..address(pages.end)
    }

    /// The part of these addresses that is in it, as pages that are wholly covered.
    fn pages_of(&self, addresses: &Range<u64>) -> Range<u64> {
        let inside = |address: u64| {
            let address = address.clamp(self.addresses.start, self.addresses.end);
            address - self.addresses.start
        };
        let start = inside(addresses.start).next_multiple_of(self.page_size);
        let end = inside(addresses.end) / self.page_size * self.page_size;
        self.pages.start + start / PAGE..self.pages.start + end / PAGE
    }
}

/// All of them: they overlap neither in the monitor nor in the source, and are the whole source.
#[derive(Debug)]
pub(super) struct Regions(Vec<Region>);

impl Regions {
    /// Reads and checks the message, for a source of so many pages.
    pub(super) fn parse(message: &[u8], pages: u64) -> Result<Self> {
        let fail = |why: String| Error::rule("read what memory the monitor has", why);
        let words: Vec<Word> =
            serde_json::from_slice(message).map_err(|error| fail(error.to_string()))?;
        if words.is_empty() || words.len() > MOST {
            return Err(fail(format!("it names {} regions", words.len())));
        }
        let regions = words.iter().map(Region::checked).collect::<Result<_, _>>();
        let regions: Vec<Region> = regions.map_err(fail)?;
        for key in [
            |region: &Region| region.addresses.clone(),
            |region: &Region| region.pages.clone(),
        ] {
            let mut ranges: Vec<Range<u64>> = regions.iter().map(key).collect();
            ranges.sort_unstable_by_key(|range| range.start);
            if ranges.windows(2).any(|pair| pair[0].end > pair[1].start) {
                return Err(fail("its regions overlap".to_owned()));
            }
        }
        // They don't overlap: if they have as many as there are, they have each.
        let total: u64 = regions.iter().map(|r| r.pages.end - r.pages.start).sum();
        let beyond = regions.iter().any(|region| region.pages.end > pages);
        if total != pages || beyond {
            let why = format!("it has {total} pages of memory, and the snapshot {pages}");
            return Err(fail(why));
        }
        Ok(Self(regions))
    }

    /// The page at an address: its region, and its pages of 4 KiB.
    pub(super) fn page_at(&self, address: u64) -> Option<(&Region, Range<u64>)> {
        let mut all = self.0.iter();
        let region = all.find(|region| region.addresses.contains(&address))?;
        let inside = (address - region.addresses.start) / region.page_size;
        let first = region.pages.start + inside * region.step();
        Some((region, first..first + region.step()))
    }

    /// The region that has a page of the source.
    pub(super) fn of_page(&self, page: u64) -> Option<&Region> {
        self.0.iter().find(|region| region.pages.contains(&page))
    }

    /// The pages that these addresses cover.
    pub(super) fn pages_of(&self, addresses: Range<u64>) -> impl Iterator<Item = Range<u64>> {
        let all = self.0.iter();
        let pages = all.map(move |region| region.pages_of(&addresses));
        pages.filter(|pages| !pages.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(start: u64, size: u64, offset: u64, page: u64) -> String {
        format!(
            r#"{{"base_host_virt_addr":{start},"size":{size},"offset":{offset},"page_size":{page},"page_size_kib":{page}}}"#
        )
    }

    fn parse(words: &[String], pages: u64) -> Result<Regions> {
        Regions::parse(format!("[{}]", words.join(",")).as_bytes(), pages)
    }

    #[test]
    fn regions_are_found_by_address_and_by_page() {
        let words = [
            word(0x10_0000, 8192, 4096, 4096),
            word(0x50_0000, 4096, 0, 4096),
        ];
        let regions = parse(&words, 3).expect("they are whole");
        let (region, pages) = regions.page_at(0x10_1fff).expect("it is there");
        assert_eq!((region.page_size, pages), (4096, 2..3));
        assert_eq!(region.addresses_of(&(2..3)), 0x10_1000..0x10_2000);
        assert!(regions.page_at(0x10_2000).is_none());
        assert_eq!(regions.of_page(0).expect("it is there").pages, 0..1);
        let pages: Vec<_> = regions.pages_of(0x10_0800..0xffff_ffff).collect();
        assert_eq!(pages, [2..3, 0..1]);
        assert_eq!(regions.pages_of(0x10_0001..0x10_0fff).count(), 0);
    }

    #[test]
    fn huge_pages_are_found_whole() {
        let regions = parse(&[word(2 << 30, 4 << 20, 0, 2 << 20)], 1024).expect("they are whole");
        let (region, pages) = regions.page_at((2 << 30) + (3 << 20)).expect("it is there");
        assert_eq!((region.step(), pages), (512, 512..1024));
    }

    #[test]
    fn the_older_message_is_understood() {
        let older = r#"[{"base_host_virt_addr":4096,"size":4096,"offset":0,"page_size_kib":4096}]"#;
        Regions::parse(older.as_bytes(), 1).expect("it is one");
    }

    #[test]
    fn lies_are_refused() {
        let page = 4096;
        let huge = 2 << 20;
        let top = u64::MAX - 4095;
        for (what, words) in [
            ("none", vec![]),
            ("many", vec![word(page, page, 0, page); 65]),
            ("empty", vec![word(page, 0, 0, page)]),
            ("too little", vec![word(page, page, 0, page)]),
            ("too much", vec![word(page, 3 * page, 0, page)]),
            (
                "elsewhere in the source",
                vec![word(page, 2 * page, page, page)],
            ),
            (
                "an offset without an end",
                vec![word(page, 2 * page, top, page)],
            ),
            ("a size without an end", vec![word(page, top, 0, page)]),
            (
                "an address without an end",
                vec![word(top, 2 * page, 0, page)],
            ),
            (
                "the kernel's addresses",
                vec![word(1 << 63, 2 * page, 0, page)],
            ),
            ("half a page", vec![word(page, 2 * page + 1, 0, page)]),
            (
                "half a page's address",
                vec![word(page + 1, 2 * page, 0, page)],
            ),
            ("half a page's offset", vec![word(page, 2 * page, 1, page)]),
            ("other pages", vec![word(page, 2 * page, 0, 8192)]),
            ("no pages", vec![word(page, 2 * page, 0, 0)]),
            (
                "huge pages of little memory",
                vec![word(huge, 2 * page, 0, huge)],
            ),
            (
                "one place twice",
                vec![word(page, page, 0, page), word(page, page, page, page)],
            ),
            (
                "one page twice",
                vec![word(page, page, 0, page), word(3 * page, page, 0, page)],
            ),
        ] {
            let error = parse(&words, 2).expect_err(what);
            assert!(error.to_string().starts_with("read what memory"), "{error}");
        }
        for text in ["", "[", "{}", "[{}]", "null", "[[]]", "[{\"size\":-1}]"] {
            Regions::parse(text.as_bytes(), 2).expect_err(text);
        }
        let two = r#"[{"base_host_virt_addr":4096,"size":4096,"offset":0,"page_size":4096,"page_size_kib":2097152}]"#;
        Regions::parse(two.as_bytes(), 1).expect_err("pages of two sizes");
    }
}
