//! The fleet's line as a replica knows it that decides nothing.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "this is where time comes in")]

use std::time::Instant;

use super::FollowerLine;
use crate::time::{Millis, Mono};

/// A [`FollowerLine`] that reads the system's monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct FollowerClock {
    line: FollowerLine,
    start: Instant,
}

impl FollowerClock {
    /// A line that was at `at` when the state was last changed, as [`FleetState::last`](crate::fleet::FleetState::last)
    /// says; it goes on from now.
    pub fn resume(at: Mono) -> Self {
        Self { line: FollowerLine::resume(at, Millis(0)), start: Instant::now() }
    }

    fn local(&self) -> Millis {
        Millis(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// An entry was applied that was decided at `at`. One from before changes nothing.
    pub fn saw(&mut self, at: Mono) {
        let local = self.local();
        self.line.saw(at, local);
    }

    /// Where the line is at least. It never goes back.
    pub fn now(&self) -> Mono {
        self.line.now(self.local())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Invariant 7: neither entries nor time take the line back.
    #[test]
    fn a_line_follows_entries_and_never_goes_back() {
        let mut clock = FollowerClock::resume(Mono(1_000));
        assert!(clock.now() >= Mono(1_000));
        clock.saw(Mono(100_000));
        let now = clock.now();
        assert!(now >= Mono(100_000));
        clock.saw(Mono(50_000));
        assert!(clock.now() >= now);
    }
}
