//! What pairing needs from outside.

use alloc::boxed::Box;
use core::fmt;

use crate::{
    entropy::Entropy,
    identity::pairing::{EnrolmentSeed, PairingTools, Pake},
};

/// What pairing needs from outside. With it, a [`Coordinator`](super::Coordinator) lets peers without a certificate pair; without it,
/// they are refused.
pub struct PairingPort {
    entropy: Box<dyn Entropy + Send>,
    pake: Option<Box<dyn Pake + Send + Sync>>,
    enrolment: Option<EnrolmentSeed>,
}

impl PairingPort {
    /// Pairing by QR code and by comparison.
    pub fn new(entropy: Box<dyn Entropy + Send>) -> Self {
        Self { entropy, pake: None, enrolment: None }
    }

    /// Pairing by PIN too, through `pake`.
    #[must_use]
    pub fn with_pake(self, pake: Box<dyn Pake + Send + Sync>) -> Self {
        Self { pake: Some(pake), ..self }
    }

    /// Pairing by enrolment keys too, whose codes follow from `seed`: the same over restarts.
    #[must_use]
    pub fn with_enrolment(self, seed: EnrolmentSeed) -> Self {
        Self { enrolment: Some(seed), ..self }
    }

    pub(super) fn tools(&mut self) -> PairingTools<'_> {
        let mut tools = PairingTools::new(&mut *self.entropy);
        tools.enrolment = self.enrolment.as_ref();
        match &self.pake {
            Some(pake) => tools.with_pake(&**pake),
            None => tools,
        }
    }
}

impl fmt::Debug for PairingPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PairingPort").field("pake", &self.pake.is_some()).finish_non_exhaustive()
    }
}
