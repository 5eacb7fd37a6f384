//! A disk in memory that forgets what was not synced and breaks where it is told to, and a story to write on it.

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind},
    sync::{Arc, Mutex, MutexGuard},
};

use leasehold::{digest::Sha256Digest, fleet::*, shell::*, testing::World};

/// What goes wrong, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A write takes only some of its bytes, which is no error.
    Short,
    /// There is no room, after some bytes.
    Full,
    /// The disk fails, after some bytes.
    Broken,
    /// A sync fails, and what it was to write is lost, whatever a second one says.
    Sync,
    /// A bit of what is written changes, and nobody says so.
    Flip,
    /// The power fails in the middle.
    Power,
}

pub const FAULTS: [Fault; 6] =
    [Fault::Short, Fault::Full, Fault::Broken, Fault::Sync, Fault::Flip, Fault::Power];

#[derive(Clone, Debug, Default)]
struct Inode {
    /// As the system sees it.
    content: Vec<u8>,
    /// As the last sync left it.
    durable: Vec<u8>,
    /// A sync failed: what is in memory is called clean and is never written.
    dropped: bool,
}

#[derive(Clone, Debug)]
enum Naming {
    Set(String, usize),
    Rename(String, String),
    Remove(String),
}

#[derive(Debug, Default)]
struct Platter {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    pending: Vec<Naming>,
    /// Calls that change something, so far.
    calls: u64,
    fault: Option<(u64, Fault)>,
    dead: bool,
    dice: u64,
}

/// The disk. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct FaultDisk(Arc<Mutex<Platter>>);

pub struct FaultFile(FaultDisk, usize);

fn name(names: &mut BTreeMap<String, usize>, naming: &Naming) {
    match naming {
        Naming::Set(name, inode) => {
            names.insert(name.clone(), *inode);
        }
        Naming::Rename(from, to) => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
        Naming::Remove(name) => {
            names.remove(name);
        }
    }
}

impl Platter {
    fn roll(&mut self, bound: usize) -> usize {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) as usize % bound.max(1)
    }

    /// Counts a call; gives the fault that it runs into.
    fn call(&mut self) -> io::Result<Option<Fault>> {
        if self.dead {
            return Err(io::Error::other("the process is gone"));
        }
        self.calls += 1;
        let fault = self.fault.filter(|(at, _)| *at == self.calls).map(|(_, fault)| fault);
        self.dead = fault == Some(Fault::Power);
        Ok(fault)
    }

    fn naming(&mut self, naming: Naming) -> io::Result<()> {
        match self.call()? {
            Some(Fault::Full) => return Err(ErrorKind::StorageFull.into()),
            Some(Fault::Broken) => return Err(io::Error::other("EIO")),
            _ => {}
        }
        name(&mut self.names, &naming);
        self.pending.push(naming);
        if self.dead { Err(io::Error::other("power")) } else { Ok(()) }
    }

    /// What of an inode's content the disk holds after the power failed.
    fn settle(&mut self, at: usize) {
        let Inode { content, durable, .. } = self.inodes[at].clone();
        let common = content.iter().zip(&durable).take_while(|(a, b)| a == b).count();
        let mut left = match self.roll(3) {
            // Nothing of what was not synced, all of it, or a part.
            0 => durable,
            1 if !self.inodes[at].dropped => content,
            _ => content[..common + self.roll(content.len() - common + 1)].to_vec(),
        };
        if left.len() > common && self.roll(2) == 0 {
            // The file has grown, and a block of what came last has not arrived.
            let block = (common + self.roll(left.len() - common)) / 512 * 512;
            let until = left.len().min(block + 512);
            // A torn block is not part of the model: either a whole one is missing, or the rest of the file.
            if until - block.max(common) == 512 || until == left.len() {
                left[block.max(common)..].fill(0);
            }
        }
        self.inodes[at] = Inode { durable: left.clone(), content: left, dropped: false };
    }
}

impl FaultDisk {
    fn platter(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().unwrap()
    }

    pub fn calls(&self) -> u64 {
        self.platter().calls
    }

    /// The `after`-th call from now on runs into `fault`.
    pub fn plan(&self, after: u64, fault: Fault) {
        let mut platter = self.platter();
        platter.fault = Some((platter.calls + after, fault));
    }

    /// The process is gone, and the power with it where `power` says so. What is left is what a new one finds.
    pub fn restart(&self, power: bool, dice: u64) {
        let mut platter = self.platter();
        platter.dice = dice;
        if power || platter.dead {
            let mut names = platter.durable_names.clone();
            for naming in std::mem::take(&mut platter.pending) {
                if platter.roll(2) == 0 {
                    name(&mut names, &naming);
                }
            }
            platter.names = names.clone();
            platter.durable_names = names;
            for at in 0..platter.inodes.len() {
                platter.settle(at);
            }
        }
        // Where only the process is gone, the system still has what it was told.
        (platter.fault, platter.dead) = (None, false);
    }

    /// Every file, by name.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let platter = self.platter();
        platter.names.iter().map(|(name, at)| (name.clone(), platter.inodes[*at].content.clone())).collect()
    }

    /// A disk that holds these files.
    pub fn of(files: &BTreeMap<String, Vec<u8>>) -> Self {
        let mut platter = Platter::default();
        for (name, content) in files {
            platter.names.insert(name.clone(), platter.inodes.len());
            let (content, durable) = (content.clone(), content.clone());
            platter.inodes.push(Inode { content, durable, dropped: false });
        }
        platter.durable_names = platter.names.clone();
        Self(Arc::new(Mutex::new(platter)))
    }
}

impl Disk for FaultDisk {
    type File = FaultFile;

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.platter().names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<FaultFile> {
        let at = self.platter().names.get(name).copied().ok_or(ErrorKind::NotFound)?;
        Ok(FaultFile(self.clone(), at))
    }

    fn create(&self, name: &str) -> io::Result<FaultFile> {
        let mut platter = self.platter();
        let at = platter.inodes.len();
        platter.inodes.push(Inode::default());
        platter.naming(Naming::Set(name.to_owned(), at))?;
        Ok(FaultFile(self.clone(), at))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.platter().naming(Naming::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.platter().naming(Naming::Remove(name.to_owned()))
    }

    fn sync(&self) -> io::Result<()> {
        let mut platter = self.platter();
        match platter.call()? {
            None | Some(Fault::Short | Fault::Flip) => {}
            Some(Fault::Full) => return Err(ErrorKind::StorageFull.into()),
            Some(_) => return Err(io::Error::other("EIO")),
        }
        platter.durable_names = platter.names.clone();
        platter.pending.clear();
        Ok(())
    }
}

impl DiskFile for FaultFile {
    fn length(&mut self) -> io::Result<u64> {
        Ok(self.0.platter().inodes[self.1].content.len() as u64)
    }

    fn read(&mut self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let platter = self.0.platter();
        let rest = platter.inodes[self.1].content.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut platter = self.0.platter();
        let fault = platter.call()?;
        let mut bytes = bytes.to_vec();
        match fault {
            None | Some(Fault::Sync) => {}
            Some(Fault::Flip) => {
                let at = platter.roll(bytes.len());
                bytes[at] ^= 1 << platter.roll(8);
            }
            Some(_) => bytes.truncate(platter.roll(bytes.len()).max(1)),
        }
        platter.inodes[self.1].content.extend_from_slice(&bytes);
        match fault {
            Some(Fault::Full) => Err(ErrorKind::StorageFull.into()),
            Some(Fault::Broken | Fault::Power) => Err(io::Error::other("EIO")),
            _ => Ok(bytes.len()),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut platter = self.0.platter();
        let at = self.1;
        match platter.call()? {
            None | Some(Fault::Short | Fault::Flip) => {
                if !platter.inodes[at].dropped {
                    platter.inodes[at].durable = platter.inodes[at].content.clone();
                }
                Ok(())
            }
            Some(Fault::Full) => Err(ErrorKind::StorageFull.into()),
            Some(_) => {
                platter.inodes[at].dropped = true;
                Err(io::Error::other("EIO"))
            }
        }
    }
}

/// Batches of a real fleet, and the digest of its state after each of them.
pub struct Story {
    pub batches: Vec<(u64, Vec<u8>)>,
    /// By index; none inside of a batch.
    pub digests: BTreeMap<u64, Sha256Digest>,
}

pub const KEY: [u8; 16] = [6; 16];

impl Story {
    pub fn new() -> Self {
        let mut world = World::default();
        let mut ends = vec![0];
        for turn in 0..6 {
            let handle = world.join(turn, "ab");
            ends.push(world.journal.len());
            let lease = world.acquire(turn, "a").unwrap().answer.lease;
            let holder = (0..=turn).find(|n| World::worker_id(*n) == lease.worker).unwrap();
            ends.push(world.journal.len());
            let device = World::device(holder);
            let handle = if holder == turn {
                handle
            } else {
                world.fleet.state().worker(&World::worker_id(holder)).unwrap().handle
            };
            world.ask(&Start { worker: handle, fence: lease.fence }, &device).unwrap();
            ends.push(world.journal.len());
            if turn % 2 == 0 {
                world.ask(&World::completion(handle, &lease), &device).unwrap();
            } else {
                world.ask(&QuarantineWorker { worker: lease.worker.clone() }, &World::operator()).unwrap();
            }
            ends.push(world.journal.len());
        }
        let mut story = Self { batches: Vec::new(), digests: BTreeMap::new() };
        let mut replay = Replay::new(KEY);
        for pair in ends.windows(2).filter(|pair| pair[0] < pair[1]) {
            let batch = world.journal[pair[0]..pair[1]].to_vec();
            replay.journal(&batch).unwrap();
            let state = replay.state().unwrap();
            story.digests.insert(state.index(), state.digest());
            story.batches.push((state.index(), batch));
        }
        story
    }

    /// The batches after `index`.
    pub fn after(&self, index: u64) -> impl Iterator<Item = &(u64, Vec<u8>)> {
        self.batches.iter().filter(move |(last, _)| *last > index)
    }

    pub fn last(&self) -> u64 {
        self.batches.last().unwrap().0
    }
}

/// The index of the state that a journal leads to, which is one of the story's.
pub fn folded(journal: &mut dyn Journal, story: &Story) -> Result<u64, ReplayError> {
    let replay = replay(journal, KEY)?;
    let Some(state) = replay.state() else { return Ok(0) };
    assert_eq!(story.digests.get(&state.index()), Some(&state.digest()), "a wrong state");
    Ok(state.index())
}
