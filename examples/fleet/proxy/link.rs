//! A connection as a core thread sees it: what was heard arrives in a channel, what is to be said is queued.
//!
//! Each link has a thread that reads and one that writes. The queue to the writer is bounded in bytes: a peer that
//! never reads fills its own queue, is cut, and slows nobody else down.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, SyncSender, channel},
    },
    thread,
    time::Duration,
};

use super::duplex::Duplex;

/// The most bytes that may wait for one peer: a few of the largest artifacts.
const QUEUE: usize = 16 << 20;

/// How long one write may wait for the peer's window.
const WRITE: Duration = Duration::from_secs(5);

/// How long a finished link waits for the peer's own end.
const LINGER: Duration = Duration::from_millis(100);

/// What a link reports to its core thread.
pub enum Heard {
    /// Plaintext, in order.
    Bytes(Vec<u8>),
    /// So many bytes of what was to be said have been said.
    Sent(usize),
    /// The last report of a link: the peer said goodbye, or the connection broke.
    Closed,
}

enum Say {
    Bytes(Vec<u8>),
    Finish,
}

/// The peer has not read what was said to it long ago.
#[derive(Debug)]
pub struct NeverReads;

/// The core thread's side of one connection.
pub struct Link {
    duplex: Duplex,
    say: Sender<Say>,
    queued: Arc<AtomicUsize>,
}

impl Link {
    /// Starts the two threads of a link. Everything that is heard goes to `events`, made into an event by `wrap`; a
    /// core thread that is behind makes readers wait, and through TCP the peers behind them.
    pub fn start<E: Send + 'static>(
        duplex: Duplex,
        events: SyncSender<E>,
        wrap: impl Fn(Heard) -> E + Clone + Send + 'static,
    ) -> io::Result<Self> {
        let (say, queue) = channel();
        let queued = Arc::new(AtomicUsize::new(0));
        duplex.set_timeouts(None, Some(WRITE))?;
        let writer = duplex.clone();
        let counter = Arc::clone(&queued);
        let (told, said) = (events.clone(), wrap.clone());
        thread::Builder::new().name("writer".into()).spawn(move || {
            write(&writer, &queue, &counter, |bytes| told.send(said(Heard::Sent(bytes))).is_ok())
        })?;
        let reader = duplex.clone();
        thread::Builder::new().name("reader".into()).spawn(move || read(&reader, &events, wrap))?;
        Ok(Self { duplex, say, queued })
    }

    /// Queues `bytes`. Never waits.
    pub fn send(&self, bytes: Vec<u8>) -> Result<(), NeverReads> {
        let length = bytes.len();
        if self.queued.fetch_add(length, Ordering::Relaxed).saturating_add(length) > QUEUE {
            self.close();
            return Err(NeverReads);
        }
        // A writer that is gone has closed the connection, and the reader reports that.
        let _ = self.say.send(Say::Bytes(bytes));
        Ok(())
    }

    /// How many bytes wait to be written.
    pub fn waits(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    /// Ends the connection once everything queued was written.
    pub fn finish(&self) {
        let _ = self.say.send(Say::Finish);
    }

    /// Ends the connection now.
    pub fn close(&self) {
        self.duplex.close();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.finish();
    }
}

fn write(duplex: &Duplex, queue: &Receiver<Say>, queued: &AtomicUsize, said: impl Fn(usize) -> bool) {
    while let Ok(Say::Bytes(bytes)) = queue.recv() {
        if duplex.write_all(&bytes).is_err() || !said(bytes.len()) {
            break;
        }
        queued.fetch_sub(bytes.len(), Ordering::Relaxed);
    }
    // The other thread goes on reading for a moment: closing while bytes are under way would throw away the last words.
    let _ = duplex.finish();
    thread::sleep(LINGER);
    duplex.close();
}

fn read<E>(duplex: &Duplex, events: &SyncSender<E>, wrap: impl Fn(Heard) -> E) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let heard = match duplex.read(&mut buffer) {
            Ok(0) | Err(_) => Heard::Closed,
            Ok(count) => Heard::Bytes(buffer[..count].to_vec()),
        };
        let last = matches!(heard, Heard::Closed);
        if events.send(wrap(heard)).is_err() || last {
            duplex.close();
            return;
        }
    }
}
