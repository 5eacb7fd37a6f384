//! Clocks that differ: each party counts on its own line, at its own rate, and its wall clock shows what it likes.
//!
//! True time is a number of milliseconds since the simulation began, which nobody in it can see.

use crate::time::{Millis, Mono, Now, Wall};

/// What every wall clock would show at the beginning, were it right.
const WALL: u64 = 1_764_000_000_000;
const MILLION: i128 = 1_000_000;

/// What a right wall clock shows.
pub(super) const fn right_wall(at: u64) -> Wall {
    Wall(WALL.saturating_add(at))
}

/// The clock of one process.
#[derive(Clone, Debug)]
pub(super) struct LocalClock {
    begun: u64,
    base: u64,
    /// Parts per million by which its line runs fast.
    ppm: i64,
    /// By how much its wall clock is ahead, in milliseconds.
    pub(super) ahead: i64,
}

impl LocalClock {
    /// A line that is at `base` now.
    pub(super) const fn new(at: u64, base: Mono, ppm: i64, ahead: i64) -> Self {
        Self { begun: at, base: base.0, ppm, ahead }
    }

    fn mono(&self, at: u64) -> u64 {
        let passed = i128::from(at.saturating_sub(self.begun));
        let own = passed * (MILLION + i128::from(self.ppm)) / MILLION;
        self.base.saturating_add(u64::try_from(own).unwrap_or(0))
    }

    /// What it shows.
    pub(super) fn now(&self, at: u64) -> Now {
        Now { mono: Mono(self.mono(at)), wall: Wall(right_wall(at).0.saturating_add_signed(self.ahead)) }
    }

    /// When its line is at `mono`, or has passed it.
    pub(super) fn when(&self, mono: Mono) -> u64 {
        let own = i128::from(mono.0.saturating_sub(self.base));
        let passed = own * MILLION / (MILLION + i128::from(self.ppm));
        let mut at = self.begun.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX));
        while at < u64::MAX && self.mono(at) < mono.0 {
            at += 1;
        }
        at
    }

    /// Sets its rate right from here on.
    pub(super) fn correct(&mut self, at: u64) {
        *self = Self::new(at, Mono(self.mono(at)), 0, 0);
    }
}

/// The most that a line may run fast or slow, in parts per million: two clocks at both ends of that differ by less than
/// `budget` over `span`.
pub(super) fn largest_drift(budget: Millis, span: Millis) -> u64 {
    (budget.0.saturating_mul(400_000) / span.0.max(1)).min(20_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A deadline on a clock's own line is met at the first instant at which it has passed there.
    #[test]
    fn an_instant_of_a_clock_is_found_again() {
        for ppm in [-20_000, -7, 0, 3, 19_999] {
            let clock = LocalClock::new(17, Mono(1_000), ppm, -5);
            for mono in [1_000, 1_001, 1_999, 50_000, 12_345_678] {
                let at = clock.when(Mono(mono));
                assert!(clock.now(at).mono.0 >= mono);
                assert!(at == 17 || clock.now(at - 1).mono.0 < mono, "{ppm} {mono}");
            }
        }
    }
}
