//! The jobs of this service: which wait, which are leased, which have their terminal record.
//!
//! The library has no queue of runs on purpose; this is the one of the example, and it decides nothing about leases.

use std::collections::{BTreeMap, VecDeque};

use leasehold::{
    fleet::{FleetState, RunState},
    id::RunId,
    lease::Fence,
    time::Mono,
};

use crate::{
    jobs::Job,
    process_log::{LogEntry, Outcome},
};

/// A job without a lease.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// The job.
    pub job: Job,
    /// How many leases it has used.
    pub used: u32,
    /// It is not tried again before this.
    pub not_before: Mono,
    submitted: Mono,
    started: Option<Mono>,
    /// Why it lost its last lease.
    lost: Option<String>,
}

/// The queue.
#[derive(Default)]
pub struct Queue {
    waiting: VecDeque<Waiting>,
    leased: BTreeMap<RunId, (Waiting, Fence)>,
    draining: bool,
}

impl Queue {
    /// Takes a job in, and says so.
    pub fn submit(&mut self, job: Job, now: Mono) -> LogEntry {
        let entry = LogEntry::Submitted { run: job.id.clone(), kind: job.work.kind().into() };
        let waiting = Waiting { job, used: 0, not_before: now, submitted: now, started: None, lost: None };
        self.waiting.push_back(waiting);
        entry
    }

    /// The next job that may be tried now. It is out of the queue until it is given back.
    pub fn next(&mut self, now: Mono) -> Option<Waiting> {
        let at = self.waiting.iter().position(|waiting| waiting.not_before <= now)?;
        self.waiting.remove(at)
    }

    /// When the next job may be tried, where one is held.
    pub fn next_try(&self) -> Option<Mono> {
        self.waiting.iter().map(|waiting| waiting.not_before).min()
    }

    /// A job that got no lease waits on, at its place in front.
    pub fn give_back(&mut self, mut waiting: Waiting, not_before: Mono) {
        waiting.not_before = not_before;
        self.waiting.push_front(waiting);
    }

    /// A job got a lease.
    pub fn leased(&mut self, mut waiting: Waiting, fence: Fence) {
        waiting.used += 1;
        self.leased.insert(waiting.job.id.clone(), (waiting, fence));
    }

    /// The job that is leased as `run`.
    pub fn job(&self, run: &RunId) -> Option<&Job> {
        self.leased.get(run).map(|(waiting, _)| &waiting.job)
    }

    /// The run of a lease began.
    pub fn started(&mut self, run: &RunId, now: Mono) {
        if let Some((waiting, _)) = self.leased.get_mut(run) {
            waiting.started.get_or_insert(now);
        }
    }

    /// A run ended under its lease: its terminal record.
    pub fn ended(&mut self, run: &RunId, outcome: Outcome, reason: &str, now: Mono) -> Option<LogEntry> {
        let (waiting, _) = self.leased.remove(run)?;
        Some(waiting.record(outcome, reason, now))
    }

    /// A run lost its lease. It waits again until `held_until`, or has its terminal record now: no attempt is left, or
    /// nothing new is begun.
    pub fn lost(&mut self, run: &RunId, reason: &str, held_until: Mono, now: Mono) -> Option<LogEntry> {
        let (mut waiting, _) = self.leased.remove(run)?;
        if waiting.used >= waiting.job.attempts {
            return Some(waiting.record(Outcome::Lost, reason, now));
        }
        if self.draining {
            return Some(waiting.record(Outcome::Cancelled, reason, now));
        }
        waiting.lost = Some(reason.to_owned());
        waiting.not_before = held_until;
        self.waiting.push_front(waiting);
        None
    }

    /// A job that waits can never run: its terminal record.
    pub fn give_up(waiting: &Waiting, reason: &str, now: Mono) -> LogEntry {
        waiting.record(Outcome::Lost, reason, now)
    }

    /// A job that waits is not run any more: its terminal record.
    pub fn cancel(waiting: &Waiting, now: Mono) -> LogEntry {
        waiting.record(Outcome::Cancelled, "the fleet drains", now)
    }

    /// Goes on with what `state` says of the jobs that wait. Gives the terminal records of those that have ended.
    pub fn resume(&mut self, state: &FleetState, now: Mono) -> Vec<LogEntry> {
        let mut ended = Vec::new();
        for mut waiting in std::mem::take(&mut self.waiting) {
            let Some(run) = state.run(&waiting.job.id) else {
                self.waiting.push_back(waiting);
                continue;
            };
            waiting.used = run.attempts;
            match run.state {
                RunState::Leased { fence, .. } => {
                    self.leased.insert(run.run.clone(), (waiting, fence));
                }
                RunState::Ended { outcome, .. } => {
                    ended.push(waiting.record(Outcome::of(outcome), "ended before this start", now));
                }
                _ if waiting.used >= waiting.job.attempts => {
                    ended.push(waiting.record(Outcome::Lost, "lost before this start", now));
                }
                RunState::Held { until, .. } => {
                    waiting.not_before = until;
                    self.waiting.push_back(waiting);
                }
                _ => self.waiting.push_back(waiting),
            }
        }
        ended
    }

    /// Begins nothing new. Gives the terminal records of the jobs that wait.
    pub fn drain(&mut self, now: Mono) -> Vec<LogEntry> {
        self.draining = true;
        let waiting = std::mem::take(&mut self.waiting);
        waiting.iter().map(|waiting| Self::cancel(waiting, now)).collect()
    }

    /// How many jobs wait, and how many are leased.
    pub fn sizes(&self) -> (usize, usize) {
        (self.waiting.len(), self.leased.len())
    }

    /// Whether every job has its terminal record.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.leased.is_empty()
    }
}

impl Waiting {
    fn record(&self, outcome: Outcome, reason: &str, now: Mono) -> LogEntry {
        let reason = match &self.lost {
            Some(lost) if outcome != Outcome::Done => format!("{reason}; before that, {lost}"),
            _ => reason.to_owned(),
        };
        LogEntry::Ended {
            run: self.job.id.clone(),
            outcome,
            reason,
            attempts: self.used,
            started_ms: self.started.map(|started| started.since(self.submitted).0),
            ended_ms: now.since(self.submitted).0,
        }
    }
}

#[cfg(test)]
mod tests {
    use leasehold::lease::Epoch;

    use super::*;

    fn job(id: &str, attempts: u32) -> Job {
        serde_json::from_value(
            serde_json::json!({ "id": id, "do": { "sleep": { "ms": 1 } }, "attempts": attempts }),
        )
        .unwrap_or_else(|error| panic!("{error}"))
    }

    fn outcome(entry: Option<LogEntry>) -> Option<Outcome> {
        match entry {
            Some(LogEntry::Ended { outcome, .. }) => Some(outcome),
            _ => None,
        }
    }

    /// Every job gets one terminal record, however its attempts end.
    #[test]
    fn one_terminal_record_per_job() {
        let mut queue = Queue::default();
        let fence = |counter| Fence::new(Epoch(1), counter);
        let run: RunId = job("a", 2).id;
        queue.submit(job("a", 2), Mono(0));
        queue.submit(job("b", 1), Mono(0));
        let first = queue.next(Mono(0)).unwrap_or_else(|| panic!("a job"));
        assert_eq!(first.job.id, run);
        queue.leased(first, fence(1));
        assert_eq!(outcome(queue.lost(&run, "silent", Mono(100), Mono(10))), None);
        let second = queue.next(Mono(10)).unwrap_or_else(|| panic!("a job"));
        assert_eq!(second.job.id.as_str(), "b", "the other one is held");
        queue.give_back(second, Mono(500));
        let again = queue.next(Mono(100)).filter(|waiting| waiting.job.id == run);
        queue.leased(again.unwrap_or_else(|| panic!("a job")), fence(2));
        assert_eq!(outcome(queue.lost(&run, "silent", Mono(200), Mono(110))), Some(Outcome::Lost));
        assert_eq!(outcome(queue.ended(&run, Outcome::Done, "late", Mono(120))), None, "one record only");
        assert_eq!(queue.drain(Mono(130)).len(), 1);
        assert!(queue.is_empty());
    }
}
