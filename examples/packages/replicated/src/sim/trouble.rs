//! What goes wrong: nodes that die, are cut off, paused, added and removed.

use super::{Broken, Bug, CHAOS, HOLD, Happening, SimMachine, Simulation, TICK, disk::SimDisk, host::Host};
use crate::{
    config::Config,
    members::{Change, NodeId},
    node::Node,
};

impl Simulation {
    pub(super) fn start(&mut self, id: NodeId) -> Result<(), Broken> {
        let now = self.now;
        let Some(host) = self.hosts.get_mut(&id) else { return Ok(()) };
        if host.node.is_some() || host.gone {
            return Ok(());
        }
        host.life += 1;
        let config =
            Config { patience: Some(host.patience), compact_bytes: 24 << 10, keep: 20, ..Config::new(id) };
        let alone = id == NodeId(2);
        let machine = SimMachine::new(HOLD, u8::try_from(id.0).unwrap_or(0), self.plan.bug, alone);
        let (life, local) = (host.life, host.local(now));
        let node = Node::start(config, machine, host.disk.stored(), life, local)
            .map_err(|error| Broken(format!("{id} does not start: {error}")))?;
        host.node = Some(node);
        self.at(TICK, Happening::Tick(id, life));
        Ok(())
    }

    pub(super) fn stop(&mut self, id: NodeId) {
        let Some(host) = self.hosts.get_mut(&id) else { return };
        host.node = None;
        host.paused = 0;
        host.held.clear();
        host.refusals.clear();
        host.reads.clear();
    }

    /// The node is out for a while, and comes back with what its disk holds.
    pub(super) fn die(&mut self, id: NodeId, power: bool) {
        if self.hosts.get(&id).is_none_or(|host| host.node.is_none()) {
            return;
        }
        self.report.deaths += 1;
        self.stop(id);
        let Some(host) = self.hosts.get_mut(&id) else { return };
        match power {
            true if self.plan.bug == Some(Bug::LosesDisk) => host.disk.lose(),
            true => host.disk.power_loss(&mut self.random),
            false => host.disk.kill(),
        }
        host.patience = usize::try_from(self.random.range(10, 30)).unwrap_or(10);
        let out = self.random.range(100, 4_000);
        self.at(out, Happening::Restart(id));
    }

    /// Wires are bad for ten seconds, and good for ten.
    pub(super) fn is_lossy(&self) -> bool {
        self.now < CHAOS && (self.now / 10_000).is_multiple_of(2)
    }

    pub(super) fn chaos(&mut self) -> Result<(), Broken> {
        if self.now >= CHAOS {
            return Ok(());
        }
        let next = self.random.range(300, 4_000);
        self.at(next, Happening::Chaos);
        let ids: Vec<NodeId> =
            self.hosts.iter().filter(|(_, host)| host.node.is_some()).map(|(id, _)| *id).collect();
        let Some(any) = self.random.pick(&ids).copied() else { return Ok(()) };
        let leader = self.leader();
        let one = if self.random.percent(50) { leader.unwrap_or(any) } else { any };
        match self.random.below(13) {
            12 => {
                let pause = self.random.range(200, 5_000);
                if let Some(host) = self.hosts.get_mut(&one) {
                    host.paused = self.now + pause;
                }
            }
            0 | 1 => self.die(one, false),
            2 | 3 => self.die(one, true),
            // The whole site.
            4 if self.random.percent(40) => {
                for id in ids {
                    self.die(id, true);
                }
            }
            // Cut off, in one direction or both.
            5 | 6 => {
                let both = self.random.percent(60);
                for other in ids.iter().filter(|other| **other != one) {
                    self.cut.insert((one, *other));
                    if both {
                        self.cut.insert((*other, one));
                    }
                }
            }
            7 | 8 => self.cut.clear(),
            9 => {
                if let Some(node) = self.hosts.get_mut(&one).and_then(|host| host.node.as_mut()) {
                    node.compact();
                }
            }
            10 => {
                if let Some(node) = leader.and_then(|id| self.hosts.get_mut(&id)?.node.as_mut()) {
                    let _ = node.transfer(any);
                }
            }
            _ if self.plan.changes => self.change()?,
            _ => {}
        }
        if let Some(leader) = leader {
            self.drain(leader)?;
        }
        self.drain(one)
    }

    /// Has the leader change the membership, by what it is now.
    pub(super) fn change(&mut self) -> Result<(), Broken> {
        let Some(leader) = self.leader() else { return Ok(()) };
        let nodes = self.plan.nodes;
        let Some(node) = self.hosts.get_mut(&leader).and_then(|host| host.node.as_mut()) else {
            return Ok(());
        };
        let members: Vec<(NodeId, bool)> =
            node.members().iter().map(|(id, member)| (id, member.voter)).collect();
        // Whoever left is switched off, sooner or later: when everybody runs, and nobody else counts it in any more.
        let counted = |id: NodeId| {
            self.hosts
                .iter()
                .filter(|(other, host)| **other != id && !host.gone)
                .any(|(_, host)| host.node.as_ref().is_none_or(|node| node.members().get(id).is_some()))
        };
        let left: Vec<NodeId> = self.hosts.keys().copied().filter(|id| !counted(*id)).collect();
        let learner = members.iter().find(|(_, voter)| !voter).map(|(id, _)| *id);
        let change = match learner {
            Some(id) => Change::Promote(id),
            None if members.len() as u64 > nodes || self.random.percent(30) => {
                let (id, _) = *self.random.pick(&members).unwrap_or(&(NodeId(1), true));
                Change::Remove(id)
            }
            None => Change::Add(NodeId(self.next_node), b"newcomer".to_vec()),
        };
        let Some(node) = self.hosts.get_mut(&leader).and_then(|host| host.node.as_mut()) else {
            return Ok(());
        };
        if node.change(&change).is_ok()
            && let Change::Add(id, _) = change
        {
            self.next_node += 1;
            self.hosts.insert(id, Host::new(SimDisk::default(), &mut self.random));
            self.start(id)?;
        }
        // A newcomer whose addition was not committed stays until the next one is.
        if learner.is_none() {
            let newest = self.next_node - 1;
            for id in left.into_iter().filter(|id| id.0 < newest) {
                self.stop(id);
                if let Some(host) = self.hosts.get_mut(&id) {
                    host.gone = true;
                }
            }
        }
        Ok(())
    }
}
