//! The process that the user started: it makes certificates, starts the others, kills a worker where a job wants it, and
//! checks the invariants on what everybody reports.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    time::Duration,
};

use leasehold::digest::Sha256Digest;

use crate::{
    Failure,
    audit::Audit,
    boot::{self, Server},
    child::{Child, Order, Told},
    escape::shown,
    jobs::{self, JobFile, Ports},
    keys::{Device, INTRUDER, Keys},
    process_log::{LogEntry, Outcome},
    run_directory::RunDirectory,
    scratch, tls,
};

/// How many workers there are.
const WORKERS: u32 = 3;
/// With no note at all for so long, something hangs.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a child may take to end in order.
const FAREWELL: Duration = Duration::from_secs(15);

/// A worker's process, and what is needed to start it again.
struct Member {
    boot: boot::Worker,
    starts: u32,
    process: Child,
}

struct Supervisor {
    entries: Sender<Told>,
    audit: Audit,
    coordinator: Option<Child>,
    members: BTreeMap<String, Member>,
    keys: Keys,
    image: Sha256Digest,
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
    let directory = RunDirectory::make("grpc", &["scratch", "state"])?;
    let keys = Keys::of(&directory, WORKERS)?;
    let image = tls::measure(&std::fs::read(std::env::current_exe()?)?)?;
    // The last one shows a certificate of the fleet's authority and was never paired.
    let known = keys.devices.iter().filter(|device| device.paired.worker.as_str() != INTRUDER);
    let boot = boot::Coordinator {
        identity: keys.coordinator.clone(),
        clients: keys.root.clone(),
        devices: known.map(|device| device.paired.clone()).collect(),
        egress: None,
        pairing: false,
        image,
        jobs,
        state: directory.path().join("state"),
        port: None,
        drill: false,
    };
    let (entries, told) = channel();
    let mut supervisor = Supervisor {
        audit: Audit::of(boot.jobs.iter().map(|job| job.id.clone())),
        coordinator: None,
        members: BTreeMap::new(),
        outcomes: BTreeMap::new(),
        leases: 0,
        renewals: 0,
        kills: 0,
        strangers: 0,
        entries,
        keys,
        image,
    };
    let coordinator = Child::start("coordinator", 1, "coordinator", &boot, &supervisor.entries)?;
    supervisor.coordinator = Some(coordinator);
    supervisor.watch(&told)?;
    supervisor.end(&told)
}

impl Supervisor {
    /// Until every job has its terminal record, and the stranger was refused.
    fn watch(&mut self, told: &Receiver<Told>) -> Result<(), Failure> {
        let mut ended = false;
        while !ended || self.strangers == 0 {
            match told.recv_timeout(SILENCE) {
                Ok(told) => {
                    ended |= matches!(told.entry, LogEntry::AllEnded);
                    self.take(told)?;
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    return Err(Failure::new("nothing happened for a minute"));
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, Told { process: (name, start), entry }: Told) -> Result<(), Failure> {
        self.audit.record(&entry);
        match entry {
            LogEntry::Listening { port } => {
                let coordinator = Server { port, fingerprint: self.keys.coordinator.fingerprint() };
                for Device { paired, identity, evidence_seed } in self.keys.devices.clone() {
                    let name = paired.worker.to_string();
                    let boot = boot::Worker {
                        paired,
                        identity,
                        evidence_seed,
                        image: self.image,
                        root: Some(self.keys.root.clone()),
                        coordinator,
                        network: None,
                    };
                    let process = Child::start(&name, 1, "worker", &boot, &self.entries)?;
                    self.members.insert(name, Member { boot, starts: 1, process });
                }
            }
            LogEntry::Leased { run, worker, attempt, fence, .. } => {
                self.leases += 1;
                println!("{run}: attempt {attempt} on {worker}, fence {fence}");
            }
            LogEntry::Renewed { .. } => self.renewals += 1,
            LogEntry::Ended { run, outcome, reason, .. } => {
                *self.outcomes.entry(outcome).or_default() += 1;
                println!("{run}: {}: {}", outcome.name(), shown(&reason));
            }
            LogEntry::LeaseEnded { run, fence, how, .. } if how != "completed" => {
                println!("{run}: its lease {fence} was lost: {how}");
            }
            LogEntry::Doomed { .. } => {
                if let Some(member) = self.members.get_mut(&name) {
                    // Its end is noted, and it is started again then.
                    member.process.kill();
                    self.kills += 1;
                    println!("{name}: killed in the middle, as the job wants it");
                }
            }
            LogEntry::Exited => match self.members.get_mut(&name) {
                Some(member) if member.starts == start => {
                    member.starts += 1;
                    member.process =
                        Child::start(&name, member.starts, "worker", &member.boot, &self.entries)?;
                }
                Some(_) => {}
                None => return Err(Failure::new(format!("the {name} process ended"))),
            },
            LogEntry::Refused { peer, act, code, message } => {
                let stranger = peer == "a stranger";
                // It comes again and again, and once is enough to see it.
                if !stranger || self.strangers == 0 {
                    println!("refused {peer}: {act}: {code}: {}", shown(&message));
                }
                self.strangers += u32::from(stranger);
            }
            LogEntry::Said { text } => println!("{name}: {}", shown(&text)),
            _ => {}
        }
        Ok(())
    }

    /// Ends every process in order, takes their last entries, and says what there was.
    fn end(mut self, told: &Receiver<Told>) -> Result<ExitCode, Failure> {
        let mut unwell = Vec::new();
        let roots: Vec<PathBuf> =
            self.members.values().map(|member| member.boot.paired.scratch.clone()).collect();
        let mut children: Vec<Child> =
            std::mem::take(&mut self.members).into_values().map(|member| member.process).collect();
        children.iter_mut().for_each(|child| child.order(&Order::Stop));
        for mut child in children.into_iter().chain(self.coordinator.take()) {
            child.order(&Order::Stop);
            if !child.end(FAREWELL) {
                unwell.push(format!("the {} process did not end in order", child.name));
            }
        }
        while let Ok(Told { entry, .. }) = told.recv_timeout(Duration::from_millis(200)) {
            self.audit.record(&entry);
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
