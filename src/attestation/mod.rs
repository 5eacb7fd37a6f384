//! May this worker join, and on what evidence? (RFC 9334: evidence, reference values, appraisal.)
//!
//! * [`strict`]: the reader for JSON that nobody has vouched for
//! * [`signature`]: keys as data, the crypto back end as a trait
//! * [`dsse`]: signed envelopes
//! * [`challenge`]: nonces that cost no memory
//! * [`evidence`]: what a worker states, and its two wire forms
//! * [`policy`]: which evidence lets a worker join
//! * [`appraise`]: the verdict, with every failure

mod appraisal;
pub mod challenge;
pub mod dsse;
mod egress_binding;
pub mod evidence;
pub mod policy;
mod rfc3339;
pub mod signature;
pub mod strict;
mod summary;
mod version;

pub use self::{
    appraisal::{
        AcceptedEvidence, Appraisal, AppraisalReport, CoarseAppraisal, Dimension, EgressFacts,
        EvidenceContext, EvidenceFacts, Failure, FailureReport, Field, MAX_ATTACHMENTS, Measurement,
        PROVENANCE_PREDICATE, SignerFacts, Submission, Tier, TrustVector, WaivedReport, appraise,
        appraise_submission, reappraise,
    },
    challenge::NonceError,
    egress_binding::{BindingError, EGRESS_PAYLOAD_TYPE, EgressBinding},
    evidence::{EvidenceForm, WorkerAttestation, WorkerClaims},
    policy::AttestationPolicy,
    summary::{
        SUMMARY_LEVEL, SUMMARY_PREDICATE, SummaryError, SummaryTrust, VerificationSummary, seal_summary,
    },
    version::{Compatibility, MAX_WIT_BYTES, ProtocolRange, Version, VersionError, WitInterface, WitName},
};
