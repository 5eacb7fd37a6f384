//! The service that uses the fleet: it asks for leases for its jobs, hands inputs out, and checks what comes back.

use std::collections::{BTreeMap, VecDeque};

use leasehold::{
    code::Coded,
    coordinator::{CoordinatorEvent, LocalAnswer, RequestTag},
    fleet::{Acquire, AcquireError, CommandError, FleetRecord, FleetState},
    id::{FleetId, GrantId, RunId},
    lease::{Epoch, Fence, RelativePath},
    protocol::chunk::{MAX_CHUNK_BYTES, Stream},
    time::{Millis, Mono, Now},
};

use crate::{
    Failure,
    escape::shown,
    jobs::Job,
    ledger::Ledger,
    policy,
    process_log::{LogEntry, Outcome},
    queue::{Queue, Waiting},
    request::{self, Inputs, MAX_OUTPUT},
    work::expected,
};

/// How long a job waits that found no worker.
const NO_WORKER: Millis = Millis(50);

/// A piece of an input on its way: the lease, the file, and where the next piece begins.
pub struct Delivery {
    /// The lease.
    pub fence: Fence,
    files: VecDeque<(RelativePath, Vec<u8>)>,
    at: usize,
}

impl Delivery {
    /// The next piece; `None` when all were taken.
    pub fn piece(&self) -> Option<(&RelativePath, &[u8])> {
        let (path, content) = self.files.front()?;
        let end = content.len().min(self.at + MAX_CHUNK_BYTES);
        Some((path, &content[self.at..end]))
    }

    /// The piece was taken.
    pub fn taken(&mut self) {
        if let Some((_, content)) = self.files.front() {
            self.at = content.len().min(self.at + MAX_CHUNK_BYTES);
            if self.at == content.len() {
                self.files.pop_front();
                self.at = 0;
            }
        }
    }
}

/// The service.
pub struct Service {
    fleet: FleetId,
    ttl: Millis,
    epoch: Epoch,
    queue: Queue,
    ledger: Ledger,
    /// Jobs whose request is under way.
    asked: BTreeMap<RequestTag, Waiting>,
    tags: u64,
    /// What goes into each job.
    inputs: BTreeMap<RunId, Inputs>,
    /// What has come back under each lease that has not ended.
    back: BTreeMap<Fence, BTreeMap<Stream, Vec<u8>>>,
    draining: bool,
    over: bool,
    /// Why the last request got no lease.
    refused: Option<String>,
}

impl Service {
    /// A service with these jobs, which goes on where `state` says that they are. The entries say what that is.
    pub fn new(
        jobs: Vec<Job>,
        state: &FleetState,
        ttl: Millis,
        now: Mono,
    ) -> Result<(Self, Vec<LogEntry>), Failure> {
        let mut service = Self {
            fleet: policy::fleet()?,
            ttl,
            epoch: state.epoch(),
            queue: Queue::default(),
            ledger: Ledger::default(),
            asked: BTreeMap::new(),
            tags: 0,
            inputs: BTreeMap::new(),
            back: BTreeMap::new(),
            draining: false,
            over: false,
            refused: None,
        };
        let mut entries = Vec::new();
        for job in jobs {
            entries.push(service.submit(job, now)?);
        }
        entries.extend(service.ledger.resume(state));
        entries.extend(service.queue.resume(state, now));
        Ok((service, entries))
    }

    /// Takes another job in.
    pub fn submit(&mut self, job: Job, now: Mono) -> Result<LogEntry, Failure> {
        self.inputs.insert(job.id.clone(), request::inputs(&job)?);
        Ok(self.queue.submit(job, now))
    }

    /// A request with a grant of this name, for a run that nobody knows.
    pub fn with_grant(&self, grant: &GrantId, number: u64, now: Now) -> Result<Acquire, Failure> {
        let job = serde_json::json!({ "id": format!("again-{number}"), "do": { "sleep": { "ms": 1 } } });
        let (job, none): (Job, _) = (serde_json::from_value(job)?, Inputs::new());
        let request = request::lease(&job, 1, grant.as_str(), &none, &self.fleet, self.ttl, now)?;
        Ok(Acquire::new(request))
    }

    /// The next request for a lease, where a job waits for one.
    pub fn ask(&mut self, now: Now) -> Result<Option<(RequestTag, Acquire)>, Failure> {
        let Some(waiting) = self.queue.next(now.mono) else { return Ok(None) };
        self.tags += 1;
        let tag = RequestTag(self.tags);
        let none = Inputs::new();
        let inputs = self.inputs.get(&waiting.job.id).unwrap_or(&none);
        let attempt = waiting.used + 1;
        // Every epoch counts anew, and a grant is spent once.
        let grant = format!("grant-{}-{}", self.epoch, self.tags);
        let request = request::lease(&waiting.job, attempt, &grant, inputs, &self.fleet, self.ttl, now)?;
        self.asked.insert(tag, waiting);
        Ok(Some((tag, Acquire::new(request))))
    }

    /// When a job that waits may be tried again.
    pub fn next_try(&self) -> Option<Mono> {
        self.queue.next_try()
    }

    /// The fleet's answer to a request.
    pub fn answered(&mut self, tag: RequestTag, answer: &LocalAnswer, now: Mono) -> Vec<LogEntry> {
        let LocalAnswer::Acquired(answer) = answer else { return Vec::new() };
        let Some(waiting) = self.asked.remove(&tag) else { return Vec::new() };
        let again = match answer {
            Ok(acquired) => {
                self.refused = None;
                self.queue.leased(waiting, acquired.lease.fence);
                return Vec::new();
            }
            Err(AcquireError::RunHeld { until, .. } | AcquireError::Quiet { until, .. }) => *until,
            Err(error) if is_for_good(error) => {
                let message = format!("{}: no lease: {}: {error}", waiting.job.id, error.code());
                return vec![
                    LogEntry::Fault { message },
                    Queue::give_up(&waiting, error.code().as_str(), now),
                ];
            }
            // Ends with time, with a worker, or with an act of an operator.
            Err(error) => {
                self.refused = Some(format!("{}: {error}", error.code()));
                now.plus(NO_WORKER)
            }
        };
        if self.draining {
            return vec![Queue::cancel(&waiting, now)];
        }
        self.queue.give_back(waiting, again);
        Vec::new()
    }

    /// The inputs of a lease, from their beginning.
    pub fn deliver(&self, fence: Fence) -> Option<Delivery> {
        let (run, _) = self.ledger.lease(fence)?;
        let files = self.inputs.get(run)?.iter().cloned().collect();
        Some(Delivery { fence, files, at: 0 })
    }

    /// A piece of what a lease's holder made. The endpoint has bounded and ordered it.
    pub fn artifact(&mut self, fence: Fence, stream: Stream, offset: u64, content: &[u8]) {
        let streams = self.back.entry(fence).or_default();
        let bytes = streams.entry(stream).or_default();
        if offset == 0 {
            bytes.clear();
        }
        if bytes.len() as u64 + content.len() as u64 <= MAX_OUTPUT {
            bytes.extend_from_slice(content);
        }
    }

    /// Records that last: what happened, for the queue and for people.
    pub fn lasting(&mut self, record: &FleetRecord) -> Vec<LogEntry> {
        for (fence, streams) in &self.back {
            let log = streams.get(&Stream::Log).map(Vec::as_slice).unwrap_or_default();
            let last = log.trim_ascii_end().rsplit(|&byte| byte == b'\n').next().unwrap_or_default();
            self.ledger.remark(*fence, shown(&String::from_utf8_lossy(last)));
        }
        // The job, while the queue still has it as leased.
        let ended: Vec<(Fence, Option<Job>)> = self
            .back
            .keys()
            .map(|fence| {
                let run = self.ledger.lease(*fence).map(|(run, _)| run.clone());
                (*fence, run.and_then(|run| self.queue.job(&run).cloned()))
            })
            .collect();
        let entries = self.ledger.read(record, &mut self.queue);
        let mut faults = Vec::new();
        for entry in &entries {
            if let LogEntry::Ended { run, outcome: Outcome::Done, .. } = entry {
                let found = ended.iter().find(|(_, job)| job.as_ref().is_some_and(|job| job.id == *run));
                if let Some((fence, Some(job))) = found {
                    faults.extend(self.check(*fence, job));
                }
            }
        }
        let live = |fence: &Fence| self.ledger.lease(*fence).is_some();
        self.back.retain(|fence, _| live(fence));
        entries.into_iter().chain(faults).collect()
    }

    /// Makes a job's output a second time, and compares.
    fn check(&self, fence: Fence, job: &Job) -> Option<LogEntry> {
        let input = self.inputs.get(&job.id)?.get(1).map(|(_, content)| content.as_slice());
        let (path, want) = expected(&job.work, input.unwrap_or_default())?;
        let path = RelativePath::new(path).ok()?;
        let got = self.back.get(&fence).and_then(|streams| streams.get(&Stream::Output(path)));
        let message = format!("{}: what came back is not what the job makes", job.id);
        (got != Some(&want)).then_some(LogEntry::Fault { message })
    }

    /// Begins nothing new.
    pub fn drain(&mut self, now: Mono) -> Vec<LogEntry> {
        self.draining = true;
        self.queue.drain(now)
    }

    /// How many jobs wait, and how many are leased.
    #[allow(dead_code, reason = "the operator of the fleet example is told")]
    pub fn jobs(&self) -> (usize, usize) {
        let (waiting, leased) = self.queue.sizes();
        (waiting + self.asked.len(), leased)
    }

    /// Why the last request got no lease, where none was granted since.
    #[allow(dead_code, reason = "the operator of the fleet example is told")]
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// True once, when every job has its terminal record and every lease was given back or lost.
    pub fn is_over(&mut self) -> bool {
        let over = !self.over && self.queue.is_empty() && self.asked.is_empty() && self.ledger.is_empty();
        self.over |= over;
        over
    }
}

/// Whether no later request for the same job could be granted.
const fn is_for_good(error: &AcquireError) -> bool {
    matches!(
        error,
        AcquireError::RunEnded { .. }
            | AcquireError::NoAttempts { .. }
            | AcquireError::RunLeased { .. }
            | AcquireError::Grant(_)
            | AcquireError::Command(CommandError::Halted | CommandError::Principal)
    )
}

/// What the endpoint says for the log, as an entry.
pub fn note_of(event: CoordinatorEvent) -> Option<LogEntry> {
    let refused = |peer: String, act: &str, code: String, message: String| {
        Some(LogEntry::Refused { peer, act: act.to_owned(), code, message: shown(&message) })
    };
    match event {
        CoordinatorEvent::Refused { device, asked, code, facts, .. } => {
            refused(device.to_string(), asked, code.to_string(), facts)
        }
        CoordinatorEvent::ArtifactRefused { device, fence, code, .. } => {
            refused(device.to_string(), "upload", code.to_string(), format!("under {fence}"))
        }
        CoordinatorEvent::PairingRefused { code, .. } => {
            refused("a stranger".into(), "pair", code.to_string(), "a pairing message was refused".into())
        }
        CoordinatorEvent::Closed { device: None, code, .. } => {
            refused("a stranger".into(), "connect", code.to_string(), "the connection was closed".into())
        }
        CoordinatorEvent::Closed { device: Some(device), code, .. } => {
            Some(LogEntry::Closed { peer: device.to_string(), code: code.to_string() })
        }
        CoordinatorEvent::Deposed { seen, .. } => {
            Some(LogEntry::Fault { message: format!("a peer has seen epoch {seen}") })
        }
        CoordinatorEvent::Halted => Some(LogEntry::Fault { message: "the coordinator has halted".into() }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every byte of every file is delivered once, in order, in pieces that fit; an empty file is one empty piece.
    #[test]
    fn a_delivery_is_every_byte_once() -> Result<(), Failure> {
        let path = |text: &str| RelativePath::new(text).map_err(Failure::coded);
        let files = [
            (path("in/a")?, vec![1; MAX_CHUNK_BYTES * 2 + 1]),
            (path("in/b")?, Vec::new()),
            (path("in/c")?, vec![3; MAX_CHUNK_BYTES]),
        ];
        let mut delivery = Delivery { fence: Fence::new(Epoch(1), 1), files: files.clone().into(), at: 0 };
        let mut got: Vec<(RelativePath, Vec<u8>)> = Vec::new();
        let mut pieces = 0;
        while let Some((path, content)) = delivery.piece() {
            match got.last_mut().filter(|(last, _)| last == path) {
                Some((_, bytes)) => bytes.extend_from_slice(content),
                None => got.push((path.clone(), content.to_vec())),
            }
            pieces += 1;
            delivery.taken();
        }
        assert_eq!((got.as_slice(), pieces), (files.as_slice(), 5));
        Ok(())
    }
}
