//! What is asked of the fleet, what leaves it once it lasts, and what is checked on the way.

use leasehold::{
    attestation::EvidenceForm,
    digest::Sha256Digest,
    fleet::*,
    identity::{DeviceCertificate, DeviceCommand, OverlapEnd, RevocationReason, RevocationSubject},
    lease::{Epoch, Fence, WorkerLease},
    testing::World,
    time::{Millis, Wall},
};

use crate::{
    budget::Act,
    promises::number,
    state::{Hand, Held, Message, Nonce, State, certificate, rules},
};

/// How long the evidence of worker 0 lasts where that is short.
const SHORT: Millis = Millis(12_000);

impl State {
    /// Asks, and where `keep` says how, holds what follows until it lasts. Whether it was accepted.
    pub fn ask<O: Decide>(
        &mut self,
        operation: &O,
        principal: &Principal,
        keep: impl FnOnce(Ticket<O::Answer>) -> Held,
    ) -> bool
    where
        O::Answer: Clone,
        O::Error: From<CommandError>,
    {
        let decided = self.world.fleet.decide(operation, principal, None, self.world.now);
        let accepted = decided.is_ok();
        if let Ok(prepared) = decided {
            self.accept(prepared, keep);
        }
        accepted
    }

    fn accept<A: Clone>(&mut self, prepared: Prepared<A>, keep: impl FnOnce(Ticket<A>) -> Held) {
        let (events, mut version) = (prepared.events().to_vec(), self.world.fleet.state().version());
        let ticket = match self.world.fleet.accept(prepared) {
            Ok(ticket) => ticket,
            Err(error) => return self.break_promise(&format!("invariant 8: {error}")),
        };
        for event in &events {
            version += 1;
            if let Err(broken) = self.promises.follow(event, version, self.world.now.mono) {
                self.break_promise(broken);
            }
            if let FleetEvent::LeaseGranted { lease, .. } = event {
                self.granted(lease);
            }
        }
        // Persist before send: before the journal lasts, nothing comes out.
        if !events.is_empty() && ticket.clone().redeem(&self.world.fleet).is_ok() {
            self.break_promise("an answer is handed out before it lasts");
        }
        self.held.push(keep(ticket));
    }

    /// What must be so whenever a lease is granted (invariants 3 and 4).
    fn granted(&mut self, lease: &WorkerLease) {
        let now = self.world.now.mono;
        let policy = self.world.fleet.state().policy().clone();
        let n = number(lease.worker.as_str());
        let Some(view) = self.view(n) else { return };
        let (handle, evidence) = (view.handle, view.evidence.cloned());
        let heard = self.world.fleet.last_heard(handle);
        if now >= heard.plus(policy.liveness.offline_after_ms) {
            self.break_promise("invariant 4: a lease goes to a worker that is silent");
        }
        match evidence {
            None => self.break_promise("invariant 4: a lease goes to a worker without evidence"),
            Some(evidence) => {
                if lease.expires > evidence.valid_until_mono
                    || lease.expires > evidence.certificate_until_mono
                {
                    self.break_promise("invariant 3: a lease outlives its evidence or its certificate");
                }
            }
        }
        if lease.expires > now.plus(policy.lease.ttl_max_ms) {
            self.break_promise("invariant 3: a lease outlives the cap of the policy");
        }
    }

    /// Everything that was accepted lasts, and leaves.
    pub fn write(&mut self) {
        self.write_unheard(true);
    }

    /// As [`Self::write`]; where they are not `heard`, the answers are lost.
    pub fn write_unheard(&mut self, heard: bool) {
        self.world.write();
        self.lasting = self.promises.clone();
        for held in std::mem::take(&mut self.held) {
            self.release(held, heard);
        }
    }

    fn redeem<A: std::fmt::Debug>(&mut self, ticket: Ticket<A>) -> Option<A> {
        match ticket.redeem(&self.world.fleet) {
            Ok(released) => {
                self.carry_out(released.effects);
                Some(released.answer)
            }
            Err(_) => {
                self.break_promise("what lasts is not handed out");
                None
            }
        }
    }

    /// Hands out what lasts. Where it is not `heard`, the answer is lost.
    pub fn release(&mut self, held: Held, heard: bool) {
        match held {
            Held::Acquired(ticket) => {
                self.redeem(ticket);
            }
            Held::Managed(ticket) => {
                self.redeem(ticket);
            }
            Held::Revoked(ticket) => {
                self.redeem(ticket);
            }
            Held::Expired(ticket) => {
                self.redeem(ticket);
            }
            Held::Nothing(ticket) => {
                self.redeem(ticket);
            }
            Held::Attested(n, ticket) => {
                if let Some(answer) = self.redeem(ticket).filter(|_| heard) {
                    self.workers[usize::from(n)].handle = Some(answer.handle);
                }
            }
            Held::Remaining(n, sent, ticket) => {
                if let Some(answer) = self.redeem(ticket).filter(|_| heard) {
                    self.send(Message::Told(n, answer.fence, answer.remaining, sent));
                }
            }
            Held::Verdict(n, fence, ticket) => {
                if self.redeem(ticket).filter(|_| heard).is_some() {
                    let hand = &mut self.workers[usize::from(n)].hand;
                    if matches!(hand, Hand::Ending(lease) if lease.fence == fence) {
                        *hand = Hand::Idle;
                    }
                }
            }
        }
    }

    fn carry_out(&mut self, effects: Effects) {
        let now = self.world.now.mono;
        for effect in effects {
            if let Some(gate) = &mut self.gate {
                gate.effect(&effect, now);
            }
            match effect {
                Effect::Assign { worker, lease } => self.send(Message::Assign(self.worker_of(worker), lease)),
                Effect::Revoke { worker, lease, .. } => {
                    self.send(Message::Revoke(self.worker_of(worker), lease.fence));
                }
                _ => {}
            }
        }
    }

    /// Asks for a lease of `run` under a new grant.
    pub fn acquire(&mut self, run: u8) -> bool {
        let grant = self.world.grant(u32::from(run) + 1, "a");
        let request = World::request(grant.clone());
        let accepted = self.ask(&Acquire::new(request), &World::service(), Held::Acquired);
        if accepted {
            self.grants[usize::from(run)] = Some(grant);
        }
        accepted
    }

    /// The worker is heard. The second heartbeat finds nothing to do, which the fleet remembers.
    pub fn heartbeat(&mut self, n: u8) {
        for _ in 0..2 {
            let Some(handle) = self.workers[usize::from(n)].handle else { return };
            let principal = self.device(n);
            if let Ok(Some(prepared)) = self.world.fleet.heartbeat(handle, &principal, self.world.now) {
                self.accept(prepared, Held::Nothing);
            }
        }
    }

    /// The worker gets a nonce: nothing is written for it.
    pub fn challenge(&mut self, n: u8) {
        let (principal, now) = (self.device(n), self.world.now);
        let version = self.world.fleet.state().version();
        let Ok(prepared) = self.world.fleet.decide(&Challenge {}, &principal, None, now) else { return };
        let Ok(ticket) = self.world.fleet.accept(prepared) else { return };
        // It waits for what it was decided behind, as every answer does.
        let Ok(released) = ticket.redeem(&self.world.fleet) else { return };
        let worker = &mut self.workers[usize::from(n)];
        let bytes = released.answer.nonce;
        worker.nonce = Some(Nonce { bytes, version, at: now.mono, next: worker.next, used: false });
    }

    pub fn attestation(&self, n: u8) -> Option<Attest> {
        let worker = &self.workers[usize::from(n)];
        let nonce = worker.nonce.as_ref()?;
        let mut claims = self.world.claims(n.into(), "a", nonce.bytes.clone());
        claims.certificate = certificate(n, worker.next);
        if self.left.short && n == 0 {
            claims.expires = claims.issued.plus(SHORT);
        }
        Some(Attest {
            nonce: nonce.bytes.clone(),
            form: EvidenceForm::Json,
            evidence: claims.to_document(),
            attachments: Vec::new(),
            resume: worker.handle,
        })
    }

    /// The worker brings evidence over its nonce. One that may not go on as it was begins anew.
    pub fn attest(&mut self, n: u8) {
        let Some(attest) = self.attestation(n) else { return };
        let principal = self.device(n);
        let accepted = self.ask(&attest, &principal, |ticket| Held::Attested(n, ticket));
        let worker = &mut self.workers[usize::from(n)];
        if accepted {
            worker.nonce.iter_mut().for_each(|nonce| nonce.used = true);
        } else {
            worker.handle = None;
        }
    }

    pub fn expire(&mut self) {
        // More calls than there are workers and runs: one that wants another for ever has no way out.
        for _ in 0..16 {
            let Ok(prepared) = self.world.fleet.expire(self.world.now) else { return };
            let more = std::cell::Cell::new(false);
            self.accept(prepared, |ticket| {
                more.set(format!("{ticket:?}").contains("more: true"));
                Held::Expired(ticket)
            });
            if !more.get() {
                return;
            }
        }
        self.break_promise("time is asked for without end");
    }

    pub fn operate(&mut self, act: Act, n: u8) -> bool {
        let (worker, by) = (World::worker_id(n.into()), World::operator());
        let device = World::device_id(n.into());
        match act {
            Act::Quarantine => self.ask(&QuarantineWorker { worker }, &by, Held::Managed),
            Act::Release => self.ask(&Release { worker }, &by, Held::Managed),
            Act::Drain => self.ask(&Drain { worker }, &by, Held::Managed),
            Act::Undrain => self.ask(&Undrain { worker }, &by, Held::Managed),
            Act::Reverify => self.ask(&Reverify { worker }, &by, Held::Managed),
            Act::Retire => self.ask(&Retire { worker }, &by, Held::Managed),
            Act::QuarantineAll => self.ask(&QuarantineAll {}, &by, Held::Managed),
            Act::ForceCleanup => {
                let owed = self.view(n).and_then(|view| view.owes);
                owed.is_some_and(|owed| {
                    self.ask(&ForceCleanup { worker, fence: owed.fence }, &by, Held::Managed)
                })
            }
            Act::RevokeDevice => {
                let (subject, reason) = (RevocationSubject::Device(device), RevocationReason::Lost);
                self.manage(DeviceCommand::Revoke { subject, reason })
            }
            Act::Rotate => {
                let key = Sha256Digest::of(format!("next key {n}").as_bytes());
                let next = DeviceCertificate::new(certificate(n, true), key, Wall(0), Wall::NEVER);
                let Ok(next) = next else { return false };
                let (overlap, at_deadline) = (Millis(9_000), OverlapEnd::RetireOld);
                self.manage(DeviceCommand::BeginRotation { device, next, overlap, at_deadline })
            }
            Act::RevokeRun => {
                let run = World::run_id(u32::from(n) + 1);
                match self.world.fleet.state().run(&run).map(|run| run.state) {
                    Some(RunState::Leased { fence, .. }) => {
                        self.ask(&RevokeRun::new(run, fence), &by, Held::Revoked)
                    }
                    _ => false,
                }
            }
            Act::SetPolicy => self.ask(&SetPolicy { policy: World::policy(rules) }, &by, Held::Managed),
        }
    }

    fn manage(&mut self, command: DeviceCommand) -> bool {
        self.ask(&ManageDevice::new(command), &World::operator(), Held::Managed)
    }

    /// The worker presents its next certificate, where the fleet knows that.
    pub fn switch(&mut self, n: u8) {
        let before = std::mem::replace(&mut self.workers[usize::from(n)].next, true);
        let principal = self.device(n);
        if !self.ask(&ConfirmUse {}, &principal, Held::Nothing) {
            self.workers[usize::from(n)].next = before;
        }
    }

    /// The coordinator dies, and comes back from the records that last and `kept` of those that were being written.
    pub fn crash(&mut self, kept: bool) {
        if kept && let Some(batch) = self.world.fleet.take_journal() {
            self.world.journal.extend_from_slice(&batch.bytes);
            self.lasting = self.promises.clone();
        }
        if !kept {
            self.forget_used();
        }
        self.held.clear();
        self.promises = self.lasting.clone();
        let before = kept.then(|| self.world.fleet.state().clone());
        self.world.crash();
        let after = self.world.fleet.state();
        // Invariant 8: what was folded again is what was folded then; the record that takes over comes on top.
        let same = before.is_none_or(|before| {
            after.version() == before.version() + 1
                && before.runs().eq(after.runs())
                && before.workers().eq(after.workers())
                && before.devices() == after.devices()
        });
        if !same {
            self.break_promise("invariant 8: recovery folds another state");
        }
        if let Some(gate) = &mut self.gate {
            gate.restart(&self.world);
        }
    }

    /// What was spent may not be, where records are lost.
    fn forget_used(&mut self) {
        self.grants.fill(None);
        for worker in &mut self.workers {
            worker.nonce.take_if(|nonce| nonce.used);
        }
    }

    /// The coordinator is restored from what it was at the beginning.
    pub fn restore(&mut self) {
        let epoch = Epoch(self.world.fleet.state().epoch().0 + 1);
        self.forget_used();
        self.held.clear();
        let live: Vec<Fence> = self.world.fleet.state().live_leases().map(|lease| lease.fence).collect();
        let (backup, now) = (self.backup.clone(), self.world.now.mono);
        self.promises.restored(&backup.promises, live.into_iter(), now);
        self.lasting = self.promises.clone();
        self.world.restore_stale(&backup.snapshot, epoch);
        if let Some(gate) = &mut self.gate {
            gate.restart(&self.world);
        }
    }
}
