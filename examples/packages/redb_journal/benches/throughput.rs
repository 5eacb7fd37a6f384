//! Durable operations through this journal with 1, 16 and 256 in flight, against raw `fdatasync` of the same bytes in the
//! same run: the bench of the library's own journal, on another one.
//!
//!     cargo bench --bench throughput
#![allow(
    missing_docs,
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a bench looks at the clock"
)]

#[path = "../../../../benches/fleet/allocator.rs"]
mod allocator;
#[allow(dead_code, reason = "made for the bench of the fleet")]
#[path = "../../../../benches/fleet/fixture.rs"]
mod fixture;
#[path = "../../../../benches/journal/scratch.rs"]
mod scratch;
#[path = "../../../../benches/journal/throughput.rs"]
mod throughput;
#[path = "../../../../benches/journal/writer.rs"]
mod writer;

use redb_journal::RedbJournal;

fn main() {
    // What is asked for as a test is only built.
    if std::env::args().any(|word| word == "--bench") {
        throughput::run(|path| RedbJournal::open(path.join("journal.redb")).unwrap());
    }
}
