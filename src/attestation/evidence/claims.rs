//! The claims as they were read. Nothing here is believed yet.

use alloc::{boxed::Box, vec::Vec};

use crate::{
    attestation::{
        dsse::Envelope,
        excerpt::Excerpt,
        version::{ProtocolRange, WitInterface},
    },
    capability::CapabilitySet,
    digest::{Sha256Digest, Sha512Digest},
    id::{DeviceId, FleetId, WorkerId},
    time::Wall,
};

/// One claim. "No claim" and "a claim that cannot be read" are told apart, and neither ever passes a check.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Claim<T> {
    /// The evidence says nothing.
    Absent,
    /// The evidence says something that cannot be read.
    Malformed,
    /// The evidence gives a list, and one of its entries cannot be read.
    MalformedEntry(Box<MalformedEntry>),
    /// What the evidence says.
    Stated(T),
}

impl<T> Claim<T> {
    /// The claim's value, where it has one.
    pub const fn stated(&self) -> Option<&T> {
        match self {
            Self::Stated(value) => Some(value),
            Self::Absent | Self::Malformed | Self::MalformedEntry(_) => None,
        }
    }

    /// Reads a claim from what may be there.
    pub(super) fn read<R, E>(raw: Option<R>, parse: impl FnOnce(R) -> Result<T, E>) -> Self {
        match raw.map(parse) {
            None => Self::Absent,
            Some(Ok(value)) => Self::Stated(value),
            Some(Err(_)) => Self::Malformed,
        }
    }
}

/// The entry of a list that cannot be read: the first one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MalformedEntry {
    /// Its place, from 0.
    pub index: usize,
    /// How it begins.
    pub found: Excerpt,
}

/// SHA-512 digests of what else is stated by its SHA-256: a statement of a builder may know no other. The SHA-256 is what
/// reference values are for; these only say which builder's statement is about the same thing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sha512Claims {
    /// Of the image.
    pub image: Option<Sha512Digest>,
    /// Of the build.
    pub build: Option<Sha512Digest>,
    /// Of the artifact.
    pub artifact: Option<Sha512Digest>,
}

impl Sha512Claims {
    /// Nothing at all, where nothing is stated.
    pub(super) fn boxed(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }
}

/// What a worker states about itself, parsed and not believed.
///
/// [`appraise`](crate::attestation::appraise) is the way from here to a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerAttestation {
    /// The worker that this is about.
    pub worker: Claim<WorkerId>,
    /// The device that it runs on.
    pub device: Claim<DeviceId>,
    /// The fleet that this is addressed to.
    pub audience: Claim<FleetId>,
    /// Digest of the image that runs.
    pub image: Claim<Sha256Digest>,
    /// Digest of the build that made it.
    pub build: Claim<Sha256Digest>,
    /// Digest of the artifact that is executed.
    pub artifact: Claim<Sha256Digest>,
    /// The SDK protocol versions that it speaks.
    pub protocol: Claim<ProtocolRange>,
    /// The WIT interfaces that it implements.
    pub wit: Claim<Vec<WitInterface>>,
    /// The capabilities that it claims.
    pub capabilities: Claim<CapabilitySet>,
    /// Digest of the authority that granted them.
    pub authority: Claim<Sha256Digest>,
    /// The proxy's signed word that this worker's traffic goes through it.
    pub egress: Claim<Envelope>,
    /// The challenge that this answers.
    pub nonce: Claim<Vec<u8>>,
    /// When this was made.
    pub issued: Claim<Wall>,
    /// From when on this is worth nothing.
    pub expires: Claim<Wall>,
    /// SHA-256 of the DER of the device's certificate.
    pub certificate: Claim<Sha256Digest>,
    /// SHA-512 digests of image, build and artifact, where any is stated.
    pub sha512: Option<Box<Sha512Claims>>,
}

impl WorkerAttestation {
    /// What says nothing.
    pub(super) const ABSENT: Self = Self {
        worker: Claim::Absent,
        device: Claim::Absent,
        audience: Claim::Absent,
        image: Claim::Absent,
        build: Claim::Absent,
        artifact: Claim::Absent,
        protocol: Claim::Absent,
        wit: Claim::Absent,
        capabilities: Claim::Absent,
        authority: Claim::Absent,
        egress: Claim::Absent,
        nonce: Claim::Absent,
        issued: Claim::Absent,
        expires: Claim::Absent,
        certificate: Claim::Absent,
        sha512: None,
    };
}
