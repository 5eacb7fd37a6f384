//! The log: one JSON object a line, in printable ASCII, without secrets and queries.
//!
//! Lines are put into a buffer, which a thread of its own writes: who asks does not wait for a disk. A disk that is so slow
//! that the buffer is full loses lines, and the log says how many.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    mem,
    path::Path,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use leasehold::{egress::Bearer, time::Clock};
use serde_json::{Value, json};

use crate::{
    escape::{self, shown},
    metrics::Metrics,
    proxy::Record,
};

/// The most bytes that wait to be written.
const WAITING: usize = 64 << 20;

/// How long lines gather before they are written.
const GATHER: Duration = Duration::from_millis(10);

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    lost: u64,
    over: bool,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    more: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where lines go.
pub struct Log {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
    clock: Arc<dyn Clock + Send + Sync>,
    /// Each so-manieth allowed verdict is kept.
    sample: u64,
    allowed: AtomicU64,
    metrics: Arc<Metrics>,
}

fn write(shared: &Shared, mut to: Box<dyn Write + Send>) {
    let mut lines = Vec::new();
    loop {
        let (lost, over) = {
            let mut waiting = shared.lock();
            while waiting.lines.is_empty() && !waiting.over {
                waiting = shared.more.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            mem::swap(&mut lines, &mut waiting.lines);
            (mem::take(&mut waiting.lost), waiting.over)
        };
        if lost > 0 {
            lines.extend(escape::line(&json!({ "event": "lost", "lines": lost })).unwrap_or_default());
        }
        // A log that cannot be written stops nobody: the verdicts do not depend on it.
        let _ = to.write_all(&lines).and_then(|()| to.flush());
        if over && shared.lock().lines.is_empty() {
            return;
        }
        lines.clear();
        if !over {
            // Lines gather: waking up for each one costs those who ask more than the line does.
            thread::sleep(GATHER);
        }
    }
}

impl Log {
    /// A log to the end of the file at `path`, or to standard error.
    pub fn open(
        path: Option<&Path>,
        sample: u64,
        clock: Arc<dyn Clock + Send + Sync>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, String> {
        let to: Box<dyn Write + Send> = match path {
            None => Box::new(io::stderr()),
            Some(path) => {
                let opened = OpenOptions::new().create(true).append(true).open(path);
                Box::new(opened.map_err(|error| format!("{}: {error}", path.display()))?)
            }
        };
        let shared = Arc::new(Shared::default());
        let writing = Arc::clone(&shared);
        let writer = thread::Builder::new().name("log".into()).spawn(move || write(&writing, to));
        let writer = Mutex::new(Some(writer.map_err(|error| error.to_string())?));
        Ok(Self { shared, writer, clock, sample, allowed: AtomicU64::new(0), metrics })
    }

    /// Waits until everything is written. Nothing is, afterwards.
    pub fn finish(&self) {
        self.shared.lock().over = true;
        self.shared.more.notify_one();
        if let Some(writer) = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = writer.join();
        }
    }

    /// Writes one line.
    pub fn line(&self, mut value: Value) {
        if let Value::Object(object) = &mut value {
            object.insert("at".into(), json!(self.clock.now().wall));
        }
        let line = escape::line(&value).unwrap_or_default();
        let mut waiting = self.shared.lock();
        if waiting.lines.len() + line.len() > WAITING {
            waiting.lost += 1;
            return;
        }
        let first = waiting.lines.is_empty();
        waiting.lines.extend_from_slice(&line);
        drop(waiting);
        if first {
            self.shared.more.notify_one();
        }
    }

    /// Writes what the proxy tells.
    pub fn record(&self, record: Record) {
        self.metrics.count(&record);
        let who = |bearer: &Bearer| json!({ "worker": bearer.worker, "fence": bearer.fence });
        self.line(match record {
            Record::Unjudged { peer, target, refused } => json!({
                "event": "unjudged", "peer": shown(&peer), "target": shown(&target), "status": refused.status,
                "code": refused.code, "message": shown(&refused.message),
            }),
            Record::Judged { event, target, message } => {
                if event.allowed && event.would_refuse.is_none() {
                    let nth = self.allowed.fetch_add(1, Ordering::Relaxed);
                    if nth.checked_rem(self.sample) != Some(0) {
                        return;
                    }
                }
                json!({ "event": "judged", "verdict": *event, "target": shown(&target), "message": shown(&message) })
            }
            Record::Failed { bearer, target, refused, moved } => json!({
                "event": "failed", "lease": who(&bearer), "target": shown(&target), "code": refused.code,
                "message": shown(&refused.message), "sent": moved.sent, "received": moved.received,
            }),
            Record::Moved { bearer, target, moved } => json!({
                "event": "moved", "lease": who(&bearer), "target": shown(&target), "sent": moved.sent,
                "received": moved.received,
            }),
            Record::Cut { streams, code } => json!({ "event": "cut", "streams": streams, "code": code }),
            Record::Accept { error } => json!({ "event": "accept", "message": shown(&error) }),
        });
    }
}
