//! What the proxy tells whoever runs it. No secret is in any of it.

use leasehold::egress::{Bearer, EgressEvent};

use super::Refused;

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Record {
    /// A request was refused before anybody could judge it: no head, no identity.
    Unjudged {
        /// Who it was, as far as that is known.
        peer: String,
        /// What it asked for, as far as that could be read.
        target: String,
        /// Why.
        refused: Refused,
    },
    /// A request was judged.
    Judged {
        /// The library's event.
        event: Box<EgressEvent>,
        /// The request target.
        target: String,
        /// The refusal in words, or the rule.
        message: String,
    },
    /// An allowed request could not be carried out, or was cut.
    Failed {
        /// Whose it was.
        bearer: Bearer,
        /// What it asked for.
        target: String,
        /// Why.
        refused: Refused,
        /// What it had moved by then.
        moved: Moved,
    },
    /// An allowed request was carried out.
    Moved {
        /// Whose it was.
        bearer: Bearer,
        /// What it asked for.
        target: String,
        /// How much.
        moved: Moved,
    },
    /// Streams were cut because their leases are over.
    Cut {
        /// How many.
        streams: usize,
    },
}

/// The bytes of bodies and tunnels.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moved {
    /// From the worker to the origin.
    pub sent: u64,
    /// From the origin to the worker.
    pub received: u64,
}
