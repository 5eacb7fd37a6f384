//! Pairing: how a device that nobody knows becomes one of the registry, once, with an operator's approval.
//!
//! Both sides are state machines without I/O: [`PairingDesk`] on the coordinator, [`DevicePairing`] on the device.
//!
//! ```text
//!  operator            desk                                   device                       user
//!     | offer ---------> |                                       |                            |
//!     | <--------- code  |  - - - - - - - carried by people - - - - - - - - - - - - - - - - - > |
//!     |                  | <------- hello: id, kind, request, nonce (or commitment), share -- |
//!     |                  | ------- reply: version, fleet, nonce, share, proof --------------> |
//!     |                  | <------------------------------- confirm: proof (or nonce) ------- |
//!     | <- ask: digits   |                                       | digits ------------------> |
//!     | approve -------> |                                       |                            |
//!     |      issuer signs|                                       |                            |
//!     |                  | <----------------- fetch ------------ |                            |
//!     |                  | ---------- certificate, proof ------> |                            |
//! ```
//!
//! What the desk owns, whatever the method and the PAKE provider: single use, expiry at every step, attempts
//! (charged when an exchange starts, before anything that depends on the code is computed), global limits, the
//! transcript, proof both ways, the approval and its expiry, states that stay final, and delivery that may be
//! repeated to the same key. Codes are never stored, logged or sent; they and all keys wipe themselves.
//!
//! The transcript covers versions, session, method, roles, device id and kind, the certificate request, both nonces,
//! both shares, the fleet, and the coordinator's certificate as each side sees it on its own end of the channel, each
//! with its length before it. Somebody in between has another certificate, and the transcripts differ.

#[cfg(feature = "pake-cpace")]
mod cpace;
mod desk;
mod device;
mod error;
mod exchange;
mod message;
mod method;
mod pake;
mod policy;
mod secret;
mod session;
mod state;
mod transcript;
mod turn;
mod verified;

#[cfg(feature = "pake-cpace")]
pub use cpace::Cpace;
pub use desk::PairingDesk;
pub use device::{DevicePairing, DeviceProfile, DeviceStep, PairedDevice};
pub use error::PairingError;
pub use message::MAX_PAIRING_MESSAGE;
pub use method::{PairingMethod, PairingTarget};
pub use pake::{PairingTools, Pake, PakeError, PakePending, SharedKey};
pub use policy::{PairingPolicy, PairingPolicyError, PairingPolicyForm};
pub use secret::{DeviceCode, PairingCode};
pub use session::{PairingEnd, PairingEvent, PairingPeer, PairingPhase, PairingSession};
pub use state::PairingState;
pub use transcript::Digits;
pub use turn::{ApprovalRequest, Completed, Offered, Received, Turn};
pub use verified::{CertificateIssuer, IssueError, VerifiedPairing};

#[cfg(any(test, feature = "testing"))]
pub(crate) use message::Message;
#[allow(unused_imports, reason = "the state that embeds the sessions stores their events and snapshots")]
pub(crate) use {session::StoredPairingEvent, state::PairingSnapshot};

#[cfg(test)]
mod testkit;
#[cfg(test)]
mod tests;
