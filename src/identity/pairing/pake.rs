//! The password-authenticated key exchange that a PIN goes through, as a trait.

use alloc::{boxed::Box, vec::Vec};
use core::fmt;

use zeroize::Zeroizing;

use super::seed::EnrolmentSeed;
use crate::{digest::Sha256Digest, entropy::Entropy};

/// The key that both sides have when they used the same PIN. It wipes itself and does not show itself.
pub struct SharedKey(Zeroizing<Vec<u8>>);

impl SharedKey {
    /// Takes the key over. A key under 32 bytes is refused: it would be easier to guess than the tags made of it.
    ///
    /// # Errors
    /// [`PakeError`].
    pub fn new(bytes: Vec<u8>) -> Result<Self, PakeError> {
        let bytes = Zeroizing::new(bytes);
        if bytes.len() < 32 { Err(PakeError) } else { Ok(Self(bytes)) }
    }

    pub(super) fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        self.0
    }
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedKey(..)")
    }
}

/// The exchange failed: an invalid point, a message of the wrong length, no entropy. A wrong PIN does not show
/// here, but in the confirmation that follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key exchange failed")]
pub struct PakeError;

/// A balanced PAKE of one message each way, such as CPace (draft-irtf-cfrg-cpace).
///
/// The provider computes; it decides nothing. Attempts, expiry, transcript and key confirmation are the
/// machine's, and it does them whatever the provider is. A provider must refuse invalid and neutral elements.
pub trait Pake {
    /// Begins on the device's side: the message, and what waits for the answer.
    ///
    /// # Errors
    /// [`PakeError`].
    fn start(
        &self,
        pin: &[u8],
        context: &Sha256Digest,
        entropy: &mut dyn Entropy,
    ) -> Result<(Box<dyn PakePending>, Vec<u8>), PakeError>;

    /// Answers on the coordinator's side: the message, and the key.
    ///
    /// # Errors
    /// [`PakeError`].
    fn respond(
        &self,
        message: &[u8],
        pin: &[u8],
        context: &Sha256Digest,
        entropy: &mut dyn Entropy,
    ) -> Result<(Vec<u8>, SharedKey), PakeError>;
}

/// The device's half of an exchange, waiting for the answer.
pub trait PakePending: Send {
    /// The key, from the coordinator's message.
    ///
    /// # Errors
    /// [`PakeError`].
    fn finish(self: Box<Self>, message: &[u8]) -> Result<SharedKey, PakeError>;
}

/// What a step may need from outside: entropy, and a PAKE where PINs are used.
pub struct PairingTools<'a> {
    /// Where nonces and codes come from.
    pub entropy: &'a mut dyn Entropy,
    /// The provider for PINs. None: PIN sessions cannot start.
    pub pake: Option<&'a dyn Pake>,
    /// What the codes of enrolment keys follow from. None: there are no enrolment keys.
    pub enrolment: Option<&'a EnrolmentSeed>,
}

impl<'a> PairingTools<'a> {
    /// Tools without a PAKE.
    pub fn new(entropy: &'a mut dyn Entropy) -> Self {
        Self { entropy, pake: None, enrolment: None }
    }

    /// These tools with enrolment keys, whose codes follow from `seed`.
    #[must_use]
    pub fn with_enrolment(self, seed: &'a EnrolmentSeed) -> Self {
        Self { enrolment: Some(seed), ..self }
    }

    /// These tools with `pake` for PINs.
    #[must_use]
    pub fn with_pake(self, pake: &'a dyn Pake) -> Self {
        Self { pake: Some(pake), ..self }
    }
}

impl fmt::Debug for PairingTools<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PairingTools")
            .field("pake", &self.pake.is_some())
            .field("enrolment", &self.enrolment.is_some())
            .finish_non_exhaustive()
    }
}
