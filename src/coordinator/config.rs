//! The bounds of a coordinator's connections.

use crate::time::Millis;

macro_rules! settings {
    ($($(#[$meta:meta])* $name:ident: $type:ty = $default:expr, at least $least:expr;)+) => {
        /// The bounds of a coordinator's connections. Every one has a default; no one can be set to nothing.
        ///
        /// ```
        /// use leasehold::{coordinator::CoordinatorConfig, time::Millis};
        /// let config = CoordinatorConfig::new().max_connections(200).silence(Millis(30_000));
        /// ```
        #[derive(Clone, Copy, Debug)]
        pub struct CoordinatorConfig { $(pub(super) $name: $type,)+ pub(super) inspect: bool }

        impl Default for CoordinatorConfig {
            fn default() -> Self {
                Self { $($name: $default,)+ inspect: false }
            }
        }

        impl CoordinatorConfig {
            /// The defaults.
            pub fn new() -> Self {
                Self::default()
            }

            $($(#[$meta])* #[must_use] pub fn $name(mut self, value: $type) -> Self {
                self.$name = value.max($least);
                self
            })+

            /// Whether somebody looks at what a worker cleaned up, before the core judges it. Default: no.
            #[must_use]
            pub const fn inspect(mut self, inspect: bool) -> Self {
                self.inspect = inspect;
                self
            }
        }
    };
}

settings! {
    /// Connections at a time. Default 100 000.
    max_connections: usize = 100_000, at least 1;
    /// Bytes that a connection may have been handed without taking them. Default and least 4 MiB.
    max_unsent: usize = 4 << 20, at least 4 << 20;
    /// Bytes that all connections hold together: what has come of frames, and what was not taken. Over it the connection is
    /// closed that has held something for longest. Default 512 MiB, at least 16 MiB.
    max_bytes: usize = 512 << 20, at least 16 << 20;
    /// Requests of a connection that wait for their answer. Default 16.
    max_in_flight: usize = 16, at least 1;
    /// Local requests, worker requests and refusals that wait for the journal, together. Default 65 536.
    max_held: usize = 65_536, at least 16;
    /// Peers without a certificate at a time. Over it the one goes that has been there for longest without a pairing.
    /// Default 64.
    max_strangers: usize = 64, at least 1;
    /// Messages of one peer without a certificate. Default 256.
    max_pairing_messages: usize = 256, at least 1;
    /// How long such a peer may stay connected. Default 15 min: an operator has to come and look.
    pairing_patience: Millis = Millis::from_secs(900), at least Millis(1);
    /// How long both certificates of a device that asked for its next one are accepted at most. Default 1 day.
    rotation_overlap: Millis = Millis::from_secs(86_400), at least Millis(1);
    /// Changes that an enforcement point may be behind before it has to subscribe anew. Default 4 096.
    feed_backlog: usize = 4_096, at least 1;
    /// How long the rest of a frame, or the first message, may take. Default 10 s.
    frame_patience: Millis = Millis::from_secs(10), at least Millis(1);
    /// How long a peer may say nothing, or three heartbeats of the fleet's policy where that is longer. Default 60 s.
    silence: Millis = Millis::from_secs(60), at least Millis(1);
    /// How long a connection may take nothing of what it was handed. Default 10 s.
    write_patience: Millis = Millis::from_secs(10), at least Millis(1);
}
