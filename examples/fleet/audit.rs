//! What must hold at the end of the show, checked on the entries by somebody who took no part in the decisions.

use std::collections::{BTreeMap, BTreeSet};

use leasehold::{
    id::{GrantId, RunId, WorkerId},
    lease::Fence,
};

use crate::process_log::{LogEntry, Outcome};

/// Follows the entries and remembers what did not hold.
#[derive(Default)]
pub struct Audit {
    jobs: BTreeSet<RunId>,
    ended: BTreeMap<RunId, Outcome>,
    grants: BTreeSet<GrantId>,
    newest: Option<Fence>,
    /// Fences of leases that have not ended, by worker and by run.
    by_worker: BTreeMap<WorkerId, Fence>,
    by_run: BTreeMap<RunId, Fence>,
    /// Every lease there was, and its holder.
    holders: BTreeMap<Fence, WorkerId>,
    /// Requests that the proxy allowed. They are compared at the end, since its entries come by another way.
    allowed: Vec<(Option<Fence>, String, String)>,
    recovered: bool,
    violations: Vec<String>,
}

impl Audit {
    /// An audit that expects one terminal record for each of `jobs`.
    pub fn of(jobs: impl IntoIterator<Item = RunId>) -> Self {
        Self { jobs: jobs.into_iter().collect(), ..Self::default() }
    }

    fn broken(&mut self, what: String) {
        // One cause can show itself at every further note.
        if self.violations.len() < 100 {
            self.violations.push(what);
        }
    }

    /// Takes one note into account.
    pub fn record(&mut self, entry: &LogEntry) {
        match entry {
            LogEntry::Leased { run, worker, grant, fence, .. } => {
                // Invariant 2.
                if self.newest.is_some_and(|newest| *fence <= newest) {
                    self.broken(format!("fence {fence} came after a larger one"));
                }
                self.newest = Some(*fence);
                self.holders.insert(*fence, worker.clone());
                // Invariant 1.
                if !self.grants.insert(grant.clone()) {
                    self.broken(format!("grant {grant} was spent twice"));
                }
                if let Some(other) = self.by_worker.insert(worker.clone(), *fence) {
                    self.broken(format!("{worker} holds {other} and got {fence}"));
                }
                if let Some(other) = self.by_run.insert(run.clone(), *fence) {
                    self.broken(format!("{run} is leased under {other} and again under {fence}"));
                }
                if self.ended.contains_key(run) {
                    self.broken(format!("{run} was leased after its end"));
                }
            }
            LogEntry::Started { fence, run } | LogEntry::Renewed { fence, run }
                // Invariant 6.
                if self.by_run.get(run) != Some(fence) =>
            {
                self.broken(format!("{run} went on under {fence}, which is not its lease"));
            }
            LogEntry::LeaseEnded { run, worker, fence, .. } => {
                let was = (self.by_run.remove(run), self.by_worker.remove(worker));
                if was != (Some(*fence), Some(*fence)) {
                    self.broken(format!("lease {fence} ended and was not there"));
                }
            }
            LogEntry::Ended { run, outcome, .. } => {
                if !self.jobs.contains(run) {
                    self.broken(format!("{run} ended and was never submitted"));
                }
                if self.ended.insert(run.clone(), *outcome).is_some() {
                    self.broken(format!("{run} has two terminal records"));
                }
            }
            LogEntry::Egress { allowed: true, fence, peer, target, .. } => {
                self.allowed.push((*fence, peer.clone(), target.clone()));
            }
            LogEntry::Recovered { live, replayed } => {
                self.recovered = true;
                // Invariant 8.
                if live != replayed {
                    self.broken("the journal replays to another state than the one that decided".into());
                }
            }
            LogEntry::Hostile { peer, attempt, refused: false, .. } => {
                self.broken(format!("{peer} was not refused: {attempt}"));
            }
            LogEntry::Cleaned { fence, by, remaining, .. } if *remaining > 0 => {
                self.broken(format!("{by} found {remaining} entries left under {fence}"));
            }
            LogEntry::Fault { message } => self.broken(message.clone()),
            _ => {}
        }
    }

    /// Everything that did not hold, now that all is over. `served` is what the origin counted.
    pub fn finish(mut self, served: u64) -> Vec<String> {
        let open: Vec<RunId> =
            self.jobs.iter().filter(|run| !self.ended.contains_key(*run)).cloned().collect();
        for run in open {
            self.broken(format!("{run} has no terminal record"));
        }
        let allowed = std::mem::take(&mut self.allowed);
        if served > allowed.len() as u64 {
            self.broken(format!("the origin served {served} requests, the proxy allowed {}", allowed.len()));
        }
        // Invariant 9.
        for (fence, peer, target) in allowed {
            match fence.and_then(|fence| self.holders.get(&fence)).map(WorkerId::to_string) {
                Some(holder) if holder == peer => {}
                Some(holder) => {
                    self.broken(format!("egress of {peer} to {target} went under a lease of {holder}"))
                }
                None => self.broken(format!("egress to {target} was allowed without a lease")),
            }
        }
        if !self.recovered {
            self.broken("nobody replayed the journal".into());
        }
        self.violations
    }
}

#[cfg(test)]
mod tests {
    use leasehold::lease::Epoch;

    use super::*;

    fn id<T: std::str::FromStr>(text: &str) -> T {
        text.parse().unwrap_or_else(|_| panic!("{text} is no id"))
    }

    fn leased(run: &str, worker: &str, grant: &str, counter: u64) -> LogEntry {
        let fence = Fence::new(Epoch(1), counter);
        LogEntry::Leased { run: id(run), worker: id(worker), attempt: 1, grant: id(grant), fence }
    }

    fn lost(run: &str, worker: &str, counter: u64) -> LogEntry {
        let fence = Fence::new(Epoch(1), counter);
        LogEntry::LeaseEnded { run: id(run), worker: id(worker), fence, how: "expired".into() }
    }

    fn ended(run: &str) -> LogEntry {
        let outcome = Outcome::Done;
        LogEntry::Ended {
            run: id(run),
            outcome,
            reason: String::new(),
            attempts: 1,
            started_ms: None,
            ended_ms: 1,
        }
    }

    fn allowed(worker: &str, counter: u64) -> LogEntry {
        let (peer, fence) = (worker.to_owned(), Some(Fence::new(Epoch(1), counter)));
        let (code, message, target) = ("egress.allowed".into(), String::new(), "x".into());
        LogEntry::Egress { peer, fence, allowed: true, code, message, target }
    }

    /// The audit finds what it is there to find, and nothing in an orderly story.
    #[test]
    fn every_kind_of_violation_is_found() {
        let orderly =
            [leased("a", "w", "g1", 1), lost("a", "w", 1), leased("a", "w", "g2", 2), lost("a", "w", 2)];
        let replayed = LogEntry::Recovered { live: "x".into(), replayed: "x".into() };
        let orderly = || orderly.iter().cloned().chain([ended("a"), replayed.clone()]);
        let stories: &[(&[LogEntry], usize)] = &[
            (&[], 0),
            (&[ended("a")], 1),
            (&[ended("stranger")], 1),
            (&[leased("b", "w", "g3", 2)], 1),
            (&[leased("b", "w", "g2", 3)], 1),
            (&[leased("b", "w", "g3", 3), leased("b", "v", "g4", 4)], 1),
            (&[leased("b", "w", "g3", 3), leased("c", "w", "g4", 4)], 1),
            (&[leased("a", "w", "g3", 3)], 1),
            (&[lost("a", "w", 2)], 1),
            (&[LogEntry::Started { run: id("a"), fence: Fence::new(Epoch(1), 1) }], 1),
            (&[LogEntry::Recovered { live: "x".into(), replayed: "y".into() }], 1),
            (&[allowed("w", 1)], 0),
            (&[allowed("v", 1)], 1),
            (&[allowed("w", 9)], 1),
        ];
        for (at, (more, want)) in stories.iter().enumerate() {
            let mut audit = Audit::of([id("a")]);
            orderly().chain(more.iter().cloned()).for_each(|entry| audit.record(&entry));
            let found = audit.finish(0);
            assert_eq!(found.len(), *want, "story {at}: {found:?}");
        }
        let nothing = Audit::of([id("a")]).finish(1);
        assert_eq!(nothing.len(), 3, "no record, a request that nobody allowed, no replay: {nothing:?}");
    }
}
