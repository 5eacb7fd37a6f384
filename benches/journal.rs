//! What it costs to keep a fleet: durable operations against raw `fdatasync`, and snapshots at a million workers.
//!
//! ```text
//! cargo bench --bench journal                    both
//! cargo bench --bench journal -- throughput      operations a second with 1, 16 and 256 in flight
//! cargo bench --bench journal -- snapshot [SIZE] size, times, and how long the serving thread was held up
//! ```
//!
//! Everything is in the directory of temporary files: point `TMPDIR` at the disk that is meant.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a bench looks at the clock")]

#[path = "fleet/allocator.rs"]
mod allocator;
#[allow(dead_code, reason = "made for the bench of the fleet")]
#[path = "fleet/fixture.rs"]
mod fixture;
#[path = "journal/snapshot.rs"]
mod snapshot;
#[path = "journal/throughput.rs"]
mod throughput;

use std::{
    fs,
    path::PathBuf,
    sync::mpsc::{Receiver, Sender, channel},
    thread::{self, JoinHandle},
};

use leasehold::shell::{FileJournal, Journal as _};

/// A directory that is gone at the end.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("leasehold-bench-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The journal's thread: takes batches, and says how far they last. It gives the journal back when no more can come.
pub fn writer(mut journal: FileJournal) -> (Sender<(u64, Vec<u8>)>, Receiver<u64>, JoinHandle<FileJournal>) {
    let (batches, waiting) = channel::<(u64, Vec<u8>)>();
    let (written, lasts) = channel();
    let thread = thread::spawn(move || {
        while let Ok((last, bytes)) = waiting.recv() {
            journal.append(last, &bytes).unwrap();
            written.send(last).unwrap();
        }
        journal
    });
    (batches, lasts, thread)
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let wants = |what: &str| words.is_empty() || words[0] == what;
    if wants("throughput") {
        throughput::run();
    }
    if wants("snapshot") {
        snapshot::run(words.get(1).and_then(|size| size.parse().ok()).unwrap_or(1_000_000));
    }
}
