//! The log: one JSON object a line, in printable ASCII, without secrets.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use leasehold::{egress::Bearer, time::Clock};
use serde_json::{Value, json};

use crate::proxy::{
    Record,
    escape::{self, shown},
};

/// Where lines go.
pub struct Log {
    to: Mutex<Box<dyn Write + Send>>,
    clock: Arc<dyn Clock + Send + Sync>,
    /// Each so-manieth allowed verdict is kept.
    sample: u64,
    allowed: AtomicU64,
}

impl Log {
    /// A log to the end of the file at `path`, or to standard error.
    pub fn open(
        path: Option<&Path>,
        sample: u64,
        clock: Arc<dyn Clock + Send + Sync>,
    ) -> Result<Self, String> {
        let to: Box<dyn Write + Send> = match path {
            None => Box::new(io::stderr()),
            Some(path) => {
                let opened = OpenOptions::new().create(true).append(true).open(path);
                Box::new(opened.map_err(|error| format!("{}: {error}", path.display()))?)
            }
        };
        Ok(Self { to: Mutex::new(to), clock, sample, allowed: AtomicU64::new(0) })
    }

    /// Writes one line.
    pub fn line(&self, mut value: Value) {
        if let Value::Object(object) = &mut value {
            object.insert("at".into(), json!(self.clock.now().wall));
        }
        let line = escape::line(&value).unwrap_or_default();
        let mut to = self.to.lock().unwrap_or_else(PoisonError::into_inner);
        // A log that cannot be written stops nobody: the verdicts do not depend on it.
        let _ = to.write_all(&line).and_then(|()| to.flush());
    }

    /// Writes what the proxy tells.
    pub fn record(&self, record: Record) {
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
            Record::Cut { streams } => json!({ "event": "cut", "streams": streams }),
        });
    }
}
