//! Signatures: keys are plain data, the crypto back end is a trait.
//!
//! The algorithm of a signature, and its encoding, are named by the trusted key and never by the message. Keys are
//! checked when they are built, without any back end: their form, their length, and that they are not weak.

mod algorithm;
mod form;
mod key;
mod signer;
mod verifier;

pub use self::{
    algorithm::Algorithm,
    key::{KeyError, MAX_LABEL_BYTES, PublicKey, TrustedKey},
    signer::{Signer, SignerError},
    verifier::{DefaultVerifier, SignatureVerifier},
};

#[cfg(feature = "ed25519")]
pub use self::signer::Ed25519Signer;
