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
    fleet::{FleetState, Replay},
    shell::{Compacted, Directory, Disk, DiskFile, FileJournal, Journal, compact, replay},
};

use crate::{
    Failure,
    note::{Note, tell},
};

/// What is kept of a state: below its directory.
pub const JOURNAL: &str = "journal";
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
pub struct Keeper {
    journal: AnyJournal,
    index_key: [u8; 16],
    care: Care,
}

/// The journal's thread.
pub struct Keeping {
    batches: Sender<(u64, Vec<u8>)>,
    thread: JoinHandle<AnyJournal>,
}

impl Keeper {
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
        Ok((Self { journal, index_key, care }, replay))
    }

    /// Folds everything again, as a coordinator that takes over would.
    pub fn replay(&mut self) -> Result<Replay, Failure> {
        replay(&mut *self.journal, self.index_key).map_err(Failure::coded)
    }

    /// Starts the thread. One batch at a time, each synced before it is called written, up to which index or, where that
    /// failed, without one. False: nobody hears it any more.
    pub fn start(
        self,
        mut written: impl FnMut(Option<u64>) -> bool + Send + 'static,
    ) -> Result<Keeping, Failure> {
        let Self { mut journal, index_key, care } = self;
        let (often, pause) = match care {
            Care::Plain => (SNAPSHOT, Duration::ZERO),
            Care::Drill => (1 << 12, Duration::from_millis(60)),
        };
        let (batches, waiting) = channel::<(u64, Vec<u8>)>();
        let thread = thread::Builder::new().name("journal".into()).spawn(move || {
            let mut since = 0_usize;
            let mut snapshot: Option<JoinHandle<()>> = None;
            let mut taken = Instant::now();
            while let Ok((last, bytes)) = waiting.recv() {
                let appended = journal.append(last, &bytes);
                if let Err(error) = appended {
                    tell(&Note::Fault { message: format!("{}: {error}", error.code()) });
                }
                if !written(appended.ok().map(|()| last)) || appended.is_err() {
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

/// A snapshot of what is in the journal so far, in a thread of its own.
fn begin_snapshot(journal: &mut dyn Journal, index_key: [u8; 16]) -> Option<JoinHandle<()>> {
    let fault = |message: String| tell(&Note::Fault { message });
    let work = match journal.seal() {
        Ok(work) => work,
        Err(error) => {
            fault(format!("{}: {error}", error.code()));
            return None;
        }
    };
    let snapshot = move || match compact(work, index_key) {
        Ok(Compacted { index, bytes, .. }) => tell(&Note::Snapshot { index, bytes }),
        Err(error) => fault(format!("{}: {error}", error.code())),
    };
    thread::Builder::new().name("snapshot".into()).spawn(snapshot).ok()
}

impl Keeping {
    /// Hands a batch over. A thread that is gone has said so.
    pub fn append(&self, last: u64, bytes: Vec<u8>) {
        let _ = self.batches.send((last, bytes));
    }

    /// Waits for the thread, and gives the journal back.
    pub fn end(self, index_key: [u8; 16]) -> Result<Keeper, Failure> {
        let Self { batches, thread } = self;
        drop(batches);
        let journal = thread.join().map_err(|_| Failure::new("the journal's thread panicked"))?;
        Ok(Keeper { journal, index_key, care: Care::Plain })
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

struct SlowFile(fs::File);

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
