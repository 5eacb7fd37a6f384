//! Where the coordinator's state is kept: a thread that appends to the journal, and now and then one that replaces what
//! is old by a snapshot.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::mpsc::{Sender, channel},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use leasehold::{
    code::Coded,
    digest::Sha256Digest,
    fleet::{FleetState, LogId, Replay},
    shell::{Compacted, Directory, Disk, DiskFile, FileJournal, Journal, NamedFile, compact, replay},
};

use crate::{
    Failure,
    process_log::{LogEntry, tell},
};

/// What is kept of a state: below its directory.
pub const JOURNAL: &str = "journal";
/// There while a fleet is founded whose first record may not last: an empty journal beside epochs is nothing to wonder about
/// then.
const FOUNDING: &str = "founding";
/// Where the epochs are.
pub const EPOCHS: &str = "epochs";
/// Parts of the journal that snapshots have replaced, where an audit wants them.
pub const KEPT: &str = "kept";
/// After so many bytes there is a new snapshot.
const SNAPSHOT: usize = 1 << 20;

/// How carefully the state is kept.
#[derive(Clone, Copy)]
pub enum Care {
    /// As in earnest.
    Plain,
    /// For a coordinator that is killed again and again: writes take long, snapshots are frequent, and what they
    /// replace is kept for the audit.
    Drill,
}

type AnyJournal = Box<dyn Journal + Send>;

/// A journal that is open, and not yet in its thread.
pub struct JournalThread {
    journal: AnyJournal,
    index_key: [u8; 16],
    care: Care,
    state: PathBuf,
}

/// The journal's thread.
pub struct Keeping {
    batches: Sender<(LogId, Vec<u8>)>,
    thread: JoinHandle<AnyJournal>,
}

impl JournalThread {
    /// Opens the journal below `state`, and folds what it holds.
    pub fn open(state: &Path, care: Care, index_key: [u8; 16]) -> Result<(Self, Replay), Failure> {
        let directory = Directory::open(state.join(JOURNAL)).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => Failure::coded(leasehold::shell::JournalError::Locked),
            _ => error.into(),
        })?;
        let mut journal: AnyJournal = match care {
            Care::Plain => Box::new(FileJournal::open_on(directory).map_err(Failure::coded)?),
            Care::Drill => {
                let kept = state.join(KEPT);
                fs::create_dir_all(&kept)?;
                let slow = Slow { inner: directory, from: state.join(JOURNAL), kept };
                Box::new(FileJournal::open_on(slow).map_err(Failure::coded)?)
            }
        };
        let replay = replay(&mut *journal, index_key).map_err(Failure::coded)?;
        let founding = state.join(FOUNDING);
        match replay.state() {
            Some(_) => forget(&founding)?,
            None if founding.exists() => {}
            // What a fleet has decided must not be decided again by one that knows nothing of it.
            None if has_epochs(state)? => {
                return Err(Failure::new(format!(
                    "{}: {} is empty, and epochs were given out in {}: put the journal back from a copy, or, to begin \
                     another fleet on purpose, remove the epochs as well",
                    leasehold::code::JOURNAL_LOST,
                    state.join(JOURNAL).display(),
                    state.join(EPOCHS).display(),
                )));
            }
            None => {
                fs::File::create(&founding)?.sync_all()?;
                fs::File::open(state)?.sync_all()?;
            }
        }
        let state = state.to_path_buf();
        Ok((Self { journal, index_key, care, state }, replay))
    }

    /// Folds everything again, as a coordinator that takes over would.
    pub fn replay(&mut self) -> Result<Replay, Failure> {
        replay(&mut *self.journal, self.index_key).map_err(Failure::coded)
    }

    /// Starts the thread. One batch at a time, each synced before it is called written, up to which index or, where that
    /// failed, without one. False: nobody hears it any more.
    pub fn start(
        self,
        mut written: impl FnMut(Option<LogId>) -> bool + Send + 'static,
    ) -> Result<Keeping, Failure> {
        let Self { mut journal, index_key, care, state } = self;
        let (often, pause) = match care {
            Care::Plain => (SNAPSHOT, Duration::ZERO),
            Care::Drill => (1 << 12, Duration::from_millis(60)),
        };
        let (batches, waiting) = channel::<(LogId, Vec<u8>)>();
        let thread = thread::Builder::new().name("journal".into()).spawn(move || {
            let mut since = 0_usize;
            let mut founded = false;
            let mut snapshot: Option<JoinHandle<()>> = None;
            let mut taken = Instant::now();
            while let Ok((last, bytes)) = waiting.recv() {
                let appended = journal.append(last.index, &bytes);
                let lasts = appended.is_ok();
                if let Err(error) = appended {
                    tell(&LogEntry::Fault { message: format!("{}: {error}", error.code()) });
                }
                // The fleet is founded. Where the mark stays, the next start removes it.
                if lasts && !std::mem::replace(&mut founded, true) {
                    let _ = forget(&state.join(FOUNDING));
                }
                if !written(lasts.then_some(last)) || !lasts {
                    break;
                }
                since = since.saturating_add(bytes.len());
                let idle = snapshot.as_ref().is_none_or(JoinHandle::is_finished);
                if since >= often && idle && taken.elapsed() >= pause {
                    since = 0;
                    taken = Instant::now();
                    snapshot = begin_snapshot(&mut *journal, index_key);
                }
            }
            if let Some(snapshot) = snapshot {
                // It said itself what came of it.
                let _ = snapshot.join();
            }
            journal
        })?;
        Ok(Keeping { batches, thread })
    }
}

fn has_epochs(state: &Path) -> Result<bool, Failure> {
    match fs::read_dir(state.join(EPOCHS)) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn forget(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A snapshot of what is in the journal so far, in a thread of its own.
fn begin_snapshot(journal: &mut dyn Journal, index_key: [u8; 16]) -> Option<JoinHandle<()>> {
    let fault = |message: String| tell(&LogEntry::Fault { message });
    let work = match journal.seal() {
        Ok(work) => work,
        Err(error) => {
            fault(format!("{}: {error}", error.code()));
            return None;
        }
    };
    let snapshot = move || match compact(work, index_key) {
        Ok(Compacted { index, bytes, .. }) => tell(&LogEntry::Snapshot { index, bytes }),
        Err(error) => fault(format!("{}: {error}", error.code())),
    };
    thread::Builder::new().name("snapshot".into()).spawn(snapshot).ok()
}

impl Keeping {
    /// Hands a batch over. A thread that is gone has said so.
    pub fn append(&self, last: LogId, bytes: Vec<u8>) {
        let _ = self.batches.send((last, bytes));
    }

    /// Waits for the thread, and gives the journal back.
    pub fn end(self, index_key: [u8; 16]) -> Result<JournalThread, Failure> {
        let Self { batches, thread } = self;
        drop(batches);
        let journal = thread.join().map_err(|_| Failure::new("the journal's thread panicked"))?;
        Ok(JournalThread { journal, index_key, care: Care::Plain, state: PathBuf::new() })
    }
}

/// A directory in which every write takes its time, so that a kill often comes in the middle of one, and from which
/// nothing of the journal is removed before it is in another place, too.
#[derive(Clone)]
struct Slow {
    inner: Directory,
    from: PathBuf,
    kept: PathBuf,
}

struct SlowFile(NamedFile);

/// The most that one write takes.
const PIECE: usize = 64;

impl Disk for Slow {
    type File = SlowFile;

    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn open(&self, name: &str) -> io::Result<SlowFile> {
        self.inner.open(name).map(SlowFile)
    }

    fn create(&self, name: &str) -> io::Result<SlowFile> {
        self.inner.create(name).map(SlowFile)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        thread::sleep(Duration::from_millis(3));
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        thread::sleep(Duration::from_millis(3));
        if name.starts_with("journal-") && !name.ends_with(".draft") {
            match fs::hard_link(self.from.join(name), self.kept.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        self.inner.remove(name)
    }

    fn sync(&self) -> io::Result<()> {
        self.inner.sync()
    }
}

impl DiskFile for SlowFile {
    fn length(&mut self) -> io::Result<u64> {
        self.0.length()
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(offset, into)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        thread::sleep(Duration::from_micros(120));
        self.0.append(&bytes[..bytes.len().min(PIECE)])
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync()
    }
}

/// A digest of everything about a fleet that a change of coordinator does not change.
pub fn picture(state: &FleetState) -> String {
    let mut runs: Vec<String> = state.runs().map(|run| format!("{run:?}")).collect();
    runs.sort();
    let workers: Vec<String> = state
        .workers()
        .map(|worker| {
            let lease = worker.lease.map(|lease| lease.fence);
            format!("{} {:?} {:?} {lease:?} {:?}", worker.id, worker.handle, worker.quarantined, worker.owes)
        })
        .collect();
    let devices: Vec<String> = state.devices().devices().map(|device| format!("{device:?}")).collect();
    Sha256Digest::of(format!("{runs:?} {workers:?} {devices:?}").as_bytes()).to_string()
}
