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
#[path = "journal/scratch.rs"]
mod scratch;
#[path = "journal/snapshot.rs"]
mod snapshot;
#[path = "journal/throughput.rs"]
mod throughput;
#[path = "journal/writer.rs"]
mod writer;

use leasehold::shell::FileJournal;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let wants = |what: &str| words.is_empty() || words[0] == what;
    if wants("throughput") {
        throughput::run(|path| FileJournal::open(path.join("journal")).unwrap());
    }
    if wants("snapshot") {
        snapshot::run(words.get(1).and_then(|size| size.parse().ok()).unwrap_or(1_000_000));
    }
}
