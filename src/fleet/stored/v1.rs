//! The first stored form, which commit 4c7c9d8 wrote. It is read, and never written.
//!
//! The types in this module do not change any more. Only their conversions to the present types do.

use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};

use serde::Deserialize;

use super::{Stored, snapshot::Head as PresentHead};
use crate::{
    attestation::{
        BuilderFacts, BuilderSigner, EgressFacts, EvidenceProfile, Measurement, ProtocolRange,
        ProvenanceVersion, SignerFacts, WitInterface, policy::ProvenanceRule,
    },
    capability::{CapabilityName, CapabilitySet},
    digest::Sha256Digest,
    dispatch::{
        CapabilityRequestRecord, DeviceForm, DeviceStanding, DisconnectReason, DispatchEvent, DispatchHead,
        Incarnation, Payload, RequestState,
    },
    fleet::{
        bounds::Bounds,
        condition::{
            Activity as PresentActivity, Debt, HeldLease as PresentHeldLease, LeaseStage, LossReason, Orphan,
            Quarantine, QuarantineReason,
        },
        event::{EvidenceRecord, FleetEvent},
        evidence::StoredProfile,
        folding::Folding,
        outcome::RunOutcome,
        policy::WorkerFleetPolicy,
        principal::CommandId,
        roster::{StoredPlace, StoredWorker, WaveId},
        runs::{RunRecord as PresentRun, RunState},
        session::Session,
    },
    id::{ClientId, DeviceId, RequestId, RunId, SessionId, WorkerId},
    identity::{
        Anchor, AnchorEvent, DeviceCertificate, DeviceEvent, DeviceKind, DeviceRegistryHead, OverlapEnd,
        Revocation, RevocationReason, RevocationSubject, RotationEnd, StoredDevice, TrustAnchors,
        pairing::{
            PairingEnd, PairingEvent, PairingMethod, PairingPeer, PairingSession, PairingSnapshot,
            PairingTarget,
        },
    },
    lease::{Epoch, Fence, WorkerLease},
    time::{Mono, Now, Wall},
};

/// Declares the events of a former form and what each means today: the event of the same name with the same
/// members, or the expression after `=>`.
macro_rules! frozen {
    ($name:ident => $present:ident; $($variant:ident { $($field:ident: $type:ty),* $(,)? } $(=> $meaning:expr)?,)+) => {
        #[derive(Deserialize)]
        #[allow(clippy::enum_variant_names, reason = "the names of then")]
        pub(super) enum $name { $($variant { $($field: $type),* },)+ }

        impl From<$name> for $present {
            fn from(stored: $name) -> Self {
                match stored {
                    $($name::$variant { $($field),* } => frozen!(@means $present $variant ($($field)*) $($meaning)?),)+
                }
            }
        }
    };
    (@means $present:ident $variant:ident ($($field:ident)*)) => { $present::$variant { $($field: $field.into()),* } };
    (@means $present:ident $variant:ident ($($field:ident)*) $meaning:expr) => { $meaning };
}

frozen! {
    Event => FleetEvent;
    Founded { policy: WorkerFleetPolicy },
    EpochBegan { epoch: Epoch } => FleetEvent::EpochBegan { epoch, folding: Folding::V1, held_until: Mono::START },
    RestoredStale { quiet_until: Mono, floor: Wall },
    PolicySet { policy: WorkerFleetPolicy, generation: u64 },
    WallAccepted { wall: Wall },
    DeviceChanged { change: Device } => FleetEvent::from(DeviceEvent::from(change)),
    PairingChanged { change: Pairing } => FleetEvent::from(PairingEvent::from(change)),
    DispatchChanged { change: Dispatch } => FleetEvent::from(DispatchEvent::from(change)),
    WorkerRegistered { slot: u32, worker: WorkerId, device: DeviceId },
    IncarnationBegan { slot: u32, incarnation: u32 },
    EvidenceAccepted { slot: u32, evidence: Box<EvidenceRecord>, profile: Box<Profile>, capabilities: CapabilitySet, nonce: Sha256Digest, nonce_until: Mono, nonce_version: u64 },
    EvidenceRefused { slot: u32, failures: Vec<String> },
    EvidenceKept { slot: u32, generation: u64, valid_until: Wall, valid_until_mono: Mono },
    EvidenceWithdrawn { slot: u32 },
    WorkerHeard { slot: u32 },
    WorkerSilent { slot: u32 },
    LeaseGranted { slot: u32, lease: WorkerLease },
    RunStarted { slot: u32, fence: Fence },
    LeaseRenewed { slot: u32, fence: Fence, expires: Mono },
    LeaseRevoked { slot: u32, fence: Fence, reason: LossReason, acknowledge_by: Mono },
    RunEnded { run: RunId, fence: Fence, outcome: Option<RunOutcome>, lost: Option<LossReason>, outputs: Option<Sha256Digest>, remembered_until: Mono },
    CleanupAwaited { slot: u32, fence: Fence },
    LeaseReturned { slot: u32, fence: Fence },
    LeaseLost { slot: u32, fence: Fence, reason: LossReason, run_held_until: Mono },
    CleanupVerified { slot: u32, fence: Fence, forced: bool },
    Quarantined { slot: u32, reason: QuarantineReason },
    FleetQuarantined { generation: u64 },
    QuarantineReleased { slot: u32 },
    DrainBegan { slot: u32 },
    DrainEnded { slot: u32 },
    WorkerRetired { slot: u32 },
    WorkerForgotten { slot: u32 },
    CommandRemembered { command: CommandId, content: Sha256Digest, answer: Vec<u8> },
    AnchorChanged { change: Anchors } => FleetEvent::from(AnchorEvent::from(change)),
}

frozen! {
    Device => DeviceEvent;
    DeviceRegistered { device: DeviceId, kind: DeviceKind, certificate: DeviceCertificate, at: Now },
    DeviceReplaced { device: DeviceId, kind: DeviceKind, certificate: DeviceCertificate, at: Now },
    RotationBegun { device: DeviceId, next: DeviceCertificate, until: Mono, at_deadline: OverlapEnd },
    RotationEnded { device: DeviceId, retired: Sha256Digest, cause: RotationEnd },
    Revoked { subject: RevocationSubject, reason: RevocationReason, at: Now },
    RevocationCleared { subject: RevocationSubject },
    DeviceRemoved { device: DeviceId },
}

frozen! {
    Pairing => PairingEvent;
    SessionOpened { session: SessionId, method: PairingMethod, target: PairingTarget, expires: Mono, at: Now },
    ExchangeStarted { session: SessionId, at: Now },
    ExchangeFailed { session: SessionId, at: Now },
    PairingConfirmed { session: SessionId, peer: PairingPeer, transcript: Sha256Digest, at: Now },
    PairingApproved { session: SessionId, until: Mono },
    CertificateIssued { session: SessionId, fingerprint: Sha256Digest, certificate: Vec<u8>, tag: [u8; 32], until: Mono },
    SessionEnded { session: SessionId, end: PairingEnd },
    SessionForgotten { session: SessionId },
}

frozen! {
    Dispatch => DispatchEvent;
    DeviceGranted { device: DeviceId, capabilities: CapabilitySet },
    DeviceStands { device: DeviceId, standing: DeviceStanding },
    DeviceRemoved { device: DeviceId },
    DeviceReset { device: DeviceId },
    DeviceConnected { device: DeviceId, incarnation: Incarnation, claims: CapabilitySet, window: u32 },
    DeviceWindow { device: DeviceId, window: u32 },
    DeviceDisconnected { device: DeviceId, reason: DisconnectReason },
    RequestEnqueued { request: RequestId, client: ClientId, number: u64, device: DeviceId, capability: CapabilityName, payload: Payload, result_limit: u32, mediated: bool, content: Sha256Digest, at: Mono, deadline: Mono },
    RequestDispatched { request: RequestId, incarnation: Incarnation, attempt: u32, at: Mono },
    MediationAwaited { request: RequestId },
    MediationApproved { request: RequestId },
    RequestEnded { request: RequestId, state: RequestState, result: Payload, at: Mono, forget_at: Mono },
    ResultCollected { request: RequestId },
    RequestForgotten { request: RequestId },
}

frozen! {
    Anchors => AnchorEvent;
    AnchorPinned { anchor: Anchor },
    AnchorRetired { fingerprint: Sha256Digest },
    AnchorRevoked { fingerprint: Sha256Digest, reason: RevocationReason, at: Now },
}

/// What the evidence of one image has in common. In this form, builders were keys that vouched for image and
/// build in one statement of provenance v1, and no other fact of their statements was stored.
#[derive(Deserialize)]
pub(super) struct Profile {
    image: Option<Sha256Digest>,
    build: Option<Sha256Digest>,
    artifact: Option<Sha256Digest>,
    protocol: Option<ProtocolRange>,
    wit: Vec<WitInterface>,
    authority: Sha256Digest,
    signers: Vec<SignerFacts>,
    egress: Option<EgressFacts>,
    builders: Vec<Builder>,
}

#[derive(Deserialize)]
struct Builder {
    key: Sha256Digest,
    id: String,
}

impl From<Box<Profile>> for Arc<EvidenceProfile> {
    fn from(stored: Box<Profile>) -> Self {
        let builder = |stored: Builder| BuilderFacts {
            by: BuilderSigner::Key(stored.key),
            id: stored.id,
            predicate: ProvenanceVersion::V1,
            of: [Measurement::Image, Measurement::Build].into(),
            terms: ProvenanceRule::new(1).terms(),
        };
        Self::new(EvidenceProfile {
            image: stored.image,
            build: stored.build,
            artifact: stored.artifact,
            protocol: stored.protocol,
            wit: stored.wit,
            authority: stored.authority,
            signers: stored.signers,
            egress: stored.egress,
            builders: stored.builders.into_iter().map(builder).collect(),
        })
    }
}

/// A profile as a snapshot stored it: in full with the first worker that had it.
#[derive(Deserialize)]
enum HeldProfile {
    First(Box<Profile>),
    Again(u32),
}

/// A slot as a snapshot stored it.
#[derive(Deserialize)]
pub(super) struct Place(u32, Option<Worker>);

#[derive(Deserialize)]
struct Worker {
    id: WorkerId,
    device: DeviceId,
    activity: Activity,
    quarantine: Quarantine,
    quarantine_generation: u64,
    draining: bool,
    silent: bool,
    evidence: Option<(EvidenceRecord, HeldProfile)>,
    capabilities: Option<CapabilitySet>,
    stamp: u64,
}

#[derive(Deserialize)]
enum Activity {
    Registered,
    Available,
    Leased(HeldLease),
    Offline,
    Orphaned(Box<Debt>),
    Retired { since: Mono },
}

#[derive(Deserialize)]
struct HeldLease {
    lease: WorkerLease,
    stage: LeaseStage,
    revoked: Option<(LossReason, Mono)>,
}

impl From<Activity> for PresentActivity {
    fn from(activity: Activity) -> Self {
        match activity {
            Activity::Registered => Self::Registered,
            Activity::Available => Self::Available,
            Activity::Leased(HeldLease { lease, stage, revoked }) => {
                let promised = lease.expires;
                Self::Leased(PresentHeldLease { lease, stage, revoked, promised })
            }
            Activity::Offline => Self::Offline,
            Activity::Orphaned(debt) => Self::Orphaned(Box::new(Orphan { debt: *debt, late: None })),
            Activity::Retired { since } => Self::Retired { since },
        }
    }
}

impl From<Place> for StoredPlace {
    fn from(Place(generation, worker): Place) -> Self {
        let profile = |held| match held {
            HeldProfile::First(profile) => StoredProfile::First(profile.into()),
            HeldProfile::Again(place) => StoredProfile::Again(place),
        };
        let worker = worker.map(|worker| StoredWorker {
            id: worker.id,
            device: worker.device,
            activity: worker.activity.into(),
            quarantine: worker.quarantine,
            quarantine_generation: worker.quarantine_generation,
            draining: worker.draining,
            silent: worker.silent.then_some(WaveId::MIN),
            evidence: worker.evidence.map(|(record, held)| (record, profile(held))),
            capabilities: worker.capabilities,
            stamp: worker.stamp,
            marks: None,
        });
        (generation, worker)
    }
}

/// A run. This form does not store which of its attempts were spared, nor which worker had it last.
#[derive(Deserialize)]
pub(super) struct Run {
    run: RunId,
    attempts: u32,
    state: RunState,
    remembered_until: Mono,
    left_at: u64,
}

impl From<Run> for PresentRun {
    fn from(stored: Run) -> Self {
        let Run { run, attempts, state, remembered_until, left_at } = stored;
        Self { run, attempts, state, remembered_until, left_at, spared: 0, last_on: None }
    }
}

/// The members of a state that have one value each.
#[derive(Deserialize)]
pub(super) struct Head {
    chain: Sha256Digest,
    policy: WorkerFleetPolicy,
    policy_generation: u64,
    epoch: Epoch,
    version: u64,
    index: u64,
    last: Now,
    fence_counter: u64,
    quiet_until: Mono,
    floor: Wall,
    quarantine_generation: u64,
    stamp: u64,
}

impl From<Head> for PresentHead {
    fn from(head: Head) -> Self {
        Self {
            chain: head.chain,
            policy: head.policy,
            policy_generation: head.policy_generation,
            epoch: head.epoch,
            version: head.version,
            index: head.index,
            last: head.last,
            fence_counter: head.fence_counter,
            quiet_until: head.quiet_until,
            floor: head.floor,
            quarantine_generation: head.quarantine_generation,
            stamp: head.stamp,
            folding: Folding::V1,
            bounds: Bounds::default(),
            // The form does not say which workers fell silent together. All silent workers count as one wave.
            wave: (WaveId::MIN, head.last.mono),
            held_until: Mono::START,
        }
    }
}

/// The first item of the device registry.
#[derive(Deserialize)]
pub(super) struct RegistryHead {
    version: u16,
    generation: u64,
    revocations_sha256: Sha256Digest,
}

impl From<RegistryHead> for DeviceRegistryHead {
    fn from(head: RegistryHead) -> Self {
        Self::first_form(head.version, head.generation, head.revocations_sha256)
    }
}

/// A device as a snapshot stored it, without the certificates that later ones replaced.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RegisteredDevice {
    device: DeviceId,
    kind: DeviceKind,
    registered: Now,
    current: DeviceCertificate,
    rotation: Option<(DeviceCertificate, Mono, OverlapEnd)>,
}

impl From<RegisteredDevice> for StoredDevice {
    fn from(stored: RegisteredDevice) -> Self {
        Self::first_form(stored.device, stored.kind, stored.registered, stored.current, stored.rotation)
    }
}

/// The pairing sessions as a snapshot stored them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sessions {
    version: u16,
    window: Mono,
    started: u32,
    sessions: Vec<(SessionId, PairingSession)>,
}

impl From<Sessions> for PairingSnapshot {
    fn from(stored: Sessions) -> Self {
        Self::first_form(stored.version, stored.window, stored.started, stored.sessions)
    }
}

macro_rules! stored {
    ($($type:ty => $v1:ty;)+) => { $(impl Stored for $type { type V1 = $v1; })+ };
}

stored! {
    PresentHead => Head;
    StoredPlace => Place;
    u32 => Self;
    PresentRun => Run;
    (u64, Sha256Digest) => Self;
    (ClientId, Session) => Self;
    DeviceRegistryHead => RegistryHead;
    (RevocationSubject, Revocation) => Self;
    StoredDevice => RegisteredDevice;
    TrustAnchors => Self;
    PairingSnapshot => Sessions;
    DispatchHead => Self;
    DeviceForm => Self;
    CapabilityRequestRecord => Self;
}
