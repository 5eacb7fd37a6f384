//! What the coordinator's thread does for the operator's console, and what it says while jobs wait.

use std::time::{Duration, Instant};

use leasehold::{
    code,
    coordinator::{LocalAnswer, OperatorCommand},
    fleet::{AcceptWall, Drain, ForceCleanup, Release, Retire},
    lease::{Epoch, Fence},
};

use super::Process;
use crate::{
    Failure,
    console::{Act, Answer, Asked},
    ledger::word,
    process_log::{LogEntry, tell},
};

/// Waiting for less than this is how a fleet works.
const WORTH_SAYING: Duration = Duration::from_secs(2);
/// What is still so is said again after this.
const AGAIN: Duration = Duration::from_secs(15);

/// What jobs wait for, and since when.
#[derive(Default)]
pub(super) struct Waiting {
    since: Option<Instant>,
    said: Option<(String, Instant)>,
}

impl Process {
    /// Carries out what the operator asked, or has the fleet decide it.
    pub(super) fn console(&mut self, asked: Asked) -> Result<(), Failure> {
        let state = self.control.coordinator.fleet().state();
        let command = match asked.act {
            Act::Status {} => {
                let text = self.status();
                // An operator who is gone has asked for nothing.
                let _ = asked.answer.send(Answer::Done { text });
                return Ok(());
            }
            Act::Drain { worker: None } => {
                self.control.drain();
                let text = "no more jobs are begun, and what runs is finished".into();
                let _ = asked.answer.send(Answer::Done { text });
                return Ok(());
            }
            Act::Drain { worker: Some(worker) } => OperatorCommand::Drain(Drain { worker }),
            Act::Release { worker } => OperatorCommand::Release(Release { worker }),
            Act::Retire { worker } => OperatorCommand::Retire(Retire { worker }),
            Act::AcceptWall {} => OperatorCommand::AcceptWall(AcceptWall {}),
            Act::ForceCleanup { worker } => {
                let owes = state.worker(&worker).and_then(|view| view.owes);
                // Where nothing is owed, or nobody has that name, the fleet says so.
                let fence = owes.map_or(Fence::new(Epoch(0), 0), |debt| debt.fence);
                OperatorCommand::ForceCleanup(ForceCleanup { worker, fence })
            }
        };
        let tag = self.control.command(command)?;
        self.asked.insert(tag, asked.answer);
        self.settle()
    }

    /// The fleet's answer to an operator. False: it was not an operator who asked.
    pub(super) fn answer_operator(
        &mut self,
        tag: leasehold::coordinator::RequestTag,
        answer: &LocalAnswer,
    ) -> bool {
        let Some(operator) = self.asked.remove(&tag) else { return false };
        let answer = match answer {
            LocalAnswer::Managed(Ok(managed)) => {
                let state = managed.state.map_or("done".into(), |state| format!("done: {}", word(&state)));
                Answer::Done { text: state }
            }
            LocalAnswer::Managed(Err(error)) => Answer::refused(error),
            other => Answer::Done { text: format!("{other:?}") },
        };
        let _ = operator.send(answer);
        true
    }

    fn status(&self) -> String {
        let state = self.control.coordinator.fleet().state();
        let counts = state.counts();
        let mut lines = vec![format!(
            "epoch {}: {} workers, {} available, {} leased, {} offline, {} draining, {} orphaned, {} quarantined, {} retired",
            state.epoch(),
            counts.total,
            counts.available,
            counts.leased,
            counts.offline,
            counts.draining,
            counts.orphaned,
            counts.quarantined,
            counts.retired,
        )];
        for worker in state.workers() {
            let reasons: Vec<String> = worker.reasons.iter().map(word).collect();
            let mut line = format!("{}: {}", worker.id, word(&worker.state));
            if !reasons.is_empty() {
                line += &format!(" ({})", reasons.join(", "));
            }
            if let Some(lease) = worker.lease {
                line += &format!(", holds {} for {}", lease.fence, lease.terms.run);
            }
            if let Some(debt) = worker.owes {
                line += &format!(", owes for {}", debt.fence);
            }
            lines.push(line);
        }
        let (waiting, leased) = self.control.service.jobs();
        lines.push(format!("jobs: {waiting} waiting, {leased} leased"));
        lines.extend(self.why().map(|why| format!("waiting because {why}")));
        lines.join("\n")
    }

    /// Why no job that waits is begun, where none runs either.
    fn why(&self) -> Option<String> {
        let fleet = self.control.coordinator.fleet();
        let counts = fleet.state().counts();
        if self.control.service.jobs().0 == 0 || counts.leased > 0 {
            return None;
        }
        let refused = self.control.service.refused();
        // A clock that cannot be believed makes workers silent as well.
        if counts.available > 0
            || refused.is_some_and(|refused| refused.starts_with(code::TIME_WALL_LEAP.as_str()))
        {
            return refused.map(str::to_owned);
        }
        let out = [
            (counts.registered, "not heard yet"),
            (counts.offline, "silent"),
            (counts.draining, "draining"),
            (counts.orphaned, "owing cleanup (they clean up, or `force-cleanup`)"),
            (counts.quarantined, "quarantined (fresh evidence, and `release` where an operator has to)"),
            (counts.retired, "retired"),
        ];
        let out: Vec<String> =
            out.iter().filter(|(count, _)| *count > 0).map(|(count, how)| format!("{count} {how}")).collect();
        Some(match out.is_empty() {
            true => "no worker has joined".into(),
            false => format!("no worker is available: {}", out.join(", ")),
        })
    }

    /// Says what jobs wait for, when they have waited for a while, when that changes, and now and then.
    pub(super) fn say_why(&mut self) {
        let Some(why) = self.why().filter(|_| !self.stopping) else {
            self.waiting = Waiting::default();
            return;
        };
        let since = *self.waiting.since.get_or_insert_with(Instant::now);
        let said = self.waiting.said.as_ref();
        let known = said.is_some_and(|(said, at)| *said == why && at.elapsed() < AGAIN);
        if since.elapsed() >= WORTH_SAYING && !known {
            tell(&LogEntry::Waiting { why: why.clone() });
            self.waiting.said = Some((why, Instant::now()));
        }
    }
}
