//! What clients ask, what a node answers, and when it may.

use leasehold::{fleet::LogId, time::Wall};

use super::{
    Back, Broken, Bug, CHAOS, Happening, PATIENCE, Refusal, Simulation, WORKERS,
    actor::{Around, Kind, Open},
    ask::{self, Ask, Outcome, Reply},
    host::WALL,
};
use crate::{members::NodeId, node::Node};

impl Simulation {
    pub(super) fn reply(&mut self, actor: usize, sequence: u64, back: Back) {
        self.wire(|| Happening::Replied(actor, sequence, back.clone()));
    }

    /// Gives the answers whose time has come.
    pub(super) fn answer(&mut self, id: NodeId) -> Result<(), Broken> {
        loop {
            let Some(host) = self.hosts.get_mut(&id) else { return Ok(()) };
            let Some(leader) = host.node.as_ref().and_then(Node::leading) else { return Ok(()) };
            let manager = leader.manager();
            let committed = manager.follower().map_or(0, |follower| follower.at().index);
            if host.held.front().is_some_and(|held| held.id.index <= committed) {
                let Some(held) = host.held.pop_front() else { break };
                let (to, record) = (held.to, held.id);
                if let Some(reply) = held.redeem(manager) {
                    let reply = self.spoilt(id, reply);
                    self.check.told(record);
                    self.reply(to.0, to.1, Back::Reply(reply));
                }
                continue;
            }
            let ready = host
                .refusals
                .iter()
                .position(|refusal| refusal.confirmed && refusal.behind.index <= committed);
            let Some(ready) = ready else { break };
            let refusal = host.refusals.remove(ready);
            self.reply(refusal.to.0, refusal.to.1, Back::Reply(refusal.reply));
        }
        Ok(())
    }

    pub(super) fn spoilt(&self, id: NodeId, reply: Reply) -> Reply {
        match reply {
            Reply::Acquired(acquired, mut fence) if self.plan.bug == Some(Bug::OwnFence) => {
                fence.counter += id.0;
                Reply::Acquired(acquired, fence)
            }
            reply => reply,
        }
    }

    pub(super) fn asked(&mut self, id: NodeId, actor: usize, sequence: u64, ask: &Ask) -> Result<(), Broken> {
        let now = self.now;
        let Some(asker) = self.actors.get(actor).map(|actor| actor.asker.clone()) else { return Ok(()) };
        let Some(host) = self.hosts.get_mut(&id) else { return Ok(()) };
        let local = host.local(now);
        let Some(node) = host.node.as_mut() else { return Ok(()) };
        let (hint, clock) = (node.hint(), node.now(local));
        let Some(leader) = node.leader() else {
            self.reply(actor, sequence, Back::Elsewhere(hint));
            return Ok(());
        };
        if matches!(ask, Ask::Read) && self.plan.bug == Some(Bug::ReadsAlone) {
            let at = leader.manager().follower().map_or(0, |at| at.at().index);
            self.reply(actor, sequence, Back::Reply(Reply::At(at)));
            return Ok(());
        }
        let outcome = ask::decide(leader.manager_mut(), &asker, sequence, ask, clock);
        let behind = {
            let state = leader.manager().state();
            LogId::new(state.epoch(), state.index())
        };
        match outcome {
            Outcome::Held(held) => host.held.push_back(held),
            Outcome::Now(reply) => self.reply(actor, sequence, Back::Reply(reply)),
            Outcome::Refused(code) => {
                if let Ok(read) = node.read() {
                    if matches!(ask, Ask::Read) {
                        host.reads.insert(read, (actor, sequence));
                    } else {
                        let (to, reply) = ((actor, sequence), Reply::Refused(code));
                        host.refusals.push(Refusal { to, reply, read, confirmed: false, behind });
                    }
                }
            }
        }
        if let Some(node) = self.hosts.get_mut(&id).and_then(|host| host.node.as_mut()) {
            node.turn(local);
        }
        self.drain(id)
    }

    pub(super) fn replied(&mut self, actor: usize, sequence: u64, back: Back) -> Result<(), Broken> {
        let now = self.now;
        let ids: Vec<NodeId> = self.hosts.keys().copied().collect();
        let Some(this) = self.actors.get_mut(actor) else { return Ok(()) };
        if this.open.as_ref().is_none_or(|open| open.sequence != sequence) {
            return Ok(());
        }
        let reply = match back {
            Back::Reply(reply) => reply,
            Back::Elsewhere(hint) => {
                // Soon again, there or anywhere.
                this.leader = hint.or_else(|| self.random.pick(&ids).copied()).unwrap_or(NodeId(1));
                if let Some(open) = &mut this.open {
                    open.asked = now.saturating_sub(PATIENCE - 60);
                }
                return Ok(());
            }
        };
        let Some(open) = this.open.take() else { return Ok(()) };
        match &reply {
            Reply::At(at) => self.check.read(open.floor, *at)?,
            Reply::Acquired(acquired, fence) => {
                self.check.fences.push(*fence);
                self.check.leases.push(acquired.lease.clone());
            }
            _ => {}
        }
        let around = Around {
            world: &self.world,
            leases: &self.check.leases,
            runs: &mut self.runs,
            wall: Wall(WALL + now),
            workers: WORKERS,
        };
        this.hear(now, &open.ask, &reply, &mut self.random, &around);
        Ok(())
    }

    pub(super) fn act(&mut self, actor: usize) {
        let (now, floor) = (self.now, self.check.floor);
        let winding = now >= CHAOS;
        let ids: Vec<NodeId> = self.hosts.iter().filter(|(_, host)| !host.gone).map(|(id, _)| *id).collect();
        let Some(this) = self.actors.get_mut(actor) else { return };
        if let Some(open) = &mut this.open {
            if now < open.asked + PATIENCE {
                return;
            }
            // One who only looks stays where it is for longer.
            let stays = if matches!(this.kind, Kind::Reader) { 80 } else { 40 };
            if !self.random.percent(stays) {
                this.leader = self.random.pick(&ids).copied().unwrap_or(NodeId(1));
            }
            open.asked = now;
        } else {
            let around = &mut Around {
                world: &self.world,
                leases: &self.check.leases,
                runs: &mut self.runs,
                wall: Wall(WALL + now),
                workers: WORKERS,
            };
            let Some(ask) = this.ask(now, winding, &mut self.random, around) else { return };
            this.sequence += 1;
            this.open = Some(Open { sequence: this.sequence, ask, floor, asked: now });
        }
        if let Some(open) = this.open.clone() {
            let to = this.leader;
            self.wire(|| Happening::Asked(to, actor, open.sequence, open.ask.clone()));
        }
    }
}
