//! What happens at one moment: a tick, a packet, the end of a write, a process that comes back.

use super::{Back, Broken, Bug, CHAOS, Happening, SimMachine, Simulation, TICK, ask::Reply};
use crate::{
    members::NodeId,
    node::{Event, Local, Node, Output},
    packet::Packet,
};

impl Simulation {
    /// Puts something on a wire: late, twice, out of order, or never.
    pub(super) fn wire(&mut self, make: impl Fn() -> Happening) {
        if self.is_lossy() && self.random.percent(25) {
            return;
        }
        let copies = if self.is_lossy() && self.random.percent(8) { 2 } else { 1 };
        for _ in 0..copies {
            let late = self.is_lossy() && self.random.percent(10);
            let delay = if late { self.random.range(30, 900) } else { self.random.range(1, 20) };
            self.at(delay, make());
        }
    }

    pub(super) fn happen(&mut self, happening: Happening) -> Result<(), Broken> {
        let at = match &happening {
            Happening::Tick(id, _)
            | Happening::Packet(_, id, _)
            | Happening::Asked(id, ..)
            | Happening::Disk(id, _)
            | Happening::Written(id, _)
            | Happening::Sent(id, ..) => self.hosts.get(id).map_or(0, |host| host.paused),
            _ => 0,
        };
        if at > self.now {
            self.at(at - self.now, happening);
            return Ok(());
        }
        match happening {
            Happening::Tick(id, life) => {
                let now = self.now;
                let Some(host) = self.hosts.get_mut(&id) else { return Ok(()) };
                let local = host.local(now);
                let (true, Some(node)) = (host.life == life, host.node.as_mut()) else { return Ok(()) };
                node.tick(local);
                expire(node, local);
                self.at(TICK, Happening::Tick(id, life));
                self.drain(id)
            }
            Happening::Packet(from, to, bytes) => {
                if self.cut.contains(&(from, to)) {
                    return Ok(());
                }
                let now = self.now;
                let Some(host) = self.hosts.get_mut(&to) else { return Ok(()) };
                let local = host.local(now);
                let Some(node) = host.node.as_mut() else { return Ok(()) };
                let packet = Packet::decode(&bytes, 1 << 20)
                    .map_err(|error| Broken(format!("a packet of {from} does not read: {error}")))?;
                self.report.packets += 1;
                let snapshot = packet.is_snapshot();
                let taken = node.receive(from, packet, local).is_ok();
                if snapshot {
                    self.wire(|| Happening::Sent(from, to, taken));
                }
                self.drain(to)
            }
            Happening::Sent(from, to, arrived) => {
                if let Some(node) = self.hosts.get_mut(&from).and_then(|host| host.node.as_mut()) {
                    node.snapshot_sent(to, arrived);
                }
                Ok(())
            }
            Happening::Disk(id, life) => {
                let now = self.now;
                let Some(host) = self.hosts.get_mut(&id) else { return Ok(()) };
                if host.life != life {
                    return Ok(());
                }
                let local = host.local(now);
                let finished = host.disk.finish(now);
                for write in finished {
                    if let Some(node) = host.node.as_mut() {
                        node.written(write, local);
                    }
                }
                self.drain(id)
            }
            Happening::Written(id, write) => {
                let now = self.now;
                let Some(host) = self.hosts.get_mut(&id) else { return Ok(()) };
                let local = host.local(now);
                if let Some(node) = host.node.as_mut() {
                    self.report.stale += 1;
                    node.written(write, local);
                }
                self.drain(id)
            }
            Happening::Asked(id, actor, sequence, ask) => self.asked(id, actor, sequence, &ask),
            Happening::Replied(actor, sequence, back) => self.replied(actor, sequence, back),
            Happening::Actor(actor) => {
                self.act(actor);
                self.at(50, Happening::Actor(actor));
                Ok(())
            }
            Happening::Chaos => self.chaos(),
            Happening::Restart(id) => self.start(id),
            Happening::Blackout(id, all) => {
                let ids: Vec<NodeId> =
                    self.hosts.keys().copied().filter(|other| all || *other == id).collect();
                ids.into_iter().for_each(|id| self.die(id, true));
                Ok(())
            }
            Happening::Heal => {
                self.cut.clear();
                let ids: Vec<NodeId> = self.hosts.keys().copied().collect();
                ids.into_iter().try_for_each(|id| self.start(id))
            }
        }
    }

    /// Does what a node wants done.
    pub(super) fn drain(&mut self, id: NodeId) -> Result<(), Broken> {
        let mut moved = false;
        loop {
            let Some(host) = self.hosts.get_mut(&id) else { return Ok(()) };
            let local = host.local(self.now);
            let Some(node) = host.node.as_mut() else { return Ok(()) };
            let Some(output) = node.poll() else { break };
            match output {
                Output::Send(packet) => {
                    let to = packet.to();
                    let bytes = packet.encode().ok_or_else(|| Broken("a packet has no form".into()))?;
                    self.wire(|| Happening::Packet(id, to, bytes.clone()));
                }
                Output::Write(write, what) => {
                    let slow = self.random.percent(2);
                    let delay = if slow { self.random.range(20, 1_500) } else { self.random.range(1, 12) };
                    let (life, at) = (host.life, self.now + delay);
                    host.disk.begin(at, write, what);
                    if self.plan.bug == Some(Bug::SpeaksEarly) {
                        node.written(write, local);
                    }
                    self.at(delay, Happening::Disk(id, life));
                    // Power goes in the middle of a write, of one node or of the whole site.
                    if self.now < CHAOS && self.random.percent(1) {
                        let all = self.random.percent(30);
                        let soon = self.random.below(delay + 1);
                        self.at(soon, Happening::Blackout(id, all));
                    }
                    if self.random.percent(20) {
                        let later = self.random.range(1, 4_000);
                        self.at(delay + later, Happening::Written(id, write));
                    }
                }
                Output::Event(event) => {
                    moved |= matches!(event, Event::Applied(_) | Event::Restored { .. });
                    self.event(id, event)?;
                }
            }
        }
        if moved {
            self.stands(id)?;
        }
        self.answer(id)
    }

    pub(super) fn stands(&mut self, id: NodeId) -> Result<(), Broken> {
        let Some(node) = self.hosts.get(&id).and_then(|host| host.node.as_ref()) else { return Ok(()) };
        let follower = match (node.machine(), node.leading()) {
            (Some(machine), _) => Some(machine.follower()),
            (None, leading) => leading.and_then(|leading| leading.manager().follower()),
        };
        let Some(follower) = follower else { return Ok(()) };
        match follower.state() {
            Some(state) => self.check.stands(id, node.applied(), follower.at(), state),
            None => Ok(()),
        }
    }

    pub(super) fn event(&mut self, id: NodeId, event: Event) -> Result<(), Broken> {
        let Some(host) = self.hosts.get_mut(&id) else { return Ok(()) };
        match event {
            Event::Leads { term } => self.check.leads(term, id),
            Event::Follows => {
                // Whoever waits asks again.
                host.held.clear();
                host.refusals.clear();
                host.reads.clear();
                Ok(())
            }
            Event::Applied(entry) => self.check.applied(id, entry),
            Event::Restored { .. } => {
                self.report.restored += 1;
                Ok(())
            }
            Event::Read(read) => {
                let at = host.node.as_ref().and_then(Node::leading);
                let at = at.and_then(|leader| leader.manager().follower()).map_or(0, |at| at.at().index);
                for refusal in host.refusals.iter_mut().filter(|refusal| refusal.read == read) {
                    refusal.confirmed = true;
                }
                if let Some((actor, sequence)) = host.reads.remove(&read) {
                    self.reply(actor, sequence, Back::Reply(Reply::At(at)));
                }
                Ok(())
            }
            Event::Unread(read) => {
                host.refusals.retain(|refusal| refusal.read != read);
                host.reads.remove(&read);
                Ok(())
            }
            Event::Members => {
                self.report.changes += 1;
                Ok(())
            }
            Event::Stopped(code) => Err(Broken(format!("{id} stopped: {code}"))),
            Event::Leader(_) | Event::Removed | Event::NotPromoted(_) => Ok(()),
        }
    }
}

/// Lets deadlines that have passed take effect, at whoever leads.
fn expire(node: &mut Node<SimMachine>, local: Local) {
    let now = node.now(local);
    let Some(leader) = node.leader() else { return };
    let manager = leader.manager_mut();
    for _ in 0..4 {
        if manager.next_deadline().is_none_or(|due| due > now.mono) {
            break;
        }
        let Ok(prepared) = manager.expire(now) else { break };
        if manager.accept(prepared).is_err() {
            break;
        }
    }
    node.turn(local);
}
