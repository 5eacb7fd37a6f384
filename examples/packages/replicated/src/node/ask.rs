//! What is asked of a leader: reads, changes of membership, and handing over.

use super::{Node, NotLeading, Read, ReadId, Role};
use crate::{
    machine::Machine,
    members::{Change, ChangeError, NodeId},
};

impl<M: Machine> Node<M> {
    /// Asks for a moment at which the state holds everything that was answered before now.
    ///
    /// # Errors
    /// [`NotLeading`]; reads are answered by the leader.
    pub fn read(&mut self) -> Result<ReadId, NotLeading> {
        if !matches!(self.role, Role::Leading(_)) || !self.engine_leads() || self.stopped {
            return Err(NotLeading { leader: self.leader });
        }
        self.numbers += 1;
        let id = ReadId(self.numbers);
        self.reads.insert(id, Read::Asked { until: self.ticks + 2 * self.config.election as u64 });
        self.raw.read_index(self.numbers.to_be_bytes().to_vec());
        Ok(id)
    }

    /// Changes the membership. [`Event::Members`] follows where it was committed.
    ///
    /// # Errors
    /// [`ChangeError`].
    pub fn change(&mut self, change: &Change) -> Result<(), ChangeError> {
        if !matches!(self.role, Role::Leading(_)) || !self.engine_leads() || self.stopped {
            return Err(ChangeError::NotLeading);
        }
        // The engine would answer with Ok, and put an empty entry in its place.
        if self.raw.raft.has_pending_conf() {
            return Err(ChangeError::Pending);
        }
        self.members.admits(change)?;
        let own = self.config.id;
        let voters: Vec<NodeId> = match change {
            Change::Add(..) => Vec::new(),
            Change::Promote(id) => {
                let progress = self.raw.raft.prs().get(id.0).ok_or(ChangeError::Unknown)?;
                if progress.matched.saturating_add(16) < self.raw.raft.raft_log.committed {
                    return Err(ChangeError::Behind);
                }
                self.members.voters().chain([*id]).collect()
            }
            Change::Remove(id) if *id == own => return Err(ChangeError::Leads),
            Change::Remove(id) => self.members.voters().filter(|voter| voter != id).collect(),
        };
        let heard = |id: &&NodeId| {
            **id == own || self.raw.raft.prs().get(id.0).is_some_and(|progress| progress.recent_active)
        };
        if !voters.is_empty() && voters.iter().filter(heard).count() <= voters.len() / 2 {
            return Err(ChangeError::Quorum);
        }
        self.raw.propose_conf_change(Vec::new(), change.engine()).map_err(|_| ChangeError::Pending)
    }

    /// Hands the lead over to `to`. It happens soon or not at all.
    ///
    /// # Errors
    /// [`ChangeError`]: this node does not lead, or the other one does not vote.
    pub fn transfer(&mut self, to: NodeId) -> Result<(), ChangeError> {
        if !self.engine_leads() || self.stopped {
            return Err(ChangeError::NotLeading);
        }
        if !self.members.get(to).is_some_and(|member| member.voter) {
            return Err(ChangeError::Unknown);
        }
        self.raw.transfer_leader(to.0);
        Ok(())
    }

    /// Gives the lead to whoever is heard and furthest.
    pub fn hand_over(&mut self) {
        if !self.engine_leads() {
            return;
        }
        let own = self.config.id;
        let best = self
            .progress()
            .into_iter()
            .filter(|(id, _, heard)| {
                *heard && *id != own && self.members.get(*id).is_some_and(|member| member.voter)
            })
            .max_by_key(|(id, matched, _)| (*matched, id.0));
        if let Some((id, _, _)) = best {
            self.raw.transfer_leader(id.0);
        }
    }
}
