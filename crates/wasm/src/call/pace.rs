//! Slices of a call: between two of them, whoever asked for the call says whether it goes on.
//!
//! A call is stopped where its code looks at the counter of instructions, which is behind the end of
//! its slice by what was paid for at once. The next slice is shorter by that; one that isn't long
//! enough is over at once, and the one after it pays for the rest. So how a call is sliced changes
//! nothing of what it does, nor of what it takes, but for [`MOST_SLICES`].

/// How many slices a call may have.
pub const MOST_SLICES: u64 = 400;

/// Where a call waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// How many slices it has begun.
    pub slices: u64,
    /// The instructions that it has taken.
    pub instructions: u64,
    /// Before what.
    pub next: Next,
}

/// What a call that waits does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It runs on.
    Slice,
    /// It has ended well, and so many pages of its heap are copied.
    Copy {
        /// More than [`Limits::dirty`](super::Limits::dirty).
        pages: u64,
    },
}

/// What becomes of a call that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// It goes on.
    Resume,
    /// It ends here, as [`Aborted`](super::Failure::Aborted): nothing is left of it.
    Abort,
}

/// Whoever is asked between two slices. `()` lets every call go on.
pub trait Pacer {
    /// The call stands still until this returns.
    fn pause(&mut self, pause: &Pause) -> Pace;
}

impl Pacer for () {
    fn pause(&mut self, _: &Pause) -> Pace {
        Pace::Resume
    }
}

impl<F: FnMut(&Pause) -> Pace> Pacer for F {
    fn pause(&mut self, pause: &Pause) -> Pace {
        self(pause)
    }
}
