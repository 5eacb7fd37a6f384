//! `NodeRuntime`: decide, fold, and hand out what lasts.

use alloc::vec::Vec;
use core::fmt;

use super::{
    config::NodeConfig,
    error::{NodeError, NodeRecoverError},
    event::{NodeEvent, NodePrincipal, NodeRecord},
    journal,
    state::NodeRuntimeState,
};
use crate::{
    digest::Sha256Digest,
    dispatch::{Decision, DispatchEffect, DispatchError, DispatchLiveness},
    identity::{DeviceEvent, pairing::PairingDesk, pairing::PairingEvent},
    lease::Epoch,
    time::Now,
};

/// An accepted operation, whose answer and effects are held until the journal lasts up to [`NodeTicket::index`].
#[must_use = "the answer and the effects are inside"]
#[derive(Debug)]
pub struct NodeTicket<T> {
    instance: Epoch,
    index: u64,
    answer: T,
    effects: Vec<DispatchEffect>,
}

/// What is handed out once it lasts.
#[derive(Debug)]
#[non_exhaustive]
pub struct NodeReleased<T> {
    /// The answer.
    pub answer: T,
    /// What follows, in order.
    pub effects: Vec<DispatchEffect>,
}

impl<T> NodeTicket<T> {
    /// The journal index that must last first.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Hands out the answer and the effects, where the journal lasts that far.
    ///
    /// # Errors
    /// The ticket itself, where it does not yet, or where `runtime` has halted or is another one.
    pub fn redeem(self, runtime: &NodeRuntime) -> Result<NodeReleased<T>, Self> {
        let lasts = self.index <= runtime.durable && self.instance == runtime.state.epoch && !runtime.halted;
        if lasts { Ok(NodeReleased { answer: self.answer, effects: self.effects }) } else { Err(self) }
    }
}

/// Records that are accepted and not yet written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeJournalBatch {
    /// The index of the last record in it.
    pub last: u64,
    /// What to append and to sync, as it is.
    pub bytes: Vec<u8>,
    /// The same records, for an event log.
    pub records: Vec<NodeRecord>,
}

/// What one operation has changed so far.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) events: Vec<NodeEvent>,
    pub(super) effects: Vec<DispatchEffect>,
}

/// The devices of a service, from the first code to the last answer: registry, pairing, dispatch.
///
/// The law: every operation is decided whole before anything changes; what changed is in one journal record; and no
/// answer and no effect leaves before [`durable`](Self::durable) says that the record lasts.
pub struct NodeRuntime {
    pub(super) state: NodeRuntimeState,
    /// Works on a copy of the sessions, beside the codes that live in memory only; the two are always equal.
    pub(super) desk: PairingDesk,
    pub(super) live: DispatchLiveness,
    pub(super) config: NodeConfig,
    chain: Sha256Digest,
    unwritten: Vec<NodeRecord>,
    durable: u64,
    halted: bool,
}

impl fmt::Debug for NodeRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeRuntime")
            .field("epoch", &self.state.epoch)
            .field("index", &self.state.index)
            .field("durable", &self.durable)
            .field("halted", &self.halted)
            .finish_non_exhaustive()
    }
}

impl NodeRuntime {
    /// A runtime that knows nobody. Its first record is in the journal that [`take_journal`](Self::take_journal) gives.
    ///
    /// # Errors
    /// [`NodeRecoverError::Epoch`] for an epoch of zero.
    pub fn new(config: NodeConfig, epoch: Epoch, now: Now) -> Result<Self, NodeRecoverError> {
        Self::begin(NodeRuntimeState::new(&config), journal::genesis(), config, epoch, now)
    }

    /// Goes on from what was stored: `snapshot`, and the journal since. Checks sequence, hash chain, that every event
    /// is possible, and that the parts agree with each other. Everybody counts as heard now; pairing codes are gone,
    /// and the sessions that needed theirs end at the next [`poll`](Self::poll).
    ///
    /// `epoch` comes from a durable counter and is larger than every one before.
    ///
    /// # Errors
    /// [`NodeRecoverError`].
    pub fn recover(
        config: NodeConfig,
        snapshot: Option<&[u8]>,
        journal: &[u8],
        epoch: Epoch,
        now: Now,
    ) -> Result<Self, NodeRecoverError> {
        let (mut state, mut chain) = match snapshot {
            Some(bytes) => NodeRuntimeState::from_snapshot(bytes, &config)?,
            None => (NodeRuntimeState::new(&config), journal::genesis()),
        };
        let mut rest = journal;
        while !rest.is_empty() {
            let (record, end, left) = journal::read(rest, chain)?;
            state.fold(&record)?;
            (chain, rest) = (end, left);
        }
        state.check()?;
        Self::begin(state, chain, config, epoch, now)
    }

    fn begin(
        state: NodeRuntimeState,
        chain: Sha256Digest,
        config: NodeConfig,
        epoch: Epoch,
        now: Now,
    ) -> Result<Self, NodeRecoverError> {
        if epoch <= state.epoch {
            return Err(NodeRecoverError::Epoch { last: state.epoch, given: epoch });
        }
        let at = state.discipline(now, config.max_wall_step).map_err(|_| NodeRecoverError::Time)?;
        let desk = PairingDesk::recover(state.pairing.clone(), config.fleet.clone(), config.certificate);
        let live = DispatchLiveness::after_recovery(&state.dispatch, at);
        let durable = state.index;
        let mut runtime =
            Self { state, desk, live, config, chain, unwritten: Vec::new(), durable, halted: false };
        let event = NodeEvent::EpochBegan { epoch };
        runtime.state.evolve(&event);
        let draft = Draft { events: Vec::from([event]), effects: Vec::new() };
        let _ = runtime.commit(at, NodePrincipal::Core, draft, ());
        Ok(runtime)
    }

    /// The hard state.
    pub fn state(&self) -> &NodeRuntimeState {
        &self.state
    }

    /// The time of an operation; an error where none may be decided.
    pub(super) fn enter(&self, now: Now) -> Result<Now, NodeError> {
        if self.halted {
            return Err(NodeError::Halted);
        }
        Ok(self.state.discipline(now, self.config.max_wall_step)?)
    }

    pub(super) fn fold_devices(&mut self, changes: Vec<DeviceEvent>, draft: &mut Draft) {
        for change in changes {
            self.state.registry.evolve(&change);
            draft.events.push(NodeEvent::Device { change });
        }
    }

    /// The desk has folded these in already; the state follows.
    pub(super) fn fold_pairing(&mut self, changes: &[PairingEvent], draft: &mut Draft) {
        for change in changes {
            self.state.pairing.evolve(change);
            draft.events.push(NodeEvent::Pairing { change: change.clone() });
        }
    }

    pub(super) fn fold_dispatch<A>(
        &mut self,
        at: Now,
        decision: Decision<A>,
        draft: &mut Draft,
    ) -> Result<A, DispatchError> {
        let changes = decision.events().iter().map(|change| NodeEvent::Dispatch { change: change.clone() });
        let changes: Vec<NodeEvent> = changes.collect();
        let accepted = self.state.dispatch.accept(&mut self.live, at, decision)?;
        draft.events.extend(changes);
        draft.effects.extend(accepted.effects);
        Ok(accepted.answer)
    }

    /// Makes one record of `draft` and holds its answer. Without events, nothing is written and nothing is held back.
    pub(super) fn commit<T>(
        &mut self,
        at: Now,
        principal: NodePrincipal,
        draft: Draft,
        answer: T,
    ) -> NodeTicket<T> {
        debug_assert_eq!(self.desk.state(), &self.state.pairing);
        if !draft.events.is_empty() {
            let index = self.state.index.saturating_add(1);
            (self.state.index, self.state.last) = (index, at);
            self.unwritten.push(NodeRecord { index, at, principal, events: draft.events });
        }
        NodeTicket { instance: self.state.epoch, index: self.state.index, answer, effects: draft.effects }
    }

    /// What has to be appended to the journal; none where nothing has. Many operations share one batch.
    pub fn take_journal(&mut self) -> Option<NodeJournalBatch> {
        if self.unwritten.is_empty() || self.halted {
            return None;
        }
        let records = core::mem::take(&mut self.unwritten);
        let mut bytes = Vec::new();
        for record in &records {
            match journal::append(&mut bytes, self.chain, record) {
                Some(chain) => self.chain = chain,
                None => {
                    self.halted = true;
                    return None;
                }
            }
        }
        Some(NodeJournalBatch { last: self.state.index, bytes, records })
    }

    /// The journal lasts up to `index`: tickets up to there can be redeemed. Only what was taken can last.
    pub fn durable(&mut self, index: u64) {
        let first_unwritten = self.unwritten.first().map_or(u64::MAX, |record| record.index);
        if index < first_unwritten && index <= self.state.index {
            self.durable = self.durable.max(index);
        }
    }

    /// A write failed, or nobody knows whether it lasted. Held answers are dropped; only recovery goes on.
    pub fn journal_failed(&mut self) {
        self.halted = true;
    }

    /// Whether only recovery goes on from here.
    pub fn is_halted(&self) -> bool {
        self.halted
    }

    /// The state as bytes, from which [`recover`](Self::recover) goes on with the journal after it. None while records
    /// are accepted that the journal does not hold yet.
    pub fn snapshot(&self) -> Option<Vec<u8>> {
        if self.durable == self.state.index && !self.halted {
            self.state.to_snapshot(self.chain)
        } else {
            None
        }
    }
}
