//! What the coordinator's thread does for pairing: carries out what [`crate::pairing`] wants, and hands it the answers.

use leasehold::{
    coordinator::{CertificateId, CoordinatorInput, LocalAnswer, RequestTag},
    id::{ClientId, DeviceId},
    protocol::endpoint::EndpointError,
};

use super::Process;
use crate::{Failure, control::OPERATOR, pairing::Next, process_log::tell};

impl Process {
    /// Tells the endpoint one thing that pairing wants it to know. False: there is none.
    pub(super) fn pairs(&mut self) -> Result<bool, Failure> {
        let Some(next) = self.pairing.as_mut().and_then(crate::pairing::Pairing::next) else {
            return Ok(false);
        };
        let (client, sequence) = (ClientId::new(OPERATOR).map_err(Failure::coded)?, None);
        let now = self.control.now();
        let told = match next {
            Next::Certificate { wanted, certificate } => {
                let input = CoordinatorInput::Certificate { wanted, certificate: certificate.as_deref() };
                self.control.coordinator.handle(input, now)
            }
            Next::Complete { tag, pairing, certificate } => {
                let input = CoordinatorInput::CompletePairing { tag, pairing, certificate: &certificate };
                self.control.coordinator.handle(input, now)
            }
            Next::Command { tag, command } => {
                let input = CoordinatorInput::Operator { tag, client, sequence, command };
                self.control.coordinator.handle(input, now)
            }
        };
        match told {
            // The device has gone meanwhile, and will ask again.
            Ok(()) | Err(EndpointError::NotNow(_)) => Ok(true),
            Err(error) => Err(Failure::coded(error)),
        }
    }

    pub(super) fn pairing_answered(&mut self, tag: RequestTag, answer: LocalAnswer) {
        let now = self.control.now();
        if let Some(pairing) = &mut self.pairing {
            pairing.answered(tag, answer, now).iter().for_each(tell);
        }
    }

    /// A device that is in the fleet wants its next certificate.
    pub(super) fn certificate_wanted(&mut self, wanted: CertificateId, device: &DeviceId, request: &[u8]) {
        let now = self.control.now();
        if let Some(pairing) = &mut self.pairing {
            pairing.rotate(wanted, device, request, now).iter().for_each(tell);
        }
    }
}
