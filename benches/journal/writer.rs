//! The journal's own thread.

use std::{
    sync::mpsc::{Receiver, Sender, channel},
    thread::{self, JoinHandle},
};

use leasehold::{fleet::LogId, shell::Journal};

/// Takes batches, and says how far they last. It gives the journal back when no more can come.
pub fn writer<J: Journal + Send + 'static>(
    mut journal: J,
) -> (Sender<(LogId, Vec<u8>)>, Receiver<LogId>, JoinHandle<J>) {
    let (batches, waiting) = channel::<(LogId, Vec<u8>)>();
    let (written, lasts) = channel();
    let thread = thread::spawn(move || {
        while let Ok((last, bytes)) = waiting.recv() {
            journal.append(last.index, &bytes).unwrap();
            written.send(last).unwrap();
        }
        journal
    });
    (batches, lasts, thread)
}
