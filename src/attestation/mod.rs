//! May this worker join, and on what evidence? (RFC 9334: evidence, reference values, appraisal.)
//!
//! * [`strict`]: the reader for JSON that nobody has vouched for
//! * [`signature`]: keys as data, the crypto back end as a trait
//! * [`dsse`]: signed envelopes
//! * [`challenge`]: nonces that cost no memory
//! * [`evidence`]: what a worker states, and its two wire forms
//! * [`EgressBinding`]: what an egress proxy signs about a worker
//! * [`policy`]: which evidence lets a worker join
//! * [`keyless`]: builders that are identities instead of keys
//! * [`appraise`]: the verdict, with every failure; [`reappraise`] and [`reappraise_all`] when the policy changed
//! * [`seal_summary`]: the verdict as a signed document for others
//!
//! # Who vouches for what
//!
//! Evidence is signed by the paired node, its launcher, and not by the workload that it describes. Builders vouch for
//! builds, proxies for egress, the fleet's own key for verdicts; a key of one role counts for no other. What ties the
//! parts together is the challenge: a nonce of this coordinator for this device, its certificate and this fleet.
//!
//! # What this cannot know
//!
//! Without a hardware root of trust a node that is fully compromised can still lie about itself: its launcher's key
//! signs whatever it is told to. Evidence then proves who says so, since when, and until when, and revocation ends it.
//! And the caller is believed when it says that a certificate was shown, with its private key, on this connection.

mod appraisal;
pub mod challenge;
pub mod dsse;
mod egress_binding;
pub mod evidence;
mod excerpt;
pub mod keyless;
pub mod policy;
mod provenance;
pub(crate) mod rfc3339;
pub mod signature;
pub mod strict;
mod summary;
mod version;

pub use self::{
    appraisal::{
        AcceptedEvidence, Appraisal, AppraisalReport, Appraiser, AttachmentError, AttachmentFinding,
        AttachmentPlace, AttachmentReport, BuilderFacts, BuilderSigner, CheckRow, CoarseAppraisal, Dimension,
        EgressFacts, EvidenceContext, EvidenceFacts, EvidenceProfile, Failure, FailureReport, Field,
        InspectedStatement, Learned, MAX_ATTACHMENTS, MAX_ENVELOPES, Measurement, ProvenanceMemory,
        SignerFacts, StatementFacts, Submission, Tier, TrustVector, Vouched, WaivedReport, appraise,
        appraise_submission, reappraise, reappraise_all,
    },
    challenge::NonceError,
    egress_binding::{BindingError, EGRESS_PAYLOAD_TYPE, EgressBinding},
    evidence::{EvidenceForm, WorkerAttestation, WorkerClaims},
    excerpt::Excerpt,
    policy::AttestationPolicy,
    provenance::{
        ContainerError, PROVENANCE_PREDICATE, PROVENANCE_PREDICATE_V02, ProvenanceError, ProvenanceVersion,
        SubjectDigests,
    },
    summary::{
        SUMMARY_LEVEL, SUMMARY_PREDICATE, SummaryError, SummaryTrust, VerificationSummary, seal_summary,
    },
    version::{Compatibility, MAX_WIT_BYTES, ProtocolRange, Version, VersionError, WitInterface, WitName},
};
