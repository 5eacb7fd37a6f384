//! The fleet's line as a replica knows it that decides nothing.

use crate::time::{Millis, Mono};

/// Where the fleet's line is at least, by the entries of a leader and the own monotonic clock alone: nobody's wall clock
/// can move it. The clock's readings are arguments; `FollowerClock` takes them from the system.
///
/// Each entry says where the leader's line was when it was decided. An entry takes some time to arrive, so this line is behind
/// the leader's by at most that, and by what the clocks drift apart meanwhile. [`Term::hold`](crate::fleet::Term::hold)
/// covers both after a promotion: permits end early by this line, and runs are leased again late.
///
/// ```
/// use leasehold::{shell::FollowerLine, time::{Millis, Mono}};
/// let mut line = FollowerLine::resume(Mono(1_000), Millis(50));
/// assert_eq!(line.now(Millis(60)), Mono(1_010));
/// line.saw(Mono(2_000), Millis(70));
/// line.saw(Mono(1_500), Millis(80)); // from before: changes nothing
/// assert_eq!(line.now(Millis(90)), Mono(2_020));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct FollowerLine {
    at: Mono,
    since: Millis,
}

impl FollowerLine {
    /// A line that was at `at` when the state was last changed, as [`FleetState::last`](crate::fleet::FleetState::last)
    /// says; it goes on from `local`, the reading of the replica's own monotonic clock.
    pub const fn resume(at: Mono, local: Millis) -> Self {
        Self { at, since: local }
    }

    /// An entry was applied at `local` that was decided at `at`. One from before changes nothing.
    pub fn saw(&mut self, at: Mono, local: Millis) {
        if at > self.now(local) {
            *self = Self::resume(at, local);
        }
    }

    /// Where the line is at least when the own clock reads `local`. It never goes back while that one does not.
    pub fn now(&self, local: Millis) -> Mono {
        self.at.plus(Millis(local.0.saturating_sub(self.since.0)))
    }
}
