//! What workers ask of the model: nonces, evidence, heartbeats, and everything under a lease.

use super::*;

impl Model {
    pub(super) fn device(&self, device: u32) -> Did<()> {
        if self.revoked.contains(&device) { Err("device.revoked") } else { Ok(()) }
    }

    pub(super) fn hear(&mut self, device: u32) {
        let now = self.now;
        if let Some(w) = self.by_device(device) {
            self.at(w).heard = now;
        }
    }

    fn heard_now(&mut self, w: u32) {
        self.at(w).heard = self.now;
    }

    pub(super) fn known(&self, from: Sender) -> Did<()> {
        match self.workers.get(&from.worker) {
            Some(worker) if worker.incarnation != from.incarnation => Err("worker.stale_handle"),
            None => Err("worker.stale_handle"),
            Some(worker) if worker.device != from.device => Err("worker.other_device"),
            Some(_) => Ok(()),
        }
    }

    pub fn challenge(&mut self, device: u32) -> Did<Nonce> {
        self.device(device)?;
        self.hear(device);
        Ok(Nonce { device, epoch: self.epoch, issued: self.now, turn: self.turn })
    }

    /// The incarnation that goes on or begins; `None` where the evidence closed the latch of a known worker.
    pub fn attest(
        &mut self,
        device: u32,
        w: u32,
        resume: Option<Sender>,
        nonce: Nonce,
        evidence: &Evidence,
    ) -> Did<Option<u64>> {
        self.device(device)?;
        resume.map_or(Ok(()), |from| self.known(from))?;
        let spent = (nonce.device, nonce.issued, nonce.turn);
        if nonce.device != device {
            return Err("nonce.forged");
        } else if nonce.epoch != self.epoch {
            return Err("nonce.epoch");
        } else if nonce.issued + self.rules.challenge_ttl_ms.0 <= self.now {
            return Err("nonce.expired");
        } else if self.spent_nonces.contains(&spent) {
            return Err("attest.nonce_spent");
        }
        let runs = self.by_device(device);
        if !evidence.good || evidence.capabilities & !self.trusted != 0 {
            let known = runs.ok_or("attest.refused")?;
            self.hear(device);
            self.quarantine(known, QuarantineReason::FailedEvidence);
            self.touched(known);
            return Ok(None);
        }
        match (self.workers.get(&w), runs) {
            (Some(worker), _) if worker.device != device => return Err("attest.other_device"),
            (Some(worker), _) if worker.doing == Retired => return Err("worker.retired"),
            (None, Some(_)) => return Err("attest.device_busy"),
            _ => {}
        }
        if resume.is_some_and(|from| from.worker != w) {
            return Err("worker.stale_handle");
        }
        self.hear(device);
        self.spent_nonces.insert(spent);
        let (taken_in, heard) = (self.quarantines, self.now);
        self.workers.entry(w).or_insert_with(|| Worker::new(device, taken_in, heard));
        if resume.is_none() {
            if self.workers[&w].lease.is_some() {
                self.lose_hard(w, LossReason::Rejoined);
            }
            self.incarnations += 1;
            let incarnation = self.incarnations;
            let worker = self.at(w);
            worker.incarnation = incarnation;
            worker.silent = None;
            if worker.doing == Available {
                worker.doing = Registered;
            }
        }
        let (policy, least) = (self.policy, self.now + self.rules.lease.ttl_min_ms.0);
        let worker = self.at(w);
        worker.evidence = Some((evidence.until, policy));
        if worker.doing == Available && evidence.until < least {
            worker.doing = Registered;
        }
        if let Some(lease) = &mut worker.lease
            && matches!(worker.doing, Assigned | Running)
        {
            lease.expires = lease.expires.min(evidence.until);
        }
        if worker.capabilities != evidence.capabilities || worker.doing != Available {
            // Another kind of worker, or one that does not wait: it waits from now on, if it does.
            worker.waits = 0;
        }
        worker.capabilities = evidence.capabilities;
        paid(&mut worker.latch.evidence, nonce.turn);
        if let Some(debt) = &mut worker.debt {
            paid(&mut debt.evidence, nonce.turn);
        }
        if worker.doing == Offline {
            worker.doing = Registered;
        }
        let incarnation = worker.incarnation;
        self.settle(w);
        self.touched(w);
        Ok(Some(incarnation))
    }

    pub fn heartbeat(&mut self, from: Sender) -> Did<()> {
        self.device(from.device)?;
        self.known(from)?;
        let (w, now) = (from.worker, self.now);
        if self.workers[&w].doing == Retired {
            return Err("worker.retired");
        }
        let worker = self.at(w);
        let was_silent = worker.silent.take().is_some();
        worker.heard = now;
        // One that was heard all the time and still can be given no lease stays as it is.
        if matches!(worker.doing, Registered | Offline) && (was_silent || self.fit(w)) {
            self.go_idle(w);
            self.touched(w);
        }
        Ok(())
    }

    fn holds(&self, act: LeaseAct, from: Sender, fence: Fence) -> Did<&Lease> {
        use LeaseAct::*;
        self.device(from.device)?;
        self.known(from)?;
        let worker = &self.workers[&from.worker];
        if worker.lease.as_ref().is_some_and(|lease| lease.fence != fence) {
            return Err("lease.stale_fence");
        }
        match (act, worker.doing) {
            (_, Retired) => return Err("worker.retired"),
            (Start, Assigned) | (Renew, Assigned | Running) | (Complete, Running)
                if self.quarantined(from.worker) =>
            {
                return Err("worker.quarantined");
            }
            (Start, Assigned) | (Renew, Assigned | Running) | (Complete, Running) | (Clean, CleaningUp) => {}
            (Acknowledge, Revoking) => {}
            (Acknowledge, Assigned | Running | CleaningUp) => return Err("lease.not_revoked"),
            (Start, Running) => return Err("lease.already_started"),
            (Complete, Assigned) => return Err("lease.not_started"),
            (Clean, Assigned | Running) => return Err("lease.not_cleaning_up"),
            (_, CleaningUp) => return Err("lease.cleaning_up"),
            (_, Revoking) => return Err("lease.revoked"),
            _ => return Err("lease.none"),
        }
        let lease = worker.lease.as_ref().ok_or("lease.none")?;
        // A lease that was taken back has a deadline of its own.
        let end = lease.revoked.map_or(lease.expires, |(_, by)| by);
        // What the sweep of another policy would take back is void already.
        let void = self.unjudged(from.worker) && self.in_time(from.worker) && !self.attested(from.worker);
        match act {
            _ if self.now >= end => Err("lease.expired"),
            Start | Complete if void => Err("evidence.not_in_force"),
            _ => Ok(lease),
        }
    }

    pub fn start(&mut self, from: Sender, fence: Fence) -> Did<u64> {
        let lease = self.holds(LeaseAct::Start, from, fence)?;
        if self.now >= lease.granted + self.rules.lease.start_ms.0 {
            return Err("lease.expired");
        }
        let left = lease.expires - self.now;
        self.heard_now(from.worker);
        self.at(from.worker).doing = Running;
        self.touched(from.worker);
        Ok(left)
    }

    pub fn renew(&mut self, from: Sender, fence: Fence) -> Did<u64> {
        let lease = self.holds(LeaseAct::Renew, from, fence)?;
        if !self.attested(from.worker) {
            return Err("evidence.not_in_force");
        }
        // The earliest of the fleet's longest lease, the grant, and the evidence that is in force now.
        let until = self.workers[&from.worker].evidence.map_or(0, |(until, _)| until);
        let rules = &self.rules.lease;
        let end = (lease.granted + rules.longest_ms.0).min(lease.grant_ends).min(until);
        if lease.expires >= end && lease.promised <= lease.expires {
            return Err("lease.horizon");
        }
        let most = (self.now + rules.ttl_max_ms.0).min(end);
        let gain = most.saturating_sub(lease.expires);
        let little = gain <= rules.renew_every_ms.0 / 2 && (gain == 0 || most != end);
        self.heard_now(from.worker);
        let now = self.now;
        let lease = self.at(from.worker).lease.as_mut().expect("a lease");
        if !little {
            (lease.expires, lease.promised) = (most, lease.promised.max(most));
        }
        let left = lease.expires.min(end) - now;
        self.touched(from.worker);
        Ok(left)
    }

    pub fn complete(
        &mut self,
        from: Sender,
        fence: Fence,
        outcome: RunOutcome,
        outputs: Outputs,
        cleanup: Option<Did<()>>,
    ) -> Did<Verdict> {
        let run = self.holds(LeaseAct::Complete, from, fence)?.run;
        let w = from.worker;
        self.heard_now(from.worker);
        let verdict = if outputs == Outputs::Lie {
            self.lose_hard(w, LossReason::Output);
            self.close(w, QuarantineReason::FailedOutput);
            Verdict::OutputRefused
        } else if outputs == Outputs::Excess {
            self.runs.get_mut(&run).expect("a run").1 = Run::Ended(Some(RunOutcome::Failed));
            self.lose_hard(w, LossReason::Output);
            Verdict::OutputExcess
        } else {
            self.runs.get_mut(&run).expect("a run").1 = Run::Ended(Some(outcome));
            self.at(w).doing = CleaningUp;
            cleanup.map_or(Verdict::CleanupAwaited, |cleanup| self.clean(w, cleanup))
        };
        self.touched(w);
        Ok(verdict)
    }

    pub fn report_cleanup(&mut self, from: Sender, fence: Fence, cleanup: Did<()>) -> Did<Verdict> {
        let w = from.worker;
        let verdict = match self.workers.get(&w).and_then(|worker| worker.debt.clone()) {
            Some(debt) if self.device(from.device).and(self.known(from)).is_ok() => {
                debt.owes(fence)?;
                cleanup?;
                self.paid_cleanup(w);
                Verdict::Clean
            }
            _ => {
                self.holds(LeaseAct::Clean, from, fence)?;
                self.clean(w, cleanup)
            }
        };
        self.heard_now(from.worker);
        self.touched(w);
        Ok(verdict)
    }

    pub(super) fn paid_cleanup(&mut self, w: u32) {
        let worker = self.at(w);
        worker.latch.cleanup = false;
        worker.debt.as_mut().expect("a debt").cleanup = false;
        self.settle(w);
    }

    pub fn acknowledge(&mut self, from: Sender, fence: Fence, cleanup: Option<Did<()>>) -> Did<Verdict> {
        let revoked = self.holds(LeaseAct::Acknowledge, from, fence)?.revoked;
        let w = from.worker;
        self.heard_now(from.worker);
        let verdict = match cleanup {
            Some(cleanup) => self.clean(w, cleanup),
            None => {
                self.lose(w, revoked.expect("a revocation").0, self.now);
                Verdict::CleanupAwaited
            }
        };
        self.touched(w);
        Ok(verdict)
    }
}
