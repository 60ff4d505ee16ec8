//! Medians of rounds.

use std::time::Instant;

use crate::Outcome;

/// Times one leg of a round: the median time of one call, in nanoseconds.
pub(crate) fn median_nanos(calls: usize, mut call: impl FnMut() -> Outcome<()>) -> Outcome<f64> {
    let mut times = Vec::with_capacity(calls);
    for _ in 0..calls {
        let begin = Instant::now();
        call()?;
        times.push(begin.elapsed().as_secs_f64() * 1e9);
    }
    Ok(median(&times))
}

/// The median time of each round, in nanoseconds.
#[derive(Default)]
pub(crate) struct Series(Vec<f64>);

impl Series {
    /// Adds a round.
    pub(crate) fn push(&mut self, nanos: f64) {
        self.0.push(nanos);
    }

    /// Of the rounds: the median.
    pub(crate) fn typical(&self) -> f64 {
        median(&self.0)
    }

    /// Of the rounds: the quietest.
    pub(crate) fn best(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// Median over the rounds of this by another of the same round.
    pub(crate) fn typical_ratio(&self, other: &Self) -> f64 {
        self.pairs(other, |this, other| this / other)
    }

    /// Median over the rounds of this less another of the same round.
    pub(crate) fn typical_difference(&self, other: &Self) -> f64 {
        self.pairs(other, |this, other| this - other)
    }

    fn pairs(&self, other: &Self, join: impl Fn(f64, f64) -> f64) -> f64 {
        let values: Vec<f64> = self.0.iter().zip(&other.0).map(|(this, other)| join(*this, *other)).collect();
        median(&values)
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
