//! Founding a fleet, recovering it from a snapshot and a journal, and restoring it without its latest events.

use alloc::vec::Vec;

use super::{
    command_rejection::TimeError,
    event::{FleetEvent, FleetRecord},
    folding::Folding,
    kernel::Kernel,
    ledger::Ledger,
    manager::WorkerFleetManager,
    policy::WorkerFleetPolicy,
    position::Position,
    principal::Principal,
    replica::{Follower, Replay},
    setup::Setup,
    state::FleetState,
    stored::RecoverError,
};
use crate::{
    identity::pairing::{PairingDesk, PairingEnd, PairingEvent},
    lease::Epoch,
    time::{Mono, Now},
};

impl WorkerFleetManager {
    /// Founds a fleet. [`Self::take_journal`] gives its first record.
    ///
    /// # Errors
    /// [`RecoverError::Epoch`] if the epoch is zero.
    pub fn found(
        policy: WorkerFleetPolicy,
        setup: Setup,
        epoch: Epoch,
        now: Now,
    ) -> Result<Self, RecoverError> {
        let state = FleetState::blank(policy.clone(), setup.index_key);
        let at = Follower::new(setup.index_key).at();
        let events = Vec::from([FleetEvent::Founded { policy }, began(epoch, now.mono)]);
        Self::begin(state, at, setup, epoch, now, events)
    }

    /// Recovers a fleet from a snapshot and the journal after it. The sequence, the hash chain and the
    /// possibility of every event are checked, then every invariant of the state (invariant 8). Every worker
    /// counts as heard now.
    ///
    /// `epoch` comes from an `EpochStore` and is larger than every one before. `now.mono` continues the
    /// fleet's monotonic time: the last journaled value plus the larger of the boot time and the wall time
    /// since then.
    ///
    /// # Errors
    /// [`RecoverError`]. Nothing is repaired or guessed.
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

    /// Restores a fleet from a snapshot whose later events are lost. A new journal begins.
    ///
    /// The restored fleet promises what is possible without those events:
    ///
    /// * A new epoch begins, so every earlier fence is stale.
    /// * No lease is granted before the longest lease plus grace has passed.
    /// * No grant and no evidence from before now is accepted, and every worker must attest again.
    /// * The revocations are of at least generation `revocation_floor`.
    ///
    /// Announced certificates that were not used yet are forgotten, because the announcement may have been
    /// withdrawn in the lost events. An operator announces them again.
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
        let mut replay = Replay::new(setup.index_key);
        replay.chunk(snapshot)?;
        let follower = replay.follower()?;
        let at = follower.at();
        let state = follower.into_state()?;
        let found = state.devices().generation();
        if found < revocation_floor {
            return Err(RecoverError::Revocations { found, floor: revocation_floor });
        }
        let now = Now { mono: now.mono.max(state.last.mono), wall: now.wall.max(state.last.wall) };
        let rules = &state.policy.lease;
        let quiet_until = now.mono.plus(rules.longest_ms).plus(rules.grace_ms);
        let generation = state.policy_generation.saturating_add(1);
        let mut events = Vec::from([
            began(epoch, now.mono),
            FleetEvent::RestoredStale { quiet_until, floor: now.wall },
            FleetEvent::PolicySet { policy: state.policy.clone(), generation },
        ]);
        events.extend(state.lost_codes());
        // The announcement may have been withdrawn in the lost events.
        let announced = state.nodes.anchors.retire_announced();
        events.extend(announced.map(FleetEvent::from));
        // How far a device got with its requests is not known any more.
        let lost = state.nodes.dispatch.lose_everything(now);
        events.extend(lost.into_iter().map(FleetEvent::from));
        // All losses are one event, because the size of a record is bounded (invariant 13).
        events.push(FleetEvent::EverythingLost { run_held_until: quiet_until });
        Self::begin(state, at, setup, epoch, now, events)
    }

    fn begin(
        mut state: FleetState,
        at: Position,
        setup: Setup,
        epoch: Epoch,
        now: Now,
        events: Vec<FleetEvent>,
    ) -> Result<Self, RecoverError> {
        let record = Self::first_record(&state, &setup, epoch, now, events)?;
        state.fold(&record)?;
        Ok(Self::starting(state, record, at, None, setup))
    }

    /// The record with which a coordinator takes over.
    pub(super) fn first_record(
        state: &FleetState,
        setup: &Setup,
        epoch: Epoch,
        now: Now,
        events: Vec<FleetEvent>,
    ) -> Result<FleetRecord, RecoverError> {
        if epoch <= state.epoch {
            return Err(RecoverError::Epoch { last: state.epoch, given: epoch });
        }
        let own = setup.coordinator_certificate;
        if state.nodes.anchors.revocation(&own).is_some() {
            return Err(RecoverError::CertificateRevoked(own));
        }
        // A wall clock that leapt while the coordinator was down is accepted here. The monotonic time has
        // moved by at least as much, so nothing lasts longer because of it.
        let now = Now { mono: now.mono, wall: now.wall.max(state.last.wall) };
        if now.mono < state.last.mono {
            return Err(TimeError::Backwards { last: state.last.mono, now: now.mono }.into());
        }
        let index = state.index.saturating_add(1);
        Ok(FleetRecord { index, at: now, principal: Principal::Core, events })
    }

    /// A manager whose first record is folded into `state` and not handed out yet. `at` is the position
    /// before that record.
    pub(super) fn starting(
        state: FleetState,
        record: FleetRecord,
        at: Position,
        committed: Option<Follower>,
        setup: Setup,
    ) -> Self {
        let (fleet, certificate) = (state.policy.fleet.clone(), setup.coordinator_certificate);
        let desk = PairingDesk::recover(state.nodes.pairing.clone(), fleet, certificate);
        let mut ledger = Ledger::new(at, state.epoch, committed);
        ledger.push(record);
        Self { kernel: Kernel::new(state), desk, ledger, setup }
    }
}

impl FleetState {
    /// Ends the open pairing sessions, whose codes were in the memory of the former process. The policy
    /// bounds their number.
    pub(super) fn lost_codes(&self) -> impl Iterator<Item = FleetEvent> {
        self.nodes.pairing.open_sessions().map(|session| {
            FleetEvent::from(PairingEvent::SessionEnded {
                session: session.clone(),
                end: PairingEnd::SecretLost,
            })
        })
    }
}

/// The first event of a coordinator that holds no run longer than the recovered state says.
fn began(epoch: Epoch, held_until: Mono) -> FleetEvent {
    FleetEvent::EpochBegan { epoch, folding: Folding::OWN, held_until }
}

impl Replay {
    /// Recovers a fleet as [`WorkerFleetManager::recover`] does, after checking every invariant of the state.
    ///
    /// # Errors
    /// [`RecoverError`]. Nothing is repaired or guessed.
    pub fn recover(self, setup: Setup, epoch: Epoch, now: Now) -> Result<WorkerFleetManager, RecoverError> {
        let follower = self.follower()?;
        let at = follower.at();
        let state = follower.into_state()?;
        let mut events = Vec::from([began(epoch, now.mono)]);
        events.extend(state.lost_codes());
        WorkerFleetManager::begin(state, at, setup, epoch, now, events)
    }
}
