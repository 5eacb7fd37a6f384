//! Counts for Prometheus, in its text format.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{escape::shown, proxy::Record};

/// The most codes that are told apart. There is a fixed number of them; what is over it would be a mistake of ours.
const CODES: usize = 512;

/// What is counted.
#[derive(Default)]
pub struct Metrics {
    allowed: AtomicU64,
    done: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    cut: AtomicU64,
    accept_errors: AtomicU64,
    refused: Mutex<BTreeMap<String, u64>>,
    failed: Mutex<BTreeMap<String, u64>>,
}

fn add(counts: &Mutex<BTreeMap<String, u64>>, code: &str) {
    let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(count) = counts.get_mut(code) {
        *count += 1;
    } else if counts.len() < CODES {
        counts.insert(code.to_owned(), 1);
    }
}

impl Metrics {
    /// Counts what the proxy tells.
    pub fn count(&self, record: &Record) {
        let one = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        match record {
            Record::Unjudged { refused, .. } => add(&self.refused, &refused.code),
            Record::Judged { event, .. } if event.allowed => drop(one(&self.allowed)),
            Record::Judged { event, .. } => add(&self.refused, event.code.as_str()),
            Record::Failed { refused, moved, .. } => {
                add(&self.failed, &refused.code);
                self.sent.fetch_add(moved.sent, Ordering::Relaxed);
                self.received.fetch_add(moved.received, Ordering::Relaxed);
            }
            Record::Moved { moved, .. } => {
                one(&self.done);
                self.sent.fetch_add(moved.sent, Ordering::Relaxed);
                self.received.fetch_add(moved.received, Ordering::Relaxed);
            }
            Record::Cut { streams, .. } => drop(self.cut.fetch_add(*streams as u64, Ordering::Relaxed)),
            Record::Accept { .. } => drop(one(&self.accept_errors)),
        }
    }

    /// The page, with what is measured now.
    pub fn page(&self, gauges: &[(&'static str, usize)]) -> String {
        let mut page = String::new();
        let mut counter = |name: &str, help: &str, value: &AtomicU64| {
            let value = value.load(Ordering::Relaxed);
            let _ = write!(
                page,
                "# HELP egress_proxy_{name} {help}\n# TYPE egress_proxy_{name} counter\negress_proxy_{name} {value}\n"
            );
        };
        counter("allowed_total", "Requests and tunnels that were allowed.", &self.allowed);
        counter("done_total", "Requests and tunnels that were carried out.", &self.done);
        counter("sent_bytes_total", "Bytes from workers to origins.", &self.sent);
        counter("received_bytes_total", "Bytes from origins to workers.", &self.received);
        counter("cut_total", "Streams that were ended by a lease, a policy or a stop.", &self.cut);
        counter("accept_errors_total", "Times that connections could not be accepted.", &self.accept_errors);
        for (name, help, counts) in [
            ("refused_total", "Requests and connections that were refused, by code.", &self.refused),
            ("failed_total", "Allowed requests and tunnels that failed, by code.", &self.failed),
        ] {
            let _ = write!(page, "# HELP egress_proxy_{name} {help}\n# TYPE egress_proxy_{name} counter\n");
            for (code, count) in counts.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                let code = shown(code).replace(['\\', '"'], "");
                let _ = writeln!(page, "egress_proxy_{name}{{code=\"{code}\"}} {count}");
            }
        }
        for (name, value) in gauges {
            let _ = write!(
                page,
                "# HELP egress_proxy_{name} How many there are now.\n# TYPE egress_proxy_{name} gauge\negress_proxy_{name} {value}\n"
            );
        }
        page
    }
}
