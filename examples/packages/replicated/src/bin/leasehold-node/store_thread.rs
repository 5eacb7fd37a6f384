//! The thread that writes a node's store, so that the node hears and speaks meanwhile.

use std::{
    sync::mpsc::{Sender, channel},
    thread,
};

use replicated::{Code, Store, Write, WriteId};

use crate::Failure;

/// The writing thread. Dropped, it ends after what was given to it.
pub struct StoreThread {
    writes: Option<Sender<(WriteId, Write)>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl StoreThread {
    /// Starts it. `done` is told each write that lasts, or why it does not; after that nothing more is written.
    pub fn start(
        mut store: Store,
        mut done: impl FnMut(Result<WriteId, Code>) -> bool + Send + 'static,
    ) -> Result<Self, Failure> {
        let (writes, given) = channel::<(WriteId, Write)>();
        let thread = thread::Builder::new().name("store".into()).spawn(move || {
            for (id, write) in given {
                let outcome = store.write(&write).map(|()| id).map_err(|error| error.code());
                let failed = outcome.is_err();
                if !done(outcome) || failed {
                    return;
                }
            }
        })?;
        Ok(Self { writes: Some(writes), thread: Some(thread) })
    }

    /// Has it write. A thread that is gone has said why.
    pub fn write(&self, id: WriteId, write: Write) {
        if let Some(writes) = &self.writes {
            let _ = writes.send((id, write));
        }
    }
}

impl Drop for StoreThread {
    fn drop(&mut self) {
        self.writes = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
