//! Named random streams. A draw depends on the root seed, the name of its stream and a few indices (stage, step, row, ..)
//! and on nothing else: no generator state survives from one use to the next, so there is none to save.

use coin_kernels::draws;
use sha2::{Digest, Sha256};

/// The seed of a named stream, from the root seed and the indices that single out one use of it.
pub fn seed(root: u64, stream: &str, indices: &[u64]) -> u64 {
    let mut hash = Sha256::new();
    hash.update(root.to_le_bytes());
    hash.update((stream.len() as u64).to_le_bytes());
    hash.update(stream.as_bytes());
    for index in indices {
        hash.update(index.to_le_bytes());
    }
    let digest = hash.finalize();
    u64::from_le_bytes([
        digest[0], digest[1], digest[2], digest[3], digest[4], digest[5], digest[6], digest[7],
    ])
}

/// A short-lived generator over one named stream (SplitMix64).
pub struct Draws {
    state: u64,
}

impl Draws {
    /// The draws of `stream` under the root seed, for one use singled out by `indices`.
    pub fn new(root: u64, stream: &str, indices: &[u64]) -> Self {
        Draws::from_seed(seed(root, stream, indices))
    }

    /// The draws of a seed that [`seed`] made.
    pub fn from_seed(seed: u64) -> Self {
        Draws { state: seed }
    }

    /// Goes on as if `count` draws of [`Draws::next_u64`] had been made.
    pub fn skip(&mut self, count: u64) {
        self.state = draws::after(self.state, count);
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        draws::next(&mut self.state)
    }

    /// Uniform in `[0, 1)`, 53 bits.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `0..n`; `n` must be positive.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "a draw below zero");
        ((u128::from(self.next_u64()) * n as u128) >> 64) as usize
    }

    /// Standard normal (Box-Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// One item of a slice that is not empty.
    pub fn choose<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// Fisher-Yates.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_differ_by_name_and_index_and_repeat_for_the_same_ones() {
        assert_eq!(seed(7, "order", &[1, 2]), seed(7, "order", &[1, 2]));
        assert_ne!(seed(7, "order", &[1, 2]), seed(7, "order", &[2, 1]));
        assert_ne!(seed(7, "order", &[1]), seed(7, "replay", &[1]));
        assert_ne!(seed(7, "order", &[1]), seed(8, "order", &[1]));
    }

    #[test]
    fn draws_cover_their_range_evenly() {
        let mut draws = Draws::new(0, "test", &[]);
        let mut counts = [0usize; 5];
        for _ in 0..10_000 {
            counts[draws.below(5)] += 1;
        }
        assert!(counts.iter().all(|&n| (1_850..2_150).contains(&n)), "{counts:?}");
        let mean = (0..10_000).map(|_| draws.normal()).sum::<f64>() / 10_000.0;
        assert!(mean.abs() < 0.04, "{mean}");
        let mut items: Vec<usize> = (0..20).collect();
        draws.shuffle(&mut items);
        assert_ne!(items, (0..20).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..20).collect::<Vec<_>>());
    }
}
