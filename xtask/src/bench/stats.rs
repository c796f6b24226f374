//! Median, minimum and 90th percentile.

use serde::Serialize;

/// What the samples of one wall in one case come to, in the case's unit.
#[derive(Serialize, Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    pub(crate) n: usize,
    pub(crate) median: f64,
    pub(crate) min: f64,
    /// Nearest rank: the smallest sample that 90 % of them don't exceed.
    pub(crate) p90: f64,
}

impl Summary {
    /// Nothing if there are no samples.
    pub(crate) fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        let min = *sorted.first()?;
        Some(Summary {
            n,
            median: median(&sorted),
            min,
            p90: sorted[(n * 9).div_ceil(10) - 1],
        })
    }
}

/// The middle of sorted samples, of which there is at least one.
pub(crate) fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    } else {
        sorted[middle]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_samples() {
        let samples: Vec<f64> = (1..=10).rev().map(f64::from).collect();
        let summary = Summary::of(&samples).expect("samples");
        assert_eq!(
            summary,
            Summary {
                n: 10,
                median: 5.5,
                min: 1.0,
                p90: 9.0
            }
        );
    }

    #[test]
    fn one_sample_is_everything() {
        let summary = Summary::of(&[2.0]).expect("a sample");
        assert_eq!(
            summary,
            Summary {
                n: 1,
                median: 2.0,
                min: 2.0,
                p90: 2.0
            }
        );
        assert_eq!(Summary::of(&[]), None);
    }
}
