//! The store on disk: it gives back what was written, to whom it belongs, and refuses what is not as it was.

use std::{fs, path::PathBuf};

use leasehold::{
    digest::Sha256Digest,
    time::{Millis, Wall},
};
use replicated::*;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("leasehold-replica-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    fn file(&self) -> PathBuf {
        self.0.join("node.redb")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn cluster() -> Sha256Digest {
    Sha256Digest::of(b"cluster")
}

fn founding() -> Stored {
    let members = Members::founders([(NodeId(1), b"here".to_vec())]);
    Stored::founding(members, 0_u64.to_be_bytes().to_vec(), 3)
}

fn entry(index: u64, term: u64, data: &[u8]) -> Entry {
    Entry { index, term, kind: EntryKind::Command, data: data.to_vec() }
}

/// Any sequence of writes leaves on disk what it leaves in memory, over openings of the store.
#[test]
fn a_store_holds_what_was_written() {
    let scratch = Scratch::new("holds");
    let mut model = founding();
    let mut store = Store::open(&scratch.file(), cluster(), NodeId(1)).unwrap();
    store.found(&model).unwrap();
    assert_eq!(store.found(&model).unwrap_err().code().0, "store.foreign", "founded twice");
    let snapshot = Snapshot { index: 4, term: 4, ..model.snapshot.clone().unwrap() };
    let hard = Some(Hard { term: 4, vote: 1, commit: 2 });
    let writes = [
        Write {
            truncate: Some(2),
            entries: vec![entry(2, 3, b"a"), entry(3, 3, b"b")],
            hard,
            ..Write::default()
        },
        Write { truncate: Some(3), entries: vec![entry(3, 4, b"c"), entry(4, 4, b"d")], ..Write::default() },
        Write { snapshot: Some(snapshot.clone()), forget: Some(3), ..Write::default() },
        Write { entries: vec![entry(5, 4, b"e")], truncate: Some(5), ..Write::default() },
        Write {
            snapshot: Some(Snapshot { index: 9, ..snapshot }),
            forget: Some(u64::MAX),
            hard,
            ..Write::default()
        },
    ];
    for write in writes {
        store.write(&write).unwrap();
        model.apply(&write);
        assert_eq!(store.read().unwrap(), model);
        drop(store);
        store = Store::open(&scratch.file(), cluster(), NodeId(1)).unwrap();
        assert_eq!(store.read().unwrap(), model);
    }
}

#[test]
fn a_store_is_opened_by_its_own_node_alone() {
    let scratch = Scratch::new("foreign");
    let open = |cluster: &[u8], id| {
        let opened = Store::open(&scratch.file(), Sha256Digest::of(cluster), NodeId(id));
        opened.err().map(|error| error.code().0)
    };
    let own = Store::open(&scratch.file(), cluster(), NodeId(1)).unwrap();
    assert_eq!(open(b"cluster", 1), Some("store.locked"));
    drop(own);
    assert_eq!(open(b"cluster", 2), Some("store.foreign"), "another node");
    assert_eq!(open(b"another", 1), Some("store.foreign"), "another cluster");
    assert_eq!(open(b"cluster", 1), None);
    fs::write(scratch.file(), vec![7; 8_192]).unwrap();
    assert!(matches!(open(b"cluster", 1), Some("store.damaged" | "store.failed")), "no database");
}

/// A byte that changes on disk is either not looked at, or found: the store never gives something else than was written.
#[test]
fn a_changed_byte_is_found() {
    let scratch = Scratch::new("damage");
    let mut model = founding();
    let mut store = Store::open(&scratch.file(), cluster(), NodeId(1)).unwrap();
    store.found(&model).unwrap();
    let data = [b'x'; 3_000];
    let write = Write { entries: vec![entry(2, 3, &data)], truncate: Some(2), ..Write::default() };
    store.write(&write).unwrap();
    model.apply(&write);
    drop(store);
    let whole = fs::read(scratch.file()).unwrap();
    // Every copy of the entry's data, wherever the database has put it.
    let mut found = 0;
    for at in (0..whole.len()).filter(|at| whole[*at..].starts_with(&data[..64])).step_by(997) {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(scratch.file(), changed).unwrap();
        let read = Store::open(&scratch.file(), cluster(), NodeId(1)).and_then(|store| store.read());
        match read {
            Ok(read) => assert_eq!(read, model),
            Err(error) => {
                assert_eq!(error.code().0, "store.damaged", "{error}");
                found += 1;
            }
        }
    }
    assert!(found > 0, "nothing was changed that is read");
}

/// A node over the store: it leads, is dropped without a word, and goes on from what lasts.
#[test]
fn a_node_goes_on_from_its_store() {
    let scratch = Scratch::new("node");
    Store::open(&scratch.file(), cluster(), NodeId(1)).unwrap().found(&founding()).unwrap();
    let local = Local { mono: Millis(0), wall: Wall(1_764_000_000_000) };
    for life in 1..=4 {
        let mut store = Store::open(&scratch.file(), cluster(), NodeId(1)).unwrap();
        let config = Config { patience: Some(10), compact_bytes: 3_000, keep: 2, ..Config::new(NodeId(1)) };
        let mut node = Node::start(config, Empty::default(), store.read().unwrap(), life, local).unwrap();
        let mut settle = |node: &mut Node<Empty>| {
            while let Some(output) = node.poll() {
                if let Output::Write(id, write) = output {
                    store.write(&write).unwrap();
                    node.written(id, local);
                }
            }
        };
        for _ in 0..30 {
            node.tick(local);
            settle(&mut node);
        }
        assert_eq!(node.leading().unwrap().applied(), (life - 1) * 20, "life {life}");
        for _ in 0..20 {
            node.leader().unwrap().ask(vec![9; 100]);
            node.turn(local);
            settle(&mut node);
        }
        assert_eq!(node.leading().unwrap().applied(), life * 20);
    }
    let stored = Store::open(&scratch.file(), cluster(), NodeId(1)).unwrap().read().unwrap();
    assert!(stored.snapshot.unwrap().index > 1 && stored.entries.len() < 60, "it was compacted");
}
