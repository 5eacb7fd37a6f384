//! Making evidence: for workers, launchers and tests.

use alloc::{string::ToString, vec::Vec};

use super::{
    DOCUMENT_VERSION, EVIDENCE_PREDICATE, PAYLOAD_TYPE, STATEMENT_TYPE,
    form::ClaimsForm,
    statement::{StatementForm, SubjectForm},
};
use crate::{
    attestation::{
        dsse,
        signature::{Signer, SignerError},
        version::{ProtocolRange, WitInterface},
    },
    capability::CapabilitySet,
    digest::Sha256Digest,
    id::{DeviceId, FleetId, WorkerId},
    time::Wall,
};

/// Everything that evidence states, complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerClaims {
    /// The worker that this is about.
    pub worker: WorkerId,
    /// The device that it runs on.
    pub device: DeviceId,
    /// The fleet that this is addressed to.
    pub audience: FleetId,
    /// Digest of the image that runs.
    pub image: Sha256Digest,
    /// Digest of the build that made it.
    pub build: Sha256Digest,
    /// Digest of the artifact that is executed.
    pub artifact: Sha256Digest,
    /// The SDK protocol versions that it speaks.
    pub protocol: ProtocolRange,
    /// The WIT interfaces that it implements.
    pub wit: Vec<WitInterface>,
    /// The capabilities that it claims.
    pub capabilities: CapabilitySet,
    /// Digest of the authority that granted them.
    pub authority: Sha256Digest,
    /// The envelope that the egress proxy signed, where one is due.
    pub egress: Option<Vec<u8>>,
    /// The challenge that this answers, 8 to 64 bytes.
    pub nonce: Vec<u8>,
    /// When this is made.
    pub issued: Wall,
    /// From when on this is worth nothing.
    pub expires: Wall,
    /// SHA-256 of the DER of the device's certificate.
    pub certificate: Sha256Digest,
}

impl WorkerClaims {
    fn form(&self) -> ClaimsForm {
        ClaimsForm {
            worker_id: Some(self.worker.to_string()),
            device_id: Some(self.device.to_string()),
            audience: Some(self.audience.to_string()),
            certificate_sha256: Some(self.certificate.to_string()),
            nonce: Some(hex::encode(&self.nonce)),
            issued_at_ms: Some(self.issued.0),
            expires_at_ms: Some(self.expires.0),
            sdk_protocol: Some(self.protocol.into()),
            wit: Some(self.wit.iter().map(ToString::to_string).collect()),
            capabilities: Some(self.capabilities.iter().map(ToString::to_string).collect()),
            capability_authority: Some(self.authority.to_string()),
            egress: self.egress.as_deref().map(dsse::encode),
            ..ClaimsForm::default()
        }
    }

    /// The plain JSON document.
    pub fn to_document(&self) -> Vec<u8> {
        let form = ClaimsForm {
            version: Some(DOCUMENT_VERSION),
            image: Some(self.image.to_string()),
            build: Some(self.build.to_string()),
            artifact: Some(self.artifact.to_string()),
            ..self.form()
        };
        // Strings, numbers and lists alone: writing them cannot fail.
        serde_json::to_vec(&form).unwrap_or_default()
    }

    /// The in-toto statement, not yet signed.
    pub fn to_statement(&self) -> Vec<u8> {
        let statement = StatementForm {
            kind: STATEMENT_TYPE.into(),
            subject: [
                SubjectForm::new("image", self.image),
                SubjectForm::new("build", self.build),
                SubjectForm::new("artifact", self.artifact),
            ]
            .into(),
            predicate_type: EVIDENCE_PREDICATE.into(),
            predicate: self.form(),
        };
        serde_json::to_vec(&statement).unwrap_or_default()
    }

    /// The statement in an envelope that every signer signed.
    ///
    /// # Errors
    /// [`SignerError`] where a signer gives no signature.
    pub fn seal(&self, signers: &[&dyn Signer]) -> Result<Vec<u8>, SignerError> {
        dsse::seal(PAYLOAD_TYPE, &self.to_statement(), signers)
    }
}
