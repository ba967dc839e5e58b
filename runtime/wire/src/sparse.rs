//! Saying little about what may come in floods.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts, and says which of what it counts are told: the 1st, 2nd, 4th, 8th and so on. A line for each message of a flood
/// would cost more than the flood.
#[derive(Debug, Default)]
pub struct Sparse(AtomicU64);

impl Sparse {
    /// Counts one more; its number where it is told.
    pub fn told(&self) -> Option<u64> {
        let number = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        number.is_power_of_two().then_some(number)
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_thousand_ten_are_told() {
        let sparse = Sparse::default();
        let told: Vec<u64> = (0..1000).filter_map(|_| sparse.told()).collect();
        assert_eq!(told, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]);
        assert_eq!(sparse.count(), 1000);
    }
}
