//! The process that the user started: it makes certificates, starts the others, kills a worker where a job wants it, and
//! checks the invariants on what everybody reports.

use std::{
    collections::BTreeMap,
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    time::{Duration, SystemTime},
};

use leasehold::attestation::signature::Ed25519Signer;

use crate::{
    Failure,
    audit::Audit,
    boot::{self, Paired},
    child::{Child, Order, Told},
    escape::shown,
    hexed::Bytes,
    jobs::{self, JobFile, Ports},
    note::{Note, Outcome},
    scratch,
    tls::{self, Authority, Identity, Purpose},
};

/// How many workers there are.
const WORKERS: usize = 3;
/// With no note at all for so long, something hangs.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a child may take to end in order.
const FAREWELL: Duration = Duration::from_secs(15);
/// Shows a certificate of the fleet's authority that was never paired.
const STRANGER: &str = "stranger";

/// A directory for one show that is gone at its end.
struct Place(PathBuf);

impl Place {
    fn make() -> Result<Self, Failure> {
        let stamp = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_nanos());
        let path = std::env::temp_dir().join(format!("leasehold-grpc-{}-{stamp}", std::process::id()));
        for part in ["", "scratch", "state"] {
            DirBuilder::new().mode(0o700).create(path.join(part))?;
        }
        Ok(Self(path))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A worker's process, and what is needed to start it again.
struct Seat {
    boot: boot::Worker,
    starts: u32,
    process: Child,
}

struct Supervisor {
    notes: Sender<Told>,
    audit: Audit,
    coordinator: Option<Child>,
    seats: BTreeMap<String, Seat>,
    boots: Vec<boot::Worker>,
    outcomes: BTreeMap<Outcome, u32>,
    leases: u32,
    renewals: u32,
    kills: u32,
    strangers: u32,
}

/// Runs the jobs of the file at `path`.
pub fn run(path: &Path) -> Result<ExitCode, Failure> {
    let JobFile { jobs, bad } = jobs::read(path, Ports { http: 0, https: 0 })?;
    if let Some(bad) = bad.first() {
        return Err(Failure::new(format!("line {} is no job: {}", bad.number, bad.reason)));
    }
    let place = Place::make()?;
    let authority = Authority::new("leasehold grpc")?;
    let image = tls::measure(&std::fs::read(std::env::current_exe()?)?)?;
    let identity = authority.issue(tls::COORDINATOR, Purpose::Server)?;
    let mut boots = Vec::new();
    for name in (1..=WORKERS).map(|number| format!("worker-{number}")).chain([STRANGER.to_owned()]) {
        let identity_of_worker = authority.issue(&name, Purpose::Client)?;
        let seed: [u8; 32] = tls::entropy()?;
        boots.push(boot::Worker {
            paired: paired(&name, &identity_of_worker, &seed, &place.0)?,
            identity: identity_of_worker,
            evidence_seed: Bytes(seed.to_vec()),
            image,
            root: authority.root(),
            port: 0,
            coordinator: identity.fingerprint(),
        });
    }
    let (notes, told) = channel();
    let mut supervisor = Supervisor {
        audit: Audit::of(jobs.iter().map(|job| job.id.clone())),
        coordinator: None,
        seats: BTreeMap::new(),
        outcomes: BTreeMap::new(),
        leases: 0,
        renewals: 0,
        kills: 0,
        strangers: 0,
        notes,
        boots,
    };
    let known = supervisor.boots.iter().filter(|boot| boot.paired.worker.as_str() != STRANGER);
    let boot = boot::Coordinator {
        identity,
        clients: authority.root(),
        devices: known.map(|boot| boot.paired.clone()).collect(),
        image,
        jobs,
        state: place.0.join("state"),
    };
    let coordinator = Child::start("coordinator", 1, "coordinator", &boot, &supervisor.notes)?;
    supervisor.coordinator = Some(coordinator);
    supervisor.watch(&told)?;
    supervisor.end(&told)
}

fn paired(name: &str, identity: &Identity, seed: &[u8; 32], place: &Path) -> Result<Paired, Failure> {
    Ok(Paired {
        device: format!("device-of-{name}").parse().map_err(Failure::coded)?,
        worker: name.parse().map_err(Failure::coded)?,
        certificate: identity.certificate(),
        evidence_key: Bytes(Ed25519Signer::from_seed(name, seed).public_key().to_vec()),
        scratch: place.join("scratch").join(name),
    })
}

impl Supervisor {
    /// Until every job has its terminal record, and the stranger was refused.
    fn watch(&mut self, told: &Receiver<Told>) -> Result<(), Failure> {
        let mut ended = false;
        while !ended || self.strangers == 0 {
            match told.recv_timeout(SILENCE) {
                Ok(told) => {
                    ended |= matches!(told.note, Note::AllEnded);
                    self.take(told)?;
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    return Err(Failure::new("nothing happened for a minute"));
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, Told { process: (name, start), note }: Told) -> Result<(), Failure> {
        self.audit.note(&note);
        match note {
            Note::Listening { port } => {
                for mut boot in std::mem::take(&mut self.boots) {
                    boot.port = port;
                    let name = boot.paired.worker.to_string();
                    let process = Child::start(&name, 1, "worker", &boot, &self.notes)?;
                    self.seats.insert(name, Seat { boot, starts: 1, process });
                }
            }
            Note::Leased { run, worker, attempt, fence, .. } => {
                self.leases += 1;
                println!("{run}: attempt {attempt} on {worker}, fence {fence}");
            }
            Note::Renewed { .. } => self.renewals += 1,
            Note::Ended { run, outcome, reason, .. } => {
                *self.outcomes.entry(outcome).or_default() += 1;
                println!("{run}: {}: {}", outcome.name(), shown(&reason));
            }
            Note::LeaseEnded { run, fence, how, .. } if how != "completed" => {
                println!("{run}: its lease {fence} was lost: {how}");
            }
            Note::Doomed { .. } => {
                if let Some(seat) = self.seats.get_mut(&name) {
                    // Its end is noted, and it is started again then.
                    seat.process.kill();
                    self.kills += 1;
                    println!("{name}: killed in the middle, as the job wants it");
                }
            }
            Note::Exited => match self.seats.get_mut(&name) {
                Some(seat) if seat.starts == start => {
                    seat.starts += 1;
                    seat.process = Child::start(&name, seat.starts, "worker", &seat.boot, &self.notes)?;
                }
                Some(_) => {}
                None => return Err(Failure::new(format!("the {name} process ended"))),
            },
            Note::Refused { peer, act, code, message } => {
                let stranger = peer == "a stranger";
                // It comes again and again, and once is enough to see it.
                if !stranger || self.strangers == 0 {
                    println!("refused {peer}: {act}: {code}: {}", shown(&message));
                }
                self.strangers += u32::from(stranger);
            }
            Note::Said { text } => println!("{name}: {}", shown(&text)),
            _ => {}
        }
        Ok(())
    }

    /// Ends every process in order, takes their last notes, and says what there was.
    fn end(mut self, told: &Receiver<Told>) -> Result<ExitCode, Failure> {
        let mut unwell = Vec::new();
        let roots: Vec<PathBuf> = self.seats.values().map(|seat| seat.boot.paired.scratch.clone()).collect();
        let mut children: Vec<Child> =
            std::mem::take(&mut self.seats).into_values().map(|seat| seat.process).collect();
        children.iter_mut().for_each(|child| child.order(&Order::Stop));
        for mut child in children.into_iter().chain(self.coordinator.take()) {
            child.order(&Order::Stop);
            if !child.end(FAREWELL) {
                unwell.push(format!("the {} process did not end in order", child.name));
            }
        }
        while let Ok(Told { note, .. }) = told.recv_timeout(Duration::from_millis(200)) {
            self.audit.note(&note);
        }
        // A worker's own directory may stay; nothing may be in it.
        unwell.extend(
            roots
                .iter()
                .filter(|root| scratch::entries(root) > 1)
                .map(|root| format!("something is left in {}", root.display())),
        );
        let broken: Vec<String> = unwell.into_iter().chain(self.audit.finish(0)).collect();
        let outcomes: Vec<String> =
            self.outcomes.iter().map(|(outcome, count)| format!("{} {count}", outcome.name())).collect();
        println!("jobs: {}", outcomes.join(", "));
        println!("leases {}, renewals {}, workers killed {}", self.leases, self.renewals, self.kills);
        for line in &broken {
            println!("BROKEN: {}", shown(line));
        }
        if broken.is_empty() {
            println!("invariants: all held");
        }
        Ok(if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}
