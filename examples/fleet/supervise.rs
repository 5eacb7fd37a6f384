//! The process that the user started: it makes certificates, starts the others, kills some, and watches them all.

use std::{
    collections::BTreeMap,
    process::ExitCode,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use leasehold::{
    attestation::signature::Ed25519Signer, digest::Sha256Digest, fleet::WorkerHandle, lease::Fence,
};

mod drill;
mod witness;

use self::drill::Drill;
use crate::{
    Failure, Show,
    audit::Audit,
    boot::{self, Server},
    chaos::Dice,
    child::{Child, Order, Told},
    escape::shown,
    hexed::Bytes,
    hostile::{self, Intruder, Overheard},
    jobs::{self, JobFile},
    keys::{Device, INTRUDER, Keys},
    origin::Origin,
    policy,
    process_log::LogEntry,
    report::Report,
    run_directory::RunDirectory,
    tls::{self, Authority, Purpose, Root},
};

/// With no note at all for so long, something hangs.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a child may take to end in order.
const FAREWELL: Duration = Duration::from_secs(15);
/// How often a worker is started without joining the fleet before that counts as a fault.
const TRIES: u32 = 20;

/// A worker process, and what is needed to start it again.
struct Member {
    boot: boot::Worker,
    starts: u32,
    /// Starts since it last joined.
    tries: u32,
    process: Option<Child>,
    /// It was killed and has not been started again.
    dead: bool,
    handle: Option<WorkerHandle>,
    /// It was killed in the middle of this lease, and stays away until its last word has come too late.
    late: Option<Fence>,
}

/// The running show.
struct Supervisor {
    directory: RunDirectory,
    keys: Keys,
    origins: Root,
    image: Sha256Digest,
    origin: Origin,
    jobs: JobFile,
    coordinator: Option<Child>,
    proxy: Option<Child>,
    coordinator_at: Option<Server>,
    members: BTreeMap<String, Member>,
    report: Report,
    audit: Audit,
    entries: Sender<Told>,
    chaos: Option<(Dice, Instant)>,
    /// Where the coordinator is killed as well.
    drill: Option<Drill>,
    /// Whoever has no good intentions, until they are sent.
    intruder: Option<Intruder>,
    /// Hostile peers that are at work.
    hostile: Vec<JoinHandle<()>>,
    /// Whether an old holder has come too late already: once is enough to see it.
    late: bool,
    interrupted: bool,
    over: bool,
}

/// Runs the whole show.
pub fn run(show: &Show) -> Result<ExitCode, Failure> {
    let origin_authority = Authority::new("leasehold origins")?;
    let origin = Origin::start(&origin_authority.issue(policy::ORIGIN, Purpose::Server)?)?;
    let jobs = match show.kills {
        0 => match jobs::read(&show.jobs, origin.ports) {
            Ok(jobs) => jobs,
            // Like any other wrong argument.
            Err(failure) => {
                eprintln!("fleet: --jobs {}", shown(&failure.to_string()));
                return Ok(ExitCode::from(2));
            }
        },
        kills => drill::jobs(kills)?,
    };
    for bad in &jobs.bad {
        eprintln!(
            "{}:{}: not a job: {}",
            shown(&show.jobs.to_string_lossy()),
            bad.number,
            shown(&bad.reason)
        );
    }
    let parts = ["scratch", "state"];
    let directory = match &show.state {
        Some(path) => RunDirectory::keep(path, &parts)?,
        None => RunDirectory::make("fleet", &parts)?,
    };
    let keys = Keys::of(&directory, show.workers)?;
    let paired = |name: &str| keys.devices.iter().find(|device| device.paired.worker.as_str() == name);
    let drill = (show.kills > 0).then(|| {
        let last = paired(&format!("worker-{}", show.workers)).map(|device| device.paired.worker.clone());
        let revoke = paired(INTRUDER).map(|device| device.paired.device.clone());
        Drill::new(show.kills, show.seed, directory.path(), last, revoke)
    });
    let (entries, told) = channel();
    let mut supervisor = Supervisor {
        origins: origin_authority.root(),
        report: Report::new(jobs.jobs.len(), show.events.as_deref(), show.report.as_deref())?,
        audit: Audit::of(jobs.jobs.iter().map(|job| job.id.clone())),
        chaos: show.chaos.then(|| (Dice::new(show.seed), Instant::now())),
        drill,
        directory,
        keys,
        image: tls::measure(&std::fs::read(std::env::current_exe()?)?)?,
        origin,
        jobs,
        coordinator: None,
        proxy: None,
        coordinator_at: None,
        members: BTreeMap::new(),
        entries,
        intruder: None,
        hostile: Vec::new(),
        late: false,
        interrupted: false,
        over: false,
    };
    let interrupt = supervisor.entries.clone();
    ctrlc::set_handler(move || {
        let _ = interrupt.send(Told { process: ("supervisor".into(), 0), entry: LogEntry::Interrupted });
    })
    .map_err(|error| Failure::new(error.to_string()))?;
    supervisor.begin()?;
    supervisor.watch(&told)?;
    supervisor.end(&told)
}

impl Supervisor {
    fn begin(&mut self) -> Result<(), Failure> {
        let seed: [u8; 32] = self.keys.proxy_seed.0.as_slice().try_into().unwrap_or_default();
        let boot = boot::Coordinator {
            identity: self.keys.coordinator.clone(),
            clients: self.keys.root.clone(),
            devices: self.keys.devices.iter().map(|device| device.paired.clone()).collect(),
            egress: Some(boot::Egress {
                proxy: self.keys.proxy.certificate(),
                key: Bytes(Ed25519Signer::from_seed("proxy", &seed).public_key().to_vec()),
                origin: self.origin.ports,
            }),
            pairing: false,
            image: self.image,
            jobs: self.jobs.jobs.clone(),
            state: self.directory.path().join("state"),
            port: self.coordinator_at.map(|server| server.port),
            drill: self.drill.is_some(),
        };
        let starts = self.drill.as_ref().map_or(1, Drill::starts);
        self.coordinator = Some(Child::start("coordinator", starts, "coordinator", &boot, &self.entries)?);
        Ok(())
    }

    fn begin_proxy(&mut self, coordinator: Server) -> Result<(), Failure> {
        self.coordinator_at = Some(coordinator);
        let boot = boot::Proxy {
            identity: self.keys.proxy.clone(),
            root: self.keys.root.clone(),
            coordinator,
            devices: self.keys.devices.iter().map(|device| device.paired.clone()).collect(),
            signing_seed: self.keys.proxy_seed.clone(),
            origin: self.origin.ports,
        };
        self.proxy = Some(Child::start("proxy", 1, "egress-proxy", &boot, &self.entries)?);
        Ok(())
    }

    fn begin_workers(&mut self, proxy: Server) -> Result<(), Failure> {
        let Some(coordinator) = self.coordinator_at else {
            return Err(Failure::new("the proxy was ready before the coordinator"));
        };
        for Device { paired, identity, evidence_seed } in self.keys.devices.clone() {
            let name = paired.worker.to_string();
            let boot = boot::Worker {
                paired,
                identity,
                evidence_seed,
                image: self.image,
                root: Some(self.keys.root.clone()),
                coordinator,
                network: Some(boot::Network { proxy, origins: self.origins.clone() }),
            };
            if name == INTRUDER {
                self.intruder = Some(Intruder { boot, unpaired: self.keys.unpaired.clone() });
                continue;
            }
            let process = Some(Child::start(&name, 1, "worker", &boot, &self.entries)?);
            self.members.insert(
                name,
                Member { boot, starts: 1, tries: 1, process, dead: false, handle: None, late: None },
            );
        }
        if let Some((dice, next)) = &mut self.chaos {
            *next = Instant::now() + dice.pause();
        }
        Ok(())
    }

    /// Until every job has its record, somebody interrupts twice, or something that cannot be mended happens.
    fn watch(&mut self, told: &Receiver<Told>) -> Result<(), Failure> {
        let mut heard = Instant::now();
        let mut ended = false;
        loop {
            match told.recv_timeout(Duration::from_millis(50)) {
                Ok(Told { entry: LogEntry::Interrupted, .. }) if self.interrupted => {
                    self.over = true;
                    return Ok(());
                }
                Ok(told) => {
                    heard = Instant::now();
                    ended |= matches!(told.entry, LogEntry::AllEnded);
                    self.take(told)?;
                }
                Err(RecvTimeoutError::Timeout) if heard.elapsed() > SILENCE => {
                    self.fault("nothing happened for a minute".into())?;
                }
                Err(_) => {}
            }
            let busy = self.hostile.iter().any(|hostile| !hostile.is_finished());
            let drilled = self.drill.as_ref().is_none_or(Drill::is_over);
            if self.over || ended && drilled && !busy {
                return Ok(());
            }
            if !drilled {
                // Whoever is started anew says anew when all have ended.
                ended = false;
                self.drill()?;
            }
            if !ended {
                self.chaos()?;
            }
        }
    }

    fn fault(&mut self, message: String) -> Result<(), Failure> {
        self.over = true;
        self.count("supervisor", &LogEntry::Fault { message })
    }

    fn count(&mut self, from: &str, entry: &LogEntry) -> Result<(), Failure> {
        if self.drill.as_mut().is_some_and(|drill| drill.hear(from, entry)) {
            return Ok(());
        }
        self.audit.record(entry);
        self.report.record(from, entry)
    }

    fn take(&mut self, told: Told) -> Result<(), Failure> {
        let Told { process: (name, start), entry } = told;
        self.count(&name, &entry)?;
        match entry {
            LogEntry::Listening { .. } if name == "coordinator" && self.coordinator_at.is_some() => {
                self.listens_again()
            }
            LogEntry::Listening { port } if name == "coordinator" => {
                let fingerprint = self.keys.coordinator.fingerprint();
                self.begin_proxy(Server { port, fingerprint })
            }
            LogEntry::Listening { port } if name == "proxy" => {
                let fingerprint = self.keys.proxy.fingerprint();
                self.begin_workers(Server { port, fingerprint })
            }
            LogEntry::Joined { worker, slot, incarnation } => {
                if let Some(member) = self.members.get_mut(worker.as_str()) {
                    member.handle = Some(WorkerHandle { slot, generation: incarnation });
                    member.tries = 0;
                }
                Ok(())
            }
            LogEntry::Leased { worker, fence, .. } => self.send_intruder(worker.as_str(), fence),
            LogEntry::LeaseEnded { worker, fence, .. } => self.send_late(worker.as_str(), fence),
            LogEntry::Doomed { fence, .. } => {
                let first = !std::mem::replace(&mut self.late, true);
                if let Some(member) = self.members.get_mut(&name) {
                    member.late = first.then_some(fence);
                }
                self.kill(&name, "a job wants it killed in the middle")
            }
            // Said for an old holder whose place is free again.
            LogEntry::Hostile { .. } if self.members.contains_key(&name) => self.start_again(&name),
            LogEntry::Interrupted => {
                self.interrupted = true;
                self.report.say("draining; Ctrl-C again ends at once");
                if let Some(coordinator) = &mut self.coordinator {
                    coordinator.order(&Order::Drain);
                }
                Ok(())
            }
            LogEntry::Exited => self.exited(&name, start),
            _ => Ok(()),
        }
    }

    fn kill(&mut self, name: &str, why: &str) -> Result<(), Failure> {
        let member = self.members.get_mut(name).filter(|member| !member.dead);
        let Some(process) = member.and_then(|member| {
            member.dead = true;
            member.process.as_mut()
        }) else {
            return Ok(());
        };
        process.kill();
        self.count("supervisor", &LogEntry::Killed { process: name.to_owned(), why: why.to_owned() })
    }

    /// A worker that ended is started again; without one of the others there is no show.
    fn exited(&mut self, name: &str, start: u32) -> Result<(), Failure> {
        if name == "coordinator" && self.drill.as_ref().is_some_and(|drill| drill.starts() != start) {
            return Ok(());
        }
        let Some(member) = self.members.get_mut(name) else {
            return self.fault(format!("the {name} process ended"));
        };
        if member.starts != start || member.late.is_some() {
            return Ok(());
        }
        self.start_again(name)
    }

    fn start_again(&mut self, name: &str) -> Result<(), Failure> {
        let Some(member) = self.members.get_mut(name) else { return Ok(()) };
        (member.late, member.dead) = (None, false);
        member.starts += 1;
        member.tries += 1;
        if member.tries > TRIES {
            return self.fault(format!("{name} was started {TRIES} times and did not join"));
        }
        member.process = Some(Child::start(name, member.starts, "worker", &member.boot, &self.entries)?);
        Ok(())
    }

    fn hostile(&mut self, name: &str, act: impl FnOnce(&dyn Fn(LogEntry)) + Send + 'static) {
        let (process, entries) = ((name.to_owned(), 0), self.entries.clone());
        let tell = move |entry| {
            let _ = entries.send(Told { process: process.clone(), entry });
        };
        self.hostile.push(std::thread::spawn(move || act(&tell)));
    }

    /// The hostile peers come when there is a first lease to overhear.
    fn send_intruder(&mut self, worker: &str, fence: Fence) -> Result<(), Failure> {
        let handle = self.members.get(worker).and_then(|member| member.handle);
        // In a drill that device has another part.
        if let Some(handle) = handle.filter(|_| self.drill.is_none())
            && let Some(intruder) = self.intruder.take()
        {
            self.hostile("hostile", move |tell| intruder.act(Overheard { handle, fence }, tell));
        }
        Ok(())
    }

    /// The lease of a killed worker is over: now its last word comes too late.
    fn send_late(&mut self, worker: &str, fence: Fence) -> Result<(), Failure> {
        let member = self.members.get(worker).filter(|member| member.late == Some(fence));
        if let Some((boot, handle)) = member.and_then(|member| Some((member.boot.clone(), member.handle?))) {
            self.hostile(worker, move |tell| hostile::late(&boot, Overheard { handle, fence }, tell));
        }
        Ok(())
    }

    fn chaos(&mut self) -> Result<(), Failure> {
        let count = self.members.len() as u64;
        let Some((dice, next)) = self.chaos.as_mut().filter(|(_, next)| Instant::now() >= *next && count > 0)
        else {
            return Ok(());
        };
        let chosen = dice.below(count);
        *next = Instant::now() + dice.pause();
        let name = self.members.keys().nth(usize::try_from(chosen).unwrap_or(0)).cloned();
        self.kill(&name.unwrap_or_default(), "chaos")
    }

    /// Ends every process in order, takes their last entries, and closes the report.
    fn end(mut self, told: &Receiver<Told>) -> Result<ExitCode, Failure> {
        let patience = if self.over { Duration::ZERO } else { FAREWELL };
        // One that was killed a moment ago has ended already, and not by itself.
        let alive = self.members.values_mut().filter(|member| !member.dead);
        let workers = alive.filter_map(|member| member.process.take());
        let mut unwell = Vec::new();
        // Workers first, so that nobody loses the coordinator; all are told before any is waited for.
        let mut workers: Vec<Child> = workers.collect();
        workers.iter_mut().for_each(|worker| worker.order(&Order::Stop));
        for mut child in workers.into_iter().chain(self.proxy.take()).chain(self.coordinator.take()) {
            child.order(&Order::Stop);
            // Whoever was not asked in time is not blamed.
            if !child.end(patience) && !self.over {
                unwell.push(child.name.clone());
            }
        }
        // All of them are gone, so that their pipes end and this does, too.
        while let Ok(Told { process: (name, _), entry }) = told.recv_timeout(Duration::from_millis(200)) {
            self.count(&name, &entry)?;
        }
        for name in unwell {
            self.count(&name, &LogEntry::Fault { message: "the process did not end in order".into() })?;
        }
        let roots = self.members.values().map(|member| member.boot.paired.scratch.clone());
        // A worker's own directory may stay; nothing may be in it.
        for root in roots.filter(|root| crate::scratch::entries(root) > 1).collect::<Vec<_>>() {
            self.fault(format!("something is left in {}", root.display()))?;
        }
        self.look()?;
        let jobs = self.jobs.jobs.len();
        let broken = self.audit.finish(self.origin.served());
        print!("{}", self.report.close(jobs, &broken)?);
        print!("{}", self.drill.as_ref().map(Drill::rows).unwrap_or_default());
        Ok(match (broken.is_empty(), self.interrupted, self.jobs.bad.is_empty()) {
            (false, _, _) => ExitCode::FAILURE,
            (true, true, _) => ExitCode::from(130),
            (true, false, false) => {
                println!("{:<17}{} lines of the job file are no jobs", "bad lines", self.jobs.bad.len());
                ExitCode::from(3)
            }
            (true, false, true) => ExitCode::SUCCESS,
        })
    }
}
