//! The shell's std parts: an epoch that only grows, a journal that lasts, an inspection, and the blocking driver over
//! real sockets.
#![allow(clippy::disallowed_methods, reason = "real threads and real sockets")]

use std::{
    cell::Cell,
    collections::BTreeSet,
    fs,
    net::{TcpListener, TcpStream},
    path::PathBuf,
    thread,
    time::Duration,
};

use leasehold::{
    code::{self, Coded as _},
    digest::Sha256Digest,
    fleet::FleetState,
    gate::{Gate, GateConfig, GateEvent, LeaseFeed, ViewRules},
    lease::{Epoch, WorkerLease},
    protocol::{
        endpoint::{Endpoint, EndpointError, Input, Output},
        frame::FrameDecoder,
        message::{Document as _, GateMessage},
    },
    shell::*,
    testing::World,
    time::{Millis, Mono, Now},
};

/// A directory of its own, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("leasehold-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Invariant 2: however the process ends, and however many take epochs at once, no epoch is given out twice and none
/// is lower than one before.
#[test]
fn epochs_only_grow_and_are_never_shared() {
    let scratch = Scratch::new("epochs");
    let mut threads = Vec::new();
    for _ in 0..4 {
        let directory = scratch.0.clone();
        threads.push(thread::spawn(move || {
            let mut taken = Vec::new();
            for _ in 0..20 {
                // A new store each time, as after a restart.
                taken.push(FileEpochStore::open(&directory).unwrap().next(Epoch(0)).unwrap());
            }
            assert!(taken.windows(2).all(|pair| pair[0] < pair[1]));
            taken
        }));
    }
    let taken: Vec<Epoch> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    assert_eq!(taken.iter().collect::<BTreeSet<_>>().len(), 80);
    assert!(fs::read_dir(&scratch.0).unwrap().count() <= 4, "what is old is removed");
}

/// Attack F23: a store that lags behind the journal does not fall below it, and one that was tampered with gives
/// nothing.
#[test]
fn an_epoch_store_does_not_go_back() {
    let scratch = Scratch::new("epoch");
    let mut store = FileEpochStore::open(&scratch.0).unwrap();
    assert_eq!(store.next(Epoch(41)), Ok(Epoch(42)));
    assert_eq!(store.next(Epoch(7)), Ok(Epoch(43)));
    assert_eq!(store.next(Epoch(u64::MAX)), Err(EpochStoreError::Exhausted));
    // A crash left a draft behind: nothing of it counts.
    fs::write(scratch.0.join("draft-1-1"), "44").unwrap();
    assert_eq!(store.next(Epoch(0)), Ok(Epoch(44)));
    assert!(!scratch.0.join("draft-1-1").exists());
    for (name, content) in [("epoch-00000000000000000099", "99\n"), ("epoch-9", "9 x\n"), ("other", "")] {
        let file = scratch.0.join(name);
        fs::write(&file, content).unwrap();
        assert_eq!(
            store.next(Epoch(0)).map_err(|error| error.code()),
            Err(code::EPOCH_STORE_MALFORMED),
            "{name}"
        );
        fs::remove_file(file).unwrap();
    }
}

/// Invariant 8: what was appended is there again; a torn tail is cut; one writer at a time; and what no journal wrote is
/// not touched. The faults of disks are in `journal_faults`.
#[test]
fn a_journal_in_a_directory_keeps_what_was_appended_and_keeps_others_out() {
    let scratch = Scratch::new("journal");
    let path = scratch.0.join("state").join("journal");
    let mut world = World::default();
    world.join(1, "a");
    let index = |journal: &mut FileJournal| {
        replay(journal, [9; 16]).map(|replay| replay.state().map(FleetState::index))
    };
    let open = || FileJournal::open(&path);
    let mut journal = open().unwrap();
    assert_eq!(index(&mut journal), Ok(None));
    assert_eq!(open().err(), Some(JournalError::Locked));
    let last = world.fleet.state().index();
    journal.append(last, &world.journal).unwrap();
    drop(journal);
    let mut journal = open().unwrap();
    assert_eq!((journal.last(), index(&mut journal)), (last, Ok(Some(last))));
    // The lock goes with the last who holds it, and that may be the compaction.
    let work = journal.seal().unwrap();
    drop(journal);
    assert_eq!(open().err(), Some(JournalError::Locked));
    assert_eq!(compact(work, [9; 16]).unwrap().index, last);
    let mut journal = open().unwrap();
    assert_eq!((journal.last(), index(&mut journal)), (last, Ok(Some(last))));
    journal.append(last + 1, b"no record").unwrap();
    drop(journal);
    let part = path.join(format!("journal-{last:020}"));
    let torn = fs::metadata(&part).unwrap().len() - 1;
    fs::OpenOptions::new().write(true).open(&part).unwrap().set_len(torn).unwrap();
    fs::write(path.join(format!("snapshot-{:020}.draft", last + 1)), b"half").unwrap();
    let mut journal = open().unwrap();
    assert_eq!((journal.last(), index(&mut journal)), (last, Ok(Some(last))));
    drop(journal);
    assert_eq!(fs::read_dir(&path).unwrap().count(), 3, "lock, snapshot and one part");
    fs::write(path.join("notes.txt"), b"mine").unwrap();
    assert_eq!(open().err(), Some(JournalError::Foreign));
    assert!(path.join("notes.txt").exists());
}

#[test]
fn an_inspector_counts_what_is_really_there() {
    let scratch = Scratch::new("inspect");
    let lease: WorkerLease = serde_json::from_value(serde_json::json!({
        "fence": { "epoch": 1, "counter": 1 }, "worker": "w", "device": "d", "incarnation": 1, "attempt": 1,
        "granted": 0, "expires": 1, "horizon": 1,
        "terms": {
            "run": "r", "issuer": "i", "grant": "g", "grant_expires": 9, "tool": "t", "capabilities": ["a"],
            "workspace": { "root": "run/1", "allowed": ["x"] }, "artifacts": {}, "egress": [], "secrets": [],
        }
    }))
    .unwrap();
    let mut inspector = DirectoryInspector::new(&scratch.0);
    let found = |inspector: &mut DirectoryInspector| inspector.inspect(&lease).unwrap().remaining;
    assert_eq!(found(&mut inspector), 0, "nothing there is clean");
    fs::create_dir_all(scratch.0.join("run/1/deep/er")).unwrap();
    fs::write(scratch.0.join("run/1/deep/er/file"), "x").unwrap();
    assert_eq!(found(&mut inspector), 4);
    fs::remove_dir_all(scratch.0.join("run/1")).unwrap();
    assert_eq!(found(&mut inspector), 0);
}

/// The blocking driver over a real socket: it syncs, answers deadlines, notices the end, and connects again.
#[test]
fn a_gate_is_driven_over_real_sockets() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        for _ in 0..2 {
            let (stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(5_000))).unwrap();
            let mut wire = Blocking(stream);
            let clock = SystemClock::start();
            let mut feed = LeaseFeed::new(Epoch(1), &[], 16);
            let (mut decoder, mut buffer, mut answered) = (FrameDecoder::new(), [0; 512], 0);
            while answered < 3 {
                let Arrived::Bytes(bytes) = wire.receive(&mut buffer, Millis(5_000)).unwrap() else {
                    panic!("no bytes")
                };
                let mut input = &buffer[..bytes];
                while let Some(frame) = decoder.decode(&mut input).unwrap() {
                    match GateMessage::read(&frame.body).unwrap() {
                        GateMessage::Subscribe { ping, .. } => feed.subscribe(0_u8, ping),
                        GateMessage::Ping { ping } => assert!(feed.ping(0, ping)),
                        _ => {}
                    }
                    answered += 1;
                }
                while let Some(step) = feed.next(0, clock.now().mono) {
                    let mut out = Vec::new();
                    step.write(&mut out).unwrap();
                    assert_eq!(wire.send(&out, Millis(5_000)).unwrap(), out.len());
                }
            }
        }
    });
    let peer = Sha256Digest::of(b"certificate");
    let rules = ViewRules::new(Millis(400), Millis(10), 10).unwrap();
    let clock = SystemClock::start();
    let mut driver = Driver::new(Gate::new(GateConfig::new(peer, rules)));
    for _ in 0..2 {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let mut events = driver.attach(Blocking(stream), peer, &clock).unwrap();
        while driver.ended().is_none() {
            events.extend(driver.turn(&clock).unwrap());
        }
        assert_eq!(events.first(), Some(&GateEvent::Synced { epoch: Epoch(1) }));
        assert_eq!(driver.ended(), Some(Ended::ByPeer));
        assert!(events.contains(&GateEvent::FeedLost { why: code::CONNECTION_CLOSED }));
    }
    server.join().unwrap();
}

/// An endpoint that has a lot to send, and something to do at a deadline.
struct Talker {
    out: Vec<Output<&'static str>>,
    due: Mono,
}

impl Endpoint for Talker {
    type Act = ();
    type Event = &'static str;

    fn handle(&mut self, input: Input<'_, ()>, now: Now) -> Result<(), EndpointError> {
        match input {
            Input::Connected { .. } => {
                self.due = now.mono.plus(Millis(150));
                self.out.extend((0..64).map(|_| Output::Send(vec![0; 256 << 10])));
            }
            Input::Closed => self.out.push(Output::Event("closed")),
            _ if now.mono >= self.due => {
                self.due = Mono::NEVER;
                self.out.push(Output::Event("due"));
            }
            _ => {}
        }
        Ok(())
    }

    fn poll(&mut self) -> Output<&'static str> {
        if self.out.is_empty() { Output::Wait(self.next_deadline()) } else { self.out.remove(0) }
    }

    fn next_deadline(&self) -> Option<Mono> {
        (self.due < Mono::NEVER).then_some(self.due)
    }
}

/// A transport whose peer takes `room` bytes and nothing after that, and a clock that its waits move.
struct Stuck<'a> {
    room: usize,
    at: &'a Cell<u64>,
}

impl Transport for Stuck<'_> {
    fn receive(&mut self, _: &mut [u8], patience: Millis) -> Result<Arrived, TransportError> {
        self.at.set(self.at.get() + patience.0.max(1));
        Ok(Arrived::Nothing)
    }

    fn send(&mut self, bytes: &[u8], patience: Millis) -> Result<usize, TransportError> {
        let taken = bytes.len().min(self.room).min(1_000);
        self.room -= taken;
        self.at.set(self.at.get() + if taken == 0 { patience.0 } else { 1 });
        Ok(taken)
    }
}

struct At<'a>(&'a Cell<u64>);

impl Clock for At<'_> {
    fn now(&self) -> Now {
        Now::new(self.0.get(), 1_764_000_000_000)
    }
}

/// However slowly a peer reads, or not at all, deadlines are kept; nothing more is acted on while too much waits, and in
/// the end the peer is given up.
#[test]
fn a_driver_keeps_deadlines_where_the_peer_does_not_read() {
    let peer = Sha256Digest::of(b"peer");
    for room in [0, 1, 60_000, usize::MAX] {
        let at = Cell::new(1);
        let mut driver = Driver::new(Talker { out: Vec::new(), due: Mono::NEVER });
        let mut events = driver.attach(Stuck { room, at: &at }, peer, &At(&at)).unwrap();
        while events.is_empty() {
            events.extend(driver.turn(&At(&at)).unwrap());
        }
        assert_eq!(events, ["due"], "{room}");
        assert!(at.get() < 150 + 60, "{room}: late by {} ms", at.get() - 150);
        assert!(driver.unsent() > 0, "{room}");
        assert_eq!(driver.act((), &At(&at)), Err(EndpointError::Full));
        while driver.ended().is_none() && driver.unsent() > 0 {
            events.extend(driver.turn(&At(&at)).unwrap());
        }
        if room == usize::MAX {
            assert_eq!((driver.ended(), driver.act((), &At(&at))), (None, Ok(Vec::new())));
        } else {
            assert_eq!((driver.ended(), events.last()), (Some(Ended::Unread), Some(&"closed")), "{room}");
        }
    }
}

/// The same over a socket as the driver's page shows it, whose write has no deadline of its own.
#[test]
fn a_socket_that_nobody_reads_holds_up_no_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (_unread, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    let clock = SystemClock::start();
    let mut driver = Driver::new(Talker { out: Vec::new(), due: Mono::NEVER });
    let mut events = driver.attach(Blocking(stream), Sha256Digest::of(b"peer"), &clock).unwrap();
    while events.is_empty() {
        events.extend(driver.turn(&clock).unwrap());
    }
    assert_eq!((events, driver.ended()), (vec!["due"], None));
    assert!(driver.unsent() > 0);
}
