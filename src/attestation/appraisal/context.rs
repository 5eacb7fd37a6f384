//! What is appraised: evidence as it was handed in, and what is known about its connection and challenge.

use crate::{
    attestation::evidence::EvidenceForm,
    digest::Sha256Digest,
    id::{DeviceId, FleetId},
    time::Wall,
};

/// What is known about the connection that the evidence came over, and about the challenge that it must answer.
/// None of it comes from the evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvidenceContext<'a> {
    /// The time of the appraisal.
    pub now: Wall,
    /// The challenge's bytes.
    pub nonce: &'a [u8],
    /// When the challenge was issued.
    pub nonce_issued: Wall,
    /// This fleet.
    pub audience: &'a FleetId,
    /// The device of the connection.
    pub device: &'a DeviceId,
    /// SHA-256 of the DER of the certificate that the device showed on this connection.
    pub certificate: Sha256Digest,
}

/// Evidence as it was handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submission<'a> {
    /// In which wire form.
    pub form: EvidenceForm,
    /// The document or the envelope.
    pub bytes: &'a [u8],
    /// What others signed about what runs: build provenance, in an envelope, a sigstore bundle, or JSON lines of either.
    /// What does not verify, or says nothing of use, is passed over, so that junk denies nothing.
    pub attachments: &'a [&'a [u8]],
}
