//! Signed envelopes: DSSE v1 (secure-systems-lab/dsse, protocol.md and envelope.md, v1.0.2).
//!
//! The signature covers the payload's bytes and its type; nothing of the payload is parsed before it holds. A
//! threshold counts distinct keys of distinct owners. The key id in a message is a hint: it orders the attempts and
//! never decides.
//!
//! ```
//! # #[cfg(feature = "ed25519")] {
//! use leasehold::attestation::{dsse::{self, EnvelopeLimits, TrustRoot}, signature::{DefaultVerifier, Ed25519Signer}};
//! let signer = Ed25519Signer::from_seed("k1", &[7; 32]);
//! let envelope = dsse::seal("text/plain", b"hello", &[&signer])?;
//! let root = TrustRoot::new([signer.trusted_key("team-a")?], 1)?;
//! let opened = root.open(&envelope, "text/plain", &EnvelopeLimits::DEFAULT, &DefaultVerifier)?;
//! assert_eq!(opened.payload(), b"hello");
//! # }
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```

mod base64;
mod budget;
mod envelope;
mod error;
mod limits;
mod message;
mod root;
mod seal;

pub use self::{
    envelope::Envelope,
    error::{DsseError, RootError},
    limits::{EnvelopeLimits, MAX_PAYLOAD_TYPE_BYTES, MAX_SIGNATURES},
    message::pae,
    root::{MAX_ROOT_KEYS, Opened, TrustRoot, Verified},
    seal::seal,
};

pub(crate) use self::{
    base64::{decode, encode},
    budget::{Budget, Cost},
    root::owners,
};
