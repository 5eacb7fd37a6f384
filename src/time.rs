//! Time as an argument: [`Now`] carries both clocks that decisions need, in milliseconds.
//!
//! Leases, grace periods and staleness are counted on [`Mono`], the fleet's own monotonic time, which never
//! goes back. The documentation also calls it the fleet's line. Certificates and evidence carry dates and are
//! judged on [`Wall`]. No part of this crate's core reads a clock: the caller passes a `Now`, and a fixed
//! `Now` is itself a [`Clock`].

use core::fmt;

use serde::{Deserialize, Serialize};

/// A span of time in milliseconds. Arithmetic saturates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Millis {
    /// A span of zero.
    pub const ZERO: Self = Self(0);

    /// `seconds` as milliseconds, saturating.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// The sum, saturating.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, or zero if `other` is longer.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

macro_rules! instant {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub u64);

        impl $name {
            /// The first instant.
            pub const START: Self = Self(0);
            /// An instant that is never reached.
            pub const NEVER: Self = Self(u64::MAX);

            /// This instant moved later by `span`, saturating.
            #[must_use]
            pub const fn plus(self, span: Millis) -> Self {
                Self(self.0.saturating_add(span.0))
            }

            /// This instant moved earlier by `span`, saturating at [`Self::START`].
            #[must_use]
            pub const fn minus(self, span: Millis) -> Self {
                Self(self.0.saturating_sub(span.0))
            }

            /// How long after `earlier` this instant is; zero if it is before.
            #[must_use]
            pub const fn since(self, earlier: Self) -> Millis {
                Millis(self.0.saturating_sub(earlier.0))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

instant! {
    /// An instant of the fleet's monotonic time, in milliseconds since the fleet was founded.
    ///
    /// The time continues over restarts. The shell resumes it at the last journaled value plus the larger of
    /// the boot time and the wall time that passed since, so that leases can only end sooner.
    Mono
}

instant! {
    /// An instant of the wall clock, in milliseconds since the Unix epoch.
    Wall
}

/// Both clocks at one instant, passed into every decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Now {
    /// The fleet's monotonic time.
    pub mono: Mono,
    /// The wall clock, for certificates and evidence.
    pub wall: Wall,
}

impl Now {
    /// A `Now` from milliseconds on both clocks.
    ///
    /// ```
    /// use leasehold::time::{Millis, Mono, Now, Wall};
    /// let now = Now::new(1_000, 1_764_000_000_000);
    /// assert_eq!(now.mono.plus(Millis(500)), Mono(1_500));
    /// assert_eq!(now.wall, Wall(1_764_000_000_000));
    /// ```
    pub const fn new(mono: u64, wall: u64) -> Self {
        Self { mono: Mono(mono), wall: Wall(wall) }
    }

    /// Both clocks moved later by `span`.
    #[must_use]
    pub const fn plus(self, span: Millis) -> Self {
        Self { mono: self.mono.plus(span), wall: self.wall.plus(span) }
    }
}

/// A source of time for a shell. The core never calls it; a driver does, once before each input.
pub trait Clock {
    /// The current time on both clocks. `mono` must never be less than in an earlier answer.
    fn now(&self) -> Now;
}

/// A fixed time is a clock, which is enough for most tests.
impl Clock for Now {
    fn now(&self) -> Now {
        *self
    }
}
