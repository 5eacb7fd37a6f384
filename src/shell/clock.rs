//! The system's clocks as one line that survives restarts and only ever runs early.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "this is where time comes in")]

use core::sync::atomic::{AtomicU64, Ordering};
use std::{
    fs,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use crate::time::{Clock, Millis, Mono, Now, Wall};

/// Where the line was, to be kept with the journal so that a restart can go on from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockMark {
    /// The last time that counted.
    pub now: Now,
    /// How long the machine had been up then, sleep included, where the system says so.
    pub uptime: Option<Millis>,
}

impl ClockMark {
    /// The last time that counted, without knowledge of the machine: what a journal record holds.
    pub const fn of(now: Now) -> Self {
        Self { now, uptime: None }
    }
}

/// The system's clocks. The monotonic line includes time that the machine slept, where the system says so, and
/// resumes after a restart no earlier than the boot clock and the wall clock say. So leases can only end sooner.
#[derive(Debug)]
pub struct SystemClock {
    begun: Instant,
    begun_at: Mono,
    /// Machine uptime at `begun`.
    begun_uptime: Option<Millis>,
    /// The wall clock at `begun`.
    begun_wall: u64,
    /// What the monotonic clock of the system left out since `begun`.
    slept: AtomicU64,
}

fn wall() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// `/proc/uptime`: seconds since boot, sleep included, with two decimals.
fn uptime() -> Option<Millis> {
    let text = fs::read_to_string("/proc/uptime").ok()?;
    let (seconds, rest) = text.split_once('.')?;
    let hundredths: u64 = rest.get(..2)?.parse().ok()?;
    let seconds: u64 = seconds.parse().ok()?;
    Some(Millis::from_secs(seconds).plus(Millis(hundredths.saturating_mul(10))))
}

impl SystemClock {
    /// A line that begins now, at 1 ms.
    pub fn start() -> Self {
        Self::at(Mono(1), uptime())
    }

    /// Resumes the line of `mark`: later by the larger of the boot time and the wall time that passed.
    pub fn resume(mark: ClockMark) -> Self {
        let up = uptime();
        let by_wall = Wall(wall()).since(mark.now.wall);
        let by_boot = match (up, mark.uptime) {
            (Some(now), Some(then)) if now >= then => now.minus(then),
            // The machine has been restarted, or nobody knows.
            (Some(now), Some(_)) => now,
            _ => Millis::ZERO,
        };
        Self::at(mark.now.mono.plus(by_wall.max(by_boot)), up)
    }

    fn at(begun_at: Mono, begun_uptime: Option<Millis>) -> Self {
        Self { begun: Instant::now(), begun_at, begun_uptime, begun_wall: wall(), slept: AtomicU64::new(0) }
    }

    /// The mark to keep.
    pub fn mark(&self) -> ClockMark {
        ClockMark { now: self.now(), uptime: uptime() }
    }
}

/// How far the wall clock may be ahead of the line before something is made of it.
const AHEAD: u64 = 1000;

/// How long the machine slept since the line began, by what is known: `awake` by the monotonic clock, `by_wall` by the wall
/// clock, and `up` by the boot clock, sleep included. What was found before is in `known`.
///
/// A boot clock is believed. Where there is none, a wall clock that has run ahead of the line counts as sleep: set forward by
/// somebody it ends leases early, and not counted it would let a node that slept believe its lease.
fn slept(known: u64, awake: u64, by_wall: u64, up: impl FnOnce() -> Option<u64>) -> u64 {
    if by_wall <= awake.saturating_add(known).saturating_add(AHEAD) {
        return known;
    }
    known.max(up().unwrap_or(by_wall).saturating_sub(awake))
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        let awake = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let wall = wall();
        let known = self.slept.load(Ordering::Relaxed);
        let up = || Some(uptime()?.minus(self.begun_uptime?).0);
        let found = slept(known, awake, wall.saturating_sub(self.begun_wall), up);
        let slept = self.slept.fetch_max(found, Ordering::Relaxed).max(found);
        Now { mono: self.begun_at.plus(Millis(awake.saturating_add(slept))), wall: Wall(wall) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Invariant 7: a resumed line is never behind what was journaled, whatever the wall clock says.
    #[test]
    fn a_resumed_line_goes_on_from_its_mark() {
        let clock = SystemClock::start();
        let now = clock.now();
        assert!(clock.now() >= now);
        let hour = Millis::from_secs(3600);
        let mark = ClockMark { now: Now { mono: Mono(5_000), wall: now.wall.minus(hour) }, uptime: None };
        assert!(SystemClock::resume(mark).now().mono >= Mono(5_000).plus(hour));
        // A wall clock that was set back since cannot take the line back.
        let ahead = ClockMark { now: Now { mono: Mono(5_000), wall: now.wall.plus(hour) }, uptime: None };
        let resumed = SystemClock::resume(ahead).now().mono;
        assert!(resumed >= Mono(5_000) && resumed < Mono(5_000).plus(hour));
    }

    /// Invariant 7: sleep counts whether or not the system has a boot clock, and what was counted stays.
    #[test]
    fn a_machine_that_slept_is_later() {
        let hour = 3_600_000;
        // With a boot clock: that, whatever the wall says; a wall that was set forward is no sleep.
        assert_eq!(slept(0, 10, 10 + hour, || Some(10 + hour)), hour);
        assert_eq!(slept(0, 10, 10 + hour, || Some(10)), 0);
        // Without one: the wall.
        assert_eq!(slept(0, 10, 10 + hour, || None), hour);
        assert_eq!(slept(0, 5_000, 5_900, || None), 0, "less than a second is how clocks differ");
        // A wall that was set back takes nothing away, and what is known is not counted twice.
        assert_eq!(slept(hour, 20, 0, || None), hour);
        assert_eq!(slept(hour, 20, 20 + hour, || None), hour);
        assert_eq!(slept(hour, 20, 20 + 2 * hour, || None), 2 * hour);
    }

    #[test]
    fn the_boot_clock_counts_where_the_wall_clock_does_not() {
        let Some(up) = uptime() else { return };
        let now = SystemClock::start().now();
        let mark =
            ClockMark { now: Now { mono: Mono(7), wall: now.wall.plus(Millis(1)) }, uptime: Some(Millis(0)) };
        assert!(SystemClock::resume(mark).now().mono >= Mono(7).plus(up));
    }
}
