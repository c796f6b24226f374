//! How much either side may send that the other hasn't read.
//!
//! A stream begins with a credit of [`WINDOW`] each way, without a word. Who sends spends it; who
//! has read gives it back. So what waits to be read is never more than that, whoever the other is.

use crate::WINDOW;
use crate::ended::Fault;

/// The side that reads.
#[derive(Debug)]
pub(crate) struct Taking {
    /// What the other may still send.
    open: u32,
    /// What was read here and not given back yet.
    read: u32,
}

/// Credit is given back in portions of so much: each costs a frame.
const PORTION: u32 = WINDOW / 4;

impl Default for Taking {
    fn default() -> Self {
        Self {
            open: WINDOW,
            read: 0,
        }
    }
}

impl Taking {
    /// So many bytes came.
    pub(crate) fn came(&mut self, count: usize) -> Result<(), Fault> {
        let count = u32::try_from(count).map_err(|_| Fault::Overrun)?;
        self.open = self.open.checked_sub(count).ok_or(Fault::Overrun)?;
        Ok(())
    }

    /// So many of them were read; true if it's time to give credit back.
    pub(crate) fn was_read(&mut self, count: usize) -> bool {
        // No more is read than came, and that fits.
        self.read = self.read.saturating_add(count as u32);
        self.read >= PORTION
    }

    /// What to give back now, if it is worth a frame.
    pub(crate) fn give(&mut self) -> Option<u32> {
        if self.read < PORTION {
            return None;
        }
        self.open += self.read;
        Some(std::mem::take(&mut self.read))
    }
}

/// The side that sends.
#[derive(Debug)]
pub(crate) struct Giving {
    credit: u32,
}

impl Default for Giving {
    fn default() -> Self {
        Self { credit: WINDOW }
    }
}

impl Giving {
    /// The other has read so much.
    pub(crate) fn granted(&mut self, amount: u32) -> Result<(), Fault> {
        let credit = self.credit.checked_add(amount);
        // There was never more than that under way.
        self.credit = credit
            .filter(|credit| *credit <= WINDOW)
            .ok_or(Fault::Overdraft)?;
        Ok(())
    }

    /// How many of so many bytes may be sent now.
    pub(crate) fn of(&self, count: usize) -> usize {
        count.min(self.credit as usize)
    }

    /// So many are sent, no more than [`Self::of`] said.
    pub(crate) fn spend(&mut self, count: usize) {
        self.credit = self.credit.saturating_sub(count as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_sends_more_than_is_open() {
        let mut taking = Taking::default();
        assert_eq!(taking.came(WINDOW as usize), Ok(()));
        assert_eq!(taking.came(1), Err(Fault::Overrun));
    }

    #[test]
    fn what_was_read_is_open_again() {
        let mut taking = Taking::default();
        taking.came(WINDOW as usize).expect("it is open");
        assert!(!taking.was_read(PORTION as usize - 1));
        assert_eq!(taking.give(), None);
        assert!(taking.was_read(1));
        assert_eq!(taking.give(), Some(PORTION));
        assert_eq!(taking.came(PORTION as usize), Ok(()));
        assert_eq!(taking.came(1), Err(Fault::Overrun));
    }

    #[test]
    fn credit_never_exceeds_the_window() {
        let mut giving = Giving::default();
        assert_eq!(giving.granted(1), Err(Fault::Overdraft));
        let mut giving = Giving::default();
        giving.spend(10);
        assert_eq!(giving.granted(10), Ok(()));
        assert_eq!(giving.granted(u32::MAX), Err(Fault::Overdraft));
    }
}
