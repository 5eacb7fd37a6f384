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
//!
//! ```
//! use leasehold::{
//!     digest::Sha256Digest,
//!     id::{DeviceId, FleetId},
//!     identity::{pairing::*, *},
//!     shell::OsEntropy,
//!     time::{Millis, Now},
//! };
//! # use rcgen::{CertificateParams, KeyPair};
//! # let device_key = KeyPair::generate()?;
//! # let request = CertificateParams::new(vec![])?.serialize_request(&device_key)?.der().to_vec();
//! # let mut params = CertificateParams::new(vec![])?;
//! # params.not_after = rcgen::date_time_ymd(2100, 1, 1);
//! # let sign = move |_: &VerifiedPairing| params.self_signed(&device_key).map(|leaf| leaf.der().to_vec());
//! let now = Now::new(0, 1_764_000_000_000);
//! let coordinator = Sha256Digest::of(b"the certificate that the coordinator presents");
//! let mut registry = DeviceRegistry::new(DeviceLimits::new(100, 100, Millis::from_secs(3600))?, [7; 16]);
//! let mut desk = PairingDesk::new(PairingPolicy::default(), FleetId::new("print-shop")?, coordinator);
//! let mut entropy = OsEntropy::open()?;
//! let mut tools = PairingTools::new(&mut entropy);
//!
//! // The operator opens a session and shows its code. Journal a turn's events before its value is used.
//! let turn = desk.offer(PairingMethod::Qr, PairingTarget::AnyNew, &registry, now, &mut tools)?;
//! let offered = turn.durable();
//!
//! // The device reads the code, and sees the coordinator's certificate on its connection.
//! let code = DeviceCode::from_qr(offered.code.expose())?;
//! let profile = DeviceProfile::new(DeviceId::new("press-1")?, DeviceKind::Worker, request)?;
//! let mut device = DevicePairing::begin(code, profile, coordinator, offered.expires, &mut tools)?;
//!
//! // Two round trips; then both have proved the code to each other, and the operator is asked.
//! let answer = desk.receive(device.message(), &registry, now, &mut tools)?.durable();
//! device.receive(&coordinator, &answer.reply.unwrap(), now)?;
//! let answer = desk.receive(device.message(), &registry, now, &mut tools)?.durable();
//! let ask = answer.ask.unwrap();
//! assert_eq!(Some(ask.digits), device.digits());
//!
//! // The operator approves, the authority signs, the registry knows the device, the device fetches.
//! let approved = desk.approve(&ask.session, &ask.transcript, now)?.durable();
//! let leaf = sign(&approved)?;
//! let done = desk.complete(approved, &leaf, &registry, now)?.durable();
//! registry.apply(&done.command, now)?;
//! let answer = desk.receive(&device.fetch(), &registry, now, &mut tools)?.durable();
//! assert_eq!(device.receive(&coordinator, &answer.reply.unwrap(), now)?, DeviceStep::Paired);
//! assert_eq!(registry.authenticate(&leaf, now)?.device().as_str(), "press-1");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(feature = "pake-cpace")]
mod cpace;
mod desk;
mod device;
mod enrolling;
mod enrolment;
mod error;
mod exchange;
mod message;
mod method;
mod pake;
mod policy;
mod secret;
mod seed;
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
pub use seed::EnrolmentSeed;
pub use session::{PairingEnd, PairingEvent, PairingPeer, PairingPhase, PairingSession};
pub use state::PairingState;
pub use transcript::Digits;
pub use turn::{ApprovalRequest, Completed, EnrolmentOffered, Offered, Received, Turn};
pub use verified::{CertificateIssuer, IssueError, VerifiedPairing};

#[cfg(any(test, feature = "testing"))]
pub(crate) use message::Message;
pub(crate) use message::session_of;
pub(crate) use {
    session::StoredPairingEvent,
    state::{PairingCommand, PairingSnapshot},
};

#[cfg(test)]
mod testkit;
#[cfg(test)]
mod tests;
