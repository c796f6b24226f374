//! Signals, as the end of a process names them.
//!
//! The words are those of Go's standard library, which the first agent of this contract is written
//! in, and which clients therefore see.

/// Of signals 1 to 15; the others are `signal N`.
const WORDS: [&str; 15] = [
    "hangup",
    "interrupt",
    "quit",
    "illegal instruction",
    "trace/breakpoint trap",
    "aborted",
    "bus error",
    "floating point exception",
    "killed",
    "user defined signal 1",
    "segmentation fault",
    "user defined signal 2",
    "broken pipe",
    "alarm clock",
    "terminated",
];

/// The words for a signal (signal(7)).
#[must_use]
pub fn words(number: i32) -> String {
    let index = usize::try_from(number)
        .ok()
        .and_then(|at| at.checked_sub(1));
    match index.and_then(|at| WORDS.get(at)) {
        Some(words) => (*words).to_owned(),
        None => format!("signal {number}"),
    }
}

/// The signal that has these words.
#[must_use]
pub fn number(words: &str) -> Option<u8> {
    match WORDS.iter().position(|own| *own == words) {
        Some(at) => u8::try_from(at + 1).ok(),
        None => words.strip_prefix("signal ")?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lead_back_to_their_signal() {
        for signal in 1..=64 {
            assert_eq!(number(&words(signal)), u8::try_from(signal).ok());
        }
        assert_eq!(words(9), "killed");
        assert_eq!(words(0), "signal 0");
        assert_eq!(number("hung up"), None);
    }
}
