#![allow(missing_docs)]
use super::{evidence::EvidenceForm, signature::SignatureVerifier};
use crate::{
    capability::CapabilitySet,
    code::Code,
    digest::Sha256Digest,
    id::{DeviceId, FleetId, WorkerId},
    time::Wall,
};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttestationPolicy {}

#[derive(Debug)]
pub struct EvidenceContext<'a> {
    pub now: Wall,
    pub nonce: &'a [u8],
    pub nonce_issued: Wall,
    pub audience: &'a FleetId,
    pub device: &'a DeviceId,
    pub certificate: Sha256Digest,
}
#[derive(Debug)]
pub struct Appraisal(Option<AcceptedEvidence>);
#[derive(Debug)]
pub struct AcceptedEvidence {
    w: WorkerId,
    c: CapabilitySet,
}
impl Appraisal {
    pub fn accepted(&self) -> Option<&AcceptedEvidence> {
        self.0.as_ref()
    }
    pub fn failure_codes(&self) -> Vec<Code> {
        Vec::new()
    }
}
impl AcceptedEvidence {
    pub fn worker(&self) -> &WorkerId {
        &self.w
    }
    pub fn capabilities(&self) -> &CapabilitySet {
        &self.c
    }
    pub fn valid_until(&self) -> Wall {
        Wall(0)
    }
    pub fn evidence(&self) -> Sha256Digest {
        Sha256Digest::of(b"")
    }
}
pub fn appraise(
    _f: EvidenceForm,
    _b: &[u8],
    _p: &AttestationPolicy,
    _c: &EvidenceContext<'_>,
    _v: &dyn SignatureVerifier,
) -> Appraisal {
    Appraisal(None)
}
