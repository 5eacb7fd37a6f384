//! The way back in: a snapshot and a journal, checked record by record, or a restore that says what it lost.

use alloc::vec::Vec;

use super::{
    condition::LossReason,
    event::{FleetEvent, FleetRecord},
    journal,
    liveness::Liveness,
    manager::WorkerFleetManager,
    policy::WorkerFleetPolicy,
    principal::Principal,
    rejection::TimeError,
    replay::Replay,
    setup::Setup,
    state::{self, FleetState},
};
use crate::{
    chain::ChainError,
    code::{self, Code, Coded},
    digest::Sha256Digest,
    identity::pairing::{PairingEnd, PairingEvent},
    lease::Epoch,
    time::Now,
};

/// Why a fleet cannot go on from what was stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecoverError {
    /// It cannot be read.
    #[error("a journal record or snapshot cannot be read")]
    Malformed,
    /// It is of another format.
    #[error("a journal or snapshot of version {0} is not read by this build")]
    Version(u8),
    /// It can be read and contradicts itself.
    #[error("{0}")]
    Inconsistent(&'static str),
    /// The epoch is not larger than the one before.
    #[error("epoch {given} is not larger than {last}")]
    Epoch {
        /// The last one.
        last: Epoch,
        /// The one that was given.
        given: Epoch,
    },
    /// The clocks cannot be believed.
    #[error(transparent)]
    Time(#[from] TimeError),
    /// The snapshot's revocations are older than the caller demands.
    #[error("the snapshot's revocations are of generation {found}, at least {floor} is demanded")]
    Revocations {
        /// What the snapshot has.
        found: u64,
        /// What the caller demands.
        floor: u64,
    },
    /// A part of the state is too large for a snapshot.
    #[error("a part of the state is too large for a snapshot")]
    TooLarge,
    /// Neither a snapshot nor a journal is there.
    #[error("there is nothing to recover from")]
    Nothing,
    /// The coordinator would present a certificate that its own fleet has revoked (invariant 12).
    #[error("the coordinator's own certificate {0} is revoked")]
    CertificateRevoked(Sha256Digest),
}

impl Coded for RecoverError {
    fn code(&self) -> Code {
        match self {
            Self::Malformed => code::JOURNAL_MALFORMED,
            Self::Version(_) => code::JOURNAL_VERSION,
            Self::Inconsistent(_) => code::JOURNAL_INCONSISTENT,
            Self::Epoch { .. } => code::EPOCH_NOT_LARGER,
            Self::Time(error) => error.code(),
            Self::Revocations { .. } => code::RESTORE_REVOCATIONS,
            Self::TooLarge => code::SNAPSHOT_TOO_LARGE,
            Self::Nothing => code::JOURNAL_NOTHING,
            Self::CertificateRevoked(_) => code::CERTIFICATE_REVOKED,
        }
    }
}

impl From<ChainError> for RecoverError {
    fn from(error: ChainError) -> Self {
        match error {
            ChainError::Malformed => Self::Malformed,
            ChainError::Version(version) => Self::Version(version),
            ChainError::Broken => Self::Inconsistent("the hash chain is broken"),
        }
    }
}

impl WorkerFleetManager {
    /// Founds a fleet. Its first record is in the journal that [`Self::take_journal`] gives.
    ///
    /// # Errors
    /// [`RecoverError::Epoch`] for an epoch of zero.
    pub fn found(
        policy: WorkerFleetPolicy,
        setup: Setup,
        epoch: Epoch,
        now: Now,
    ) -> Result<Self, RecoverError> {
        let state = FleetState::blank(policy.clone(), setup.index_key);
        let events = Vec::from([FleetEvent::Founded { policy }, FleetEvent::EpochBegan { epoch }]);
        Self::begin(state, journal::genesis(), setup, epoch, now, events)
    }

    /// Goes on from what was stored: `snapshot`, and the journal since. Checks sequence, hash chain, and that every
    /// event is possible; then every invariant holds (invariant 8). Everybody counts as heard now.
    ///
    /// `epoch` comes from an `EpochStore` and is larger than every one before. `now.mono` resumes the fleet's line:
    /// the last journaled value plus the larger of boot time and wall time since.
    ///
    /// # Errors
    /// [`RecoverError`]: nothing is repaired and nothing is guessed.
    pub fn recover(
        snapshot: Option<&[u8]>,
        journal: &[u8],
        setup: Setup,
        epoch: Epoch,
        now: Now,
    ) -> Result<Self, RecoverError> {
        let mut replay = Replay::new(setup.index_key);
        if let Some(snapshot) = snapshot {
            replay.chunk(snapshot)?;
        }
        replay.journal(journal)?;
        replay.recover(setup, epoch, now)
    }

    /// Goes on from a snapshot whose later events are lost. A new journal begins.
    ///
    /// It promises what can be promised without them: a new epoch, so that every fence of before is stale; no lease
    /// before the longest lease plus grace has passed; no grant or evidence from before now; everyone attests again;
    /// and revocations of at least generation `revocation_floor`. What was announced to follow a certificate and
    /// not used yet is forgotten: it may have been taken back since, and is announced again by who knows.
    ///
    /// # Errors
    /// [`RecoverError`].
    pub fn restore_stale(
        snapshot: &[u8],
        setup: Setup,
        epoch: Epoch,
        revocation_floor: u64,
        now: Now,
    ) -> Result<Self, RecoverError> {
        let (state, chain) = FleetState::from_snapshot(snapshot, setup.index_key)?;
        let found = state.devices().generation();
        if found < revocation_floor {
            return Err(RecoverError::Revocations { found, floor: revocation_floor });
        }
        let now = Now { mono: now.mono.max(state.last.mono), wall: now.wall.max(state.last.wall) };
        let rules = &state.policy.lease;
        let quiet_until = now.mono.plus(rules.longest_ms).plus(rules.grace_ms);
        let generation = state.policy_generation.saturating_add(1);
        let mut events = Vec::from([
            FleetEvent::EpochBegan { epoch },
            FleetEvent::RestoredStale { quiet_until, floor: now.wall },
            FleetEvent::PolicySet { policy: state.policy.clone(), generation },
        ]);
        events.extend(state.lost_codes());
        // What was announced may have been taken back in the events that are lost.
        let announced = state.nodes.anchors.retire_announced();
        events.extend(announced.map(|change| FleetEvent::AnchorChanged { change }));
        // Nobody knows any more how far a device got with what it had.
        let lost = state.nodes.dispatch.lose_everything(now);
        events.extend(lost.into_iter().map(|change| FleetEvent::DispatchChanged { change }));
        for slot in 0..state.roster.slots() {
            let Some(record) = state.roster.get(slot) else { continue };
            if record.evidence.is_some() {
                events.push(FleetEvent::EvidenceWithdrawn { slot });
            }
            if let Some(held) = state::held(record) {
                let fence = held.lease.fence;
                let reason = LossReason::Restored;
                events.push(FleetEvent::LeaseLost { slot, fence, reason, run_held_until: quiet_until });
            }
        }
        Self::begin(state, chain, setup, epoch, now, events)
    }

    pub(super) fn begin(
        state: FleetState,
        chain: Sha256Digest,
        setup: Setup,
        epoch: Epoch,
        now: Now,
        events: Vec<FleetEvent>,
    ) -> Result<Self, RecoverError> {
        if epoch <= state.epoch {
            return Err(RecoverError::Epoch { last: state.epoch, given: epoch });
        }
        let own = setup.coordinator_certificate;
        if state.nodes.anchors.revocation(&own).is_some() {
            return Err(RecoverError::CertificateRevoked(own));
        }
        // A wall clock that leapt while the coordinator was down is believed here: the fleet's line has moved by at
        // least as much, so nothing lasts longer for it.
        let now = Now { mono: now.mono, wall: now.wall.max(state.last.wall) };
        if now.mono < state.last.mono {
            return Err(TimeError::Backwards { last: state.last.mono, now: now.mono }.into());
        }
        let index = state.index.saturating_add(1);
        let record = FleetRecord { index, at: now, principal: Principal::Core, events };
        Self::with_first_record(state, chain, setup, record)
    }

    pub(super) fn rebuild_liveness(state: &FleetState) -> Liveness {
        Liveness::rebuilt(state, state.last.mono)
    }
}

impl FleetState {
    /// The open pairing sessions end with the process that held their codes. They are bounded by the policy.
    pub(super) fn lost_codes(&self) -> impl Iterator<Item = FleetEvent> {
        self.nodes.pairing.open_sessions().map(|session| FleetEvent::PairingChanged {
            change: PairingEvent::SessionEnded { session: session.clone(), end: PairingEnd::SecretLost },
        })
    }

    /// Folds a stored record, after checking that it comes next and that each event is possible.
    pub(crate) fn fold(&mut self, record: &FleetRecord) -> Result<(), RecoverError> {
        if record.index != self.index.saturating_add(1) {
            return Err(RecoverError::Inconsistent("a record is missing or repeated"));
        }
        self.index = record.index;
        for event in &record.events {
            self.possible(record.at, event).map_err(RecoverError::Inconsistent)?;
            self.evolve(record.at, event);
        }
        Ok(())
    }
}
