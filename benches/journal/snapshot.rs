//! Snapshots of a fleet that goes on serving: how large, how long, and whether anybody had to wait.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::TryRecvError,
    },
    thread,
    time::{Duration, Instant},
};

use leasehold::{
    fleet::{Drain, Replay, Setup, Undrain},
    lease::Epoch,
    shell::{FileJournal, Journal as _, compact, replay},
    testing::World,
};

use crate::{fixture::Fixture, scratch::Scratch, writer::writer};

const KEY: [u8; 16] = [3; 16];
/// Heartbeats between two operations that are written.
const BEATS: usize = 32;
/// A turn that is told by itself.
const LONG: Duration = Duration::from_millis(3);

/// How long the turns of the serving thread took, and without what it waited for a core.
#[derive(Default)]
struct Turns {
    wall: Vec<Duration>,
    own: Vec<Duration>,
    /// Those beyond [`LONG`], with when they began and how often the thread had to fetch pages meanwhile.
    long: Vec<(Duration, Duration, u64)>,
}

impl Turns {
    fn row(&mut self, name: &str) {
        self.wall.sort_unstable();
        self.own.sort_unstable();
        let at = |of: &[Duration], share: f64| of[((of.len() - 1) as f64 * share) as usize];
        println!(
            "{name}: {} turns, p50 {:?}, p99 {:?}, p99.99 {:?}, longest {:?}; longest without waiting for a core {:?}",
            self.wall.len(),
            at(&self.wall, 0.5),
            at(&self.wall, 0.99),
            at(&self.wall, 0.9999),
            at(&self.wall, 1.0),
            at(&self.own, 1.0),
        );
        for (since, took, faults) in &self.long {
            println!("  a turn of {took:?} after {since:?}, with {faults} page faults");
        }
    }
}

/// How many pages this thread had to wait for, where the system says so.
fn page_faults() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/stat").unwrap_or_default();
    // The name of the thread, in parentheses, may hold spaces; the eighth field after it counts minor faults.
    let fields = text.rsplit(')').next().unwrap_or_default();
    fields.split_whitespace().nth(7).and_then(|faults| faults.parse().ok()).unwrap_or(0)
}

/// How long this thread was ready and had no core, where the system says so.
fn waited() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').nth(1).and_then(|nanos| nanos.parse().ok()).unwrap_or(0);
    Duration::from_nanos(nanos)
}

fn size(path: &Path, kind: &str) -> u64 {
    let files = fs::read_dir(path).unwrap().map(Result::unwrap);
    let of_kind = files.filter(|file| file.file_name().to_string_lossy().starts_with(kind));
    of_kind.map(|file| file.metadata().unwrap().len()).sum()
}

fn timed<T>(name: &str, act: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let out = act();
    println!("{name}: {:?}", began.elapsed());
    out
}

/// Serves until `stop`, and says how long each turn took: heartbeats, one operation, and its way to the journal.
fn serve(fixture: &mut Fixture, journal: FileJournal, stop: &dyn Fn() -> bool) -> (Turns, FileJournal) {
    let (batches, lasts, writer) = writer(journal);
    let (operator, mut turns, mut writing) = (World::operator(), Turns::default(), false);
    let start = Instant::now();
    let mut faults = page_faults();
    while !stop() || writing {
        let peers: Vec<_> = (0..BEATS).map(|_| fixture.anybody()).collect();
        let at = fixture.random.below(fixture.peers.len());
        let worker = fixture.peers[at].id.clone();
        let (fleet, now) = (&mut fixture.world.fleet, fixture.world.now);
        let (before, began) = (waited(), Instant::now());
        for (handle, principal) in &peers {
            fleet.heartbeat(*handle, principal, now).unwrap();
        }
        let prepared = match fleet.state().worker(&worker).unwrap().draining {
            true => fleet.decide(&Undrain { worker }, &operator, None, now).unwrap(),
            false => fleet.decide(&Drain { worker }, &operator, None, now).unwrap(),
        };
        let _ = fleet.accept(prepared).unwrap();
        match lasts.try_recv() {
            Ok(last) => {
                fleet.durable(last).unwrap();
                writing = false;
            }
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => panic!("the journal is gone"),
        }
        if !writing && let Some(batch) = fleet.take_journal() {
            batches.send((batch.last, batch.bytes)).unwrap();
            writing = true;
        }
        let wall = began.elapsed();
        turns.wall.push(wall);
        let own = wall.saturating_sub(waited().saturating_sub(before));
        turns.own.push(own);
        if own > LONG {
            let faults_now = page_faults();
            turns.long.push((began.duration_since(start), own, faults_now - faults));
            faults = faults_now;
        }
        // A coordinator has some of its time left, too.
        if turns.wall.len().is_multiple_of(8) {
            thread::sleep(Duration::from_micros(200));
        }
        if stop() && writing {
            fleet.durable(lasts.recv().unwrap()).unwrap();
            writing = false;
            if let Some(batch) = fleet.take_journal() {
                batches.send((batch.last, batch.bytes)).unwrap();
                fleet.durable(lasts.recv().unwrap()).unwrap();
            }
        }
    }
    drop(batches);
    (turns, writer.join().unwrap())
}

/// How long two loops that do nothing are held up on this machine: what no thread of ours could undercut.
fn control(lasting: Duration) {
    let spin = move || {
        let (start, mut last, mut longest) = (Instant::now(), Instant::now(), Duration::ZERO);
        let mut before = waited();
        while start.elapsed() < lasting {
            std::hint::spin_loop();
            let gap = last.elapsed();
            if gap > LONG {
                longest = longest.max(gap.saturating_sub(waited().saturating_sub(before)));
                before = waited();
            }
            last = Instant::now();
        }
        longest
    };
    let loops = [thread::spawn(spin), thread::spawn(spin)];
    let longest = loops.into_iter().map(|held| held.join().unwrap()).max();
    println!(
        "two loops that do nothing: longest without waiting for a core {:?}",
        longest.unwrap_or_default()
    );
}

pub fn run(workers: usize) {
    println!("a fleet of {workers} workers, nine of ten at work");
    let mut fixture = timed("made in", || Fixture::new(workers));
    let scratch = Scratch::new("snapshot");
    let path = scratch.0.join("journal");
    let mut journal = FileJournal::open(&path).unwrap();
    // The fixture keeps no journal: its state is the snapshot that everything goes on from.
    fixture.drain();
    let whole = timed("the state as one value", || fixture.world.fleet.snapshot().unwrap());
    let mut second = Replay::new(KEY);
    timed("a second state from it", || second.chunk(&whole).unwrap());
    drop(whole);
    let mut work = journal.seal().unwrap();
    timed("written and synced, from memory", || {
        for chunk in second.snapshot().unwrap() {
            work.chunk(&chunk.unwrap()).unwrap();
        }
        work.finish().unwrap();
    });
    drop(second);
    println!(
        "size: {} bytes, {} for each worker",
        size(&path, "snapshot"),
        size(&path, "snapshot") / workers as u64
    );
    let quiet = Instant::now();
    let (mut turns, mut journal) =
        serve(&mut fixture, journal, &move || quiet.elapsed() > Duration::from_secs(5));
    turns.row("serving, no snapshot");
    let sealed = journal.seal().unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&done);
    let compaction = thread::spawn(move || {
        let began = Instant::now();
        let compacted = compact(sealed, KEY);
        over.store(true, Ordering::Release);
        (compacted.unwrap(), began.elapsed())
    });
    let (mut turns, journal) = serve(&mut fixture, journal, &move || done.load(Ordering::Acquire));
    let (compacted, spent) = compaction.join().unwrap();
    turns.row("serving, while the next one is made");
    println!(
        "the next one: read, folded, written, synced, read back, {} chunks: {spent:?}",
        compacted.chunks
    );
    control(spent);
    println!("journal since: {} bytes", size(&path, "journal"));
    drop(journal);
    let mut journal = timed("opened again", || FileJournal::open(&path).unwrap());
    let back = timed("read and folded", || replay(&mut journal, KEY).unwrap());
    assert!(back.state() == Some(fixture.world.fleet.state()), "what is kept is what is served");
    let verifier = Box::new(leasehold::attestation::signature::DefaultVerifier);
    let setup = Setup::new([3; 64], leasehold::digest::Sha256Digest::of(b"c"), verifier);
    let now = fixture.world.now;
    timed("checked, and liveness made anew", || drop(back.recover(setup, Epoch(u64::MAX), now).unwrap()));
}
