//! What services and operators ask of the model: leases, and power over workers, runs, devices and policy.

use super::*;

impl Model {
    pub fn acquire(&mut self, ask: &Ask) -> Did<(u32, Lease)> {
        if ask.grant_ends <= self.now {
            return Err("grant.expired");
        } else if self.spent_grants.contains(&ask.grant) {
            return Err("grant.spent");
        }
        let attempts = match self.runs.get(&ask.run) {
            None => 0,
            Some((_, Run::Leased { .. })) => return Err("run.leased"),
            Some((_, Run::Ended(_))) => return Err("run.ended"),
            Some((_, Run::Held { until, .. })) if self.now < *self.late.get(&ask.run).unwrap_or(until) => {
                return Err("run.held");
            }
            Some((_, Run::Held { reason: Some(LossReason::Silent), .. })) if self.brake() => {
                return Err("fleet.brake");
            }
            Some((attempts, _)) if *attempts >= self.rules.runs.max_attempts => {
                return Err("run.no_attempts");
            }
            Some((attempts, _)) => *attempts,
        };
        let rules = &self.rules.lease;
        if (ask.grant_ends - self.now).min(rules.longest_ms.0).min(ask.ttl) < rules.ttl_min_ms.0 {
            return Err("lease.too_short");
        }
        let (w, horizon) = match ask.on {
            Some(w) => (w, self.serves(w, ask)?),
            None => self.first(ask)?,
        };
        self.counter += 1;
        let ttl = ask.ttl.min(self.rules.lease.ttl_max_ms.0);
        let lease = Lease {
            run: ask.run,
            fence: (self.epoch, self.counter),
            attempt: attempts + 1,
            granted: self.now,
            expires: (self.now + ttl).min(horizon),
            promised: (self.now + ttl).min(horizon),
            grant_ends: ask.grant_ends,
            horizon,
            revoked: None,
        };
        self.spent_grants.insert(ask.grant);
        self.runs.insert(ask.run, (attempts + 1, Run::Leased { worker: w, fence: lease.fence }));
        let worker = self.at(w);
        worker.doing = Assigned;
        worker.lease = Some(lease.clone());
        self.touched(w);
        Ok((w, lease))
    }

    /// Whoever can serve and waits longest. Those before it that can be given no lease at all wait no longer.
    fn first(&mut self, ask: &Ask) -> Did<(u32, u64)> {
        let able = |worker: &Worker| worker.waits > 0 && ask.capabilities & !worker.capabilities == 0;
        let waiting = self.workers.iter().filter(|(_, worker)| able(worker));
        let mut waiting: Vec<_> = waiting.map(|(w, worker)| (worker.waits, *w)).collect();
        waiting.sort_unstable();
        let mut refusal = "fleet.no_worker";
        for (at, (_, w)) in waiting.iter().enumerate() {
            match self.serves(*w, ask) {
                Ok(horizon) => {
                    waiting[..at].iter().for_each(|(_, unfit)| self.take_out(*unfit));
                    return Ok((*w, horizon));
                }
                Err("lease.too_short") => refusal = "lease.too_short",
                Err(_) => {}
            }
        }
        Err(refusal)
    }

    /// Until when a lease of this worker could be renewed at most.
    fn serves(&self, w: u32, ask: &Ask) -> Did<u64> {
        let worker = self.workers.get(&w).ok_or("worker.unknown")?;
        match worker.doing {
            Retired => return Err("worker.retired"),
            _ if self.quarantined(w) => return Err("worker.quarantined"),
            Registered => return Err("worker.not_available"),
            Offline => return Err("worker.offline"),
            Orphaned => return Err("worker.orphaned"),
            Available if worker.draining => return Err("worker.draining"),
            Available => {}
            _ => return Err("worker.busy"),
        }
        if ask.capabilities & !worker.capabilities != 0 {
            return Err("worker.capabilities");
        } else if !self.heard(w) {
            return Err("worker.not_heard");
        } else if !self.attested(w) {
            return Err("evidence.not_in_force");
        }
        self.device(worker.device)?;
        let longest = self.now + self.rules.lease.longest_ms.0;
        let evidence = worker.evidence.map_or(0, |(until, _)| until);
        let horizon = longest.min(ask.grant_ends).min(evidence);
        let short = evidence - self.now < self.rules.lease.ttl_min_ms.0;
        if short { Err("lease.too_short") } else { Ok(horizon) }
    }

    fn brake(&self) -> bool {
        let known = self.workers.values().filter(|worker| worker.doing != Retired);
        let of = known.filter(|worker| worker.silent.is_none_or(|wave| wave == self.wave.0)).count() as u64;
        let together = |worker: &&Worker| worker.silent == Some(self.wave.0);
        let silent = self.workers.values().filter(together).count() as u64;
        let rules = &self.rules.liveness;
        of >= rules.brake_min_workers.into()
            && silent > 0
            && silent * 100 >= of * u64::from(rules.brake_percent)
            && self.now < self.wave.1 + rules.brake_hold_ms.0
    }

    pub fn revoke_run(&mut self, run: u32, fence: Fence, why: LossReason) -> Did<()> {
        let w = match self.runs.get(&run).ok_or("run.unknown")?.1 {
            Run::Leased { worker, fence: live } if live == fence => worker,
            Run::Leased { .. } => return Err("lease.stale_fence"),
            _ => return Err("lease.none"),
        };
        if self.workers[&w].doing == Revoking {
            return Err("lease.revoked");
        }
        self.take_back(w, why);
        self.touched(w);
        Ok(())
    }

    /// The worker that an operator names.
    fn named(&self, w: u32) -> Did<()> {
        let worker = self.workers.get(&w).ok_or("worker.unknown")?;
        if worker.doing == Retired { Err("worker.retired") } else { Ok(()) }
    }

    pub fn quarantine_worker(&mut self, w: u32) -> Did<View> {
        self.named(w)?;
        self.quarantine(w, QuarantineReason::Operator);
        self.done(w)
    }

    fn done(&mut self, w: u32) -> Did<View> {
        self.touched(w);
        Ok(self.view(w))
    }

    pub fn release(&mut self, w: u32) -> Did<View> {
        self.named(w)?;
        let pending = self.workers[&w].taken_in < self.quarantines;
        if !pending && !self.workers[&w].latch.release {
            return Err("worker.not_quarantined");
        }
        if pending {
            self.close(w, QuarantineReason::Operator);
        }
        self.at(w).latch.release = false;
        self.settle(w);
        self.done(w)
    }

    pub fn drain(&mut self, w: u32, draining: bool) -> Did<View> {
        self.named(w)?;
        match (self.workers[&w].draining, draining) {
            (true, true) => return Err("worker.draining"),
            (false, false) => return Err("worker.not_draining"),
            _ => self.at(w).draining = draining,
        }
        self.done(w)
    }

    pub fn reverify(&mut self, w: u32) -> Did<View> {
        self.named(w)?;
        let worker = self.at(w);
        worker.evidence = None;
        if worker.doing == Available {
            worker.doing = Registered;
        }
        self.done(w)
    }

    pub fn retire(&mut self, w: u32) -> Did<View> {
        self.named(w)?;
        let now = self.now;
        let worker = self.at(w);
        if worker.lease.is_some() {
            return Err("worker.busy");
        }
        (worker.doing, worker.retired, worker.silent, worker.debt) = (Retired, now, None, None);
        self.done(w)
    }

    pub fn force_cleanup(&mut self, w: u32, fence: Fence) -> Did<()> {
        self.named(w)?;
        let debt = self.workers[&w].debt.clone().ok_or("lease.not_cleaning_up")?;
        debt.owes(fence)?;
        self.paid_cleanup(w);
        self.touched(w);
        Ok(())
    }

    pub fn quarantine_all(&mut self) {
        self.quarantines += 1;
        self.turn += 1;
        self.workers.values_mut().for_each(|worker| worker.waits = 0);
    }

    pub fn set_policy(&mut self, rules: WorkerFleetPolicyForm) {
        self.trusted = trusted(&rules);
        self.rules = rules;
        self.policy += 1;
        self.turn += 1;
    }

    pub fn revoke_device(&mut self, device: u32) -> Did<()> {
        if !self.revoked.insert(device) {
            return Err("revocation.exists");
        }
        self.turn += 1;
        if let Some(w) = self.by_device(device) {
            if self.workers[&w].lease.is_some() {
                self.lose_hard(w, LossReason::DeviceRevoked);
            }
            let worker = self.at(w);
            worker.evidence = None;
            if worker.doing == Available {
                worker.doing = Registered;
            }
            self.touched(w);
        }
        Ok(())
    }
}
