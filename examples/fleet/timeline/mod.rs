//! What happened, on one line of time: a lane for each worker with its leases, and marks for everything else.
//!
//! [`Timeline`] is filled note by note, from a fleet that runs or from the lines of an event log, and [`page`] writes it
//! as one HTML page.

pub mod log;
mod page;

use std::{collections::BTreeMap, fs, path::Path};

use leasehold::lease::Fence;

use crate::{
    Failure,
    process_log::{LogEntry, Outcome},
};

pub use page::page;

/// The most leases and the most marks that are kept; what is over is counted.
const MAX_KEPT: usize = 20_000;
/// The lane of what concerns no worker.
const FLEET: &str = "fleet";

/// Reads the event log `events` and writes its page to `out`.
///
/// # Errors
/// Where the log cannot be read or the page not be written; the message names the file.
pub fn make(events: &Path, out: &Path) -> Result<(), Failure> {
    let timeline = log::read(events)?;
    let title = format!("The run of {}", events.display());
    fs::write(out, page(&timeline, &title, None))
        .map_err(|error| Failure::new(format!("{}: {error}", out.display())))
}

/// A lease, from grant to end.
pub struct Span {
    worker: String,
    run: String,
    fence: Fence,
    attempt: u32,
    granted_ms: u64,
    started_ms: Option<u64>,
    renewals: u32,
    end: Option<(u64, String)>,
}

/// How much attention something asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// A refusal that was due, or a change of state.
    Note,
    /// A loss.
    Bad,
}

/// Something that happened at one instant.
pub struct Mark {
    lane: String,
    at_ms: u64,
    tone: Tone,
    kind: &'static str,
    text: String,
}

/// The terminal record of a job.
pub struct Ending {
    run: String,
    outcome: Outcome,
    reason: String,
    attempts: u32,
    waited_ms: Option<u64>,
    took_ms: u64,
}

/// Everything that the page shows.
#[derive(Default)]
pub struct Timeline {
    last_ms: u64,
    lanes: BTreeMap<String, u32>,
    spans: Vec<Span>,
    /// The place of each lease in `spans`.
    places: BTreeMap<Fence, usize>,
    marks: Vec<Mark>,
    endings: Vec<Ending>,
    codes: BTreeMap<String, u64>,
    left_out: u64,
}

impl Timeline {
    /// Takes what `from` said at `at_ms`, in milliseconds since the fleet was started.
    pub fn record(&mut self, at_ms: u64, from: &str, entry: &LogEntry) {
        self.last_ms = self.last_ms.max(at_ms);
        match entry {
            LogEntry::Leased { run, worker, attempt, fence, .. } => {
                self.lane(worker.as_str());
                if self.spans.len() >= MAX_KEPT {
                    self.left_out += 1;
                    return;
                }
                self.places.insert(*fence, self.spans.len());
                self.spans.push(Span {
                    worker: worker.to_string(),
                    run: run.to_string(),
                    fence: *fence,
                    attempt: *attempt,
                    granted_ms: at_ms,
                    started_ms: None,
                    renewals: 0,
                    end: None,
                });
            }
            LogEntry::Started { fence, .. } => self.change(*fence, |span| span.started_ms = Some(at_ms)),
            LogEntry::Renewed { fence, .. } => self.change(*fence, |span| span.renewals += 1),
            LogEntry::LeaseEnded { fence, how, .. } => {
                self.change(*fence, |span| span.end = Some((at_ms, how.clone())));
            }
            LogEntry::Ended { run, outcome, reason, attempts, started_ms, ended_ms } => {
                if self.endings.len() >= MAX_KEPT {
                    self.left_out += 1;
                    return;
                }
                self.endings.push(Ending {
                    run: run.to_string(),
                    outcome: *outcome,
                    reason: reason.clone(),
                    attempts: *attempts,
                    waited_ms: *started_ms,
                    took_ms: *ended_ms,
                });
            }
            _ => self.marked(at_ms, from, entry),
        }
    }

    fn marked(&mut self, at_ms: u64, from: &str, entry: &LogEntry) {
        let (lane, tone, kind, text) = match entry {
            LogEntry::Joined { worker, incarnation, .. } => {
                self.lane(worker.as_str());
                (worker.as_str(), Tone::Good, "joined", format!("incarnation {incarnation}"))
            }
            LogEntry::Killed { process, why } => (process.as_str(), Tone::Bad, "killed", why.clone()),
            LogEntry::Quarantined { peer, reason } => {
                (peer.as_str(), Tone::Bad, "quarantined", reason.clone())
            }
            LogEntry::Refused { peer, act, code, message } => {
                self.count(code);
                (peer.as_str(), Tone::Note, "refused", format!("{act}: {code}: {message}"))
            }
            LogEntry::Closed { peer, code } => {
                self.count(code);
                (peer.as_str(), Tone::Note, "connection closed", code.clone())
            }
            LogEntry::Egress { peer, allowed, code, message, target, .. } => {
                self.count(code);
                let (tone, kind) =
                    if *allowed { (Tone::Good, "egress allowed") } else { (Tone::Note, "egress refused") };
                (peer.as_str(), tone, kind, format!("{target}: {code}: {message}"))
            }
            LogEntry::Hostile { peer, attempt, refused, code } => {
                let (tone, kind) =
                    if *refused { (Tone::Note, "attack refused") } else { (Tone::Bad, "attack NOT refused") };
                (FLEET, tone, kind, format!("{peer}: {attempt}: {code}"))
            }
            LogEntry::Policy { generation } => {
                (FLEET, Tone::Note, "policy", format!("generation {generation}"))
            }
            LogEntry::Revoked { device } => (FLEET, Tone::Bad, "revoked", device.to_string()),
            LogEntry::Snapshot { index, bytes } => {
                (FLEET, Tone::Good, "snapshot", format!("up to record {index}, {bytes} bytes"))
            }
            LogEntry::Fault { message } => (from, Tone::Bad, "fault", message.clone()),
            _ => return,
        };
        if self.marks.len() >= MAX_KEPT {
            self.left_out += 1;
            return;
        }
        let lane = self.lane_of(lane);
        self.marks.push(Mark { lane, at_ms, tone, kind, text });
    }

    /// The worker's lane for a worker or its device, and the fleet's for everybody else.
    fn lane_of(&self, peer: &str) -> String {
        let worker = peer.strip_prefix("device-of-").unwrap_or(peer);
        if self.lanes.contains_key(worker) { worker.to_owned() } else { FLEET.to_owned() }
    }

    fn lane(&mut self, worker: &str) {
        let next = u32::try_from(self.lanes.len()).unwrap_or(u32::MAX);
        self.lanes.entry(worker.to_owned()).or_insert(next);
    }

    fn count(&mut self, code: &str) {
        if self.codes.len() < MAX_KEPT || self.codes.contains_key(code) {
            *self.codes.entry(code.to_owned()).or_default() += 1;
        }
    }

    fn change(&mut self, fence: Fence, change: impl FnOnce(&mut Span)) {
        if let Some(span) = self.places.get(&fence).and_then(|at| self.spans.get_mut(*at)) {
            change(span);
        }
    }
}
