//! The whole on loopback: three nodes and some workers, each its own process, the jobs of the main job, and the audit.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use replicated::NodeId;
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    Failure,
    drill::{Dice, Trouble, Way},
    escape::shown,
    init::{self, Init},
    jobs::{self, Job, JobFile, Ports},
    notes::{Line, Note},
    process_log::LogEntry,
    run_directory::RunDirectory,
    verify::{self, Stores, Told},
};

/// With no word at all for so long, something hangs.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a child may take to end in order.
const FAREWELL: Duration = Duration::from_secs(10);
/// The longest line of a child that is read.
const MAX_LINE: u64 = 1 << 20;
/// Times of the nodes of a show: an election takes 300 to 600 ms. Snapshots are frequent, and no entry goes, so that the whole
/// log can be read at the end.
const RULES: &str = "\n[times]\ntick_ms = 30\nelection_ticks = 10\nheartbeat_ticks = 2\nhold_ms = 1000\n\n\
                     [log]\ncompact_bytes = 65536\nkeep = 1000000000000\n";
/// How long a node is away, at least and at most.
const AWAY: (Duration, Duration) = (Duration::from_millis(700), Duration::from_millis(2_500));
/// How long everybody has to catch up when all jobs have ended.
const CALM: Duration = Duration::from_millis(1_500);

/// What the user chooses for the whole on loopback.
#[derive(clap::Args)]
pub struct Show {
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=7))]
    nodes: u64,
    /// How many workers
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    workers: u32,
    /// The jobs, one JSON object per line; those of the main job where nothing is said
    #[arg(long, value_name = "FILE")]
    jobs: Option<PathBuf>,
    /// How often the jobs run: as so many jobs of their own
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Kill whoever leads when it has led for so many seconds, and start it again later
    #[arg(long, value_name = "EVERY", value_parser = seconds)]
    kill_leader: Option<Duration>,
    /// Stop whoever leads when it has led for so many seconds, for longer than an election
    #[arg(long, value_name = "EVERY", value_parser = seconds)]
    pause: Option<Duration>,
    /// Cut whoever leads off from the other nodes when it has led for so many seconds
    #[arg(long, value_name = "EVERY", value_parser = seconds)]
    partition: Option<Duration>,
    /// End the troubles after so many; without it they go on while jobs run
    #[arg(long, value_name = "N")]
    troubles: Option<u32>,
    /// Decides how long nodes are away
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where everything is made and kept; it must not exist, or be empty
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.trim_end_matches('s').parse().map_err(|_| "a number of seconds, such as 2.5")?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|every| *every >= Duration::from_millis(100))
        .ok_or_else(|| "at least 0.1 seconds".into())
}

/// What a child said, or how it ended.
enum Heard {
    Line(Line),
    Said(String),
    Exited,
}

/// Which child, and which start of it.
struct Word {
    from: (String, u32),
    heard: Heard,
}

struct Process {
    config: PathBuf,
    role: &'static str,
    starts: u32,
    child: Child,
    alive: bool,
}

/// A node that trouble has come to, until it is over.
struct Away {
    node: u64,
    trouble: Trouble,
    until: Instant,
}

struct Supervisor {
    directory: RunDirectory,
    words: Sender<Word>,
    processes: BTreeMap<String, Process>,
    /// From one node to another.
    ways: BTreeMap<(u64, u64), Way>,
    nodes: Vec<u64>,
    jobs: Vec<Job>,
    dice: Dice,
    troubles: Vec<(Trouble, Duration)>,
    left: Option<u32>,
    done: BTreeMap<&'static str, u32>,
    away: Option<Away>,
    leader: Option<(u64, Instant)>,
    /// Since when nobody leads, because of trouble.
    leaderless: Option<Instant>,
    gaps: Vec<Duration>,
    told: Told,
    broken: Vec<String>,
    ready: usize,
    workers_killed: u32,
    ended: bool,
}

/// As many ports in a row as are free now.
fn free_ports(count: u16) -> Result<u16, Failure> {
    for _ in 0..100 {
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let Some(last) = first.checked_add(count) else { continue };
        if (first..last).all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()) {
            return Ok(first);
        }
    }
    Err(Failure::new("there are no free ports in a row"))
}

/// Writes the jobs, so many times, to a file of the run.
fn write_jobs(show: &Show, to: &Path) -> Result<(), Failure> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..").canonicalize()?;
    let from = match &show.jobs {
        Some(path) => path.canonicalize()?,
        None => package.join("examples/fleet/jobs.jsonl"),
    };
    // The job file of the main job names files of its package.
    std::env::set_current_dir(package)?;
    let ports = Ports { http: 0, https: 0 };
    let JobFile { jobs, bad } = jobs::read(&from, ports)?;
    if let Some(bad) = bad.first() {
        return Err(Failure::new(format!("line {} is no job: {}", bad.number, bad.reason)));
    }
    let text = fs::read_to_string(&from)?;
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let mut out = String::new();
    for round in 1..=show.rounds {
        for (line, job) in lines.iter().zip(&jobs) {
            let (old, new) = (format!("\"{}\"", job.id), format!("\"{}.{round}\"", job.id));
            out += &if show.rounds == 1 { (*line).to_owned() } else { line.replacen(&old, &new, 1) };
            out.push('\n');
        }
    }
    Ok(fs::write(to, out)?)
}

/// Runs the whole on loopback.
pub fn run(show: &Show) -> Result<ExitCode, Failure> {
    let directory = match &show.state {
        Some(path) => RunDirectory::keep(path, &[])?,
        None => RunDirectory::make("replicated", &[])?,
    };
    let root = directory.path().join("cluster");
    write_jobs(show, &directory.path().join("wanted.jsonl"))?;
    let ports = free_ports(u16::try_from(2 * show.nodes).unwrap_or(u16::MAX))?;
    init::plan(&Init {
        directory: root.clone(),
        nodes: show.nodes,
        workers: show.workers,
        hosts: vec!["127.0.0.1".into()],
        port: ports,
        days: 1,
        image: None,
        jobs: Some(directory.path().join("wanted.jsonl")),
        even: true,
        more: RULES.into(),
    })?
    .make()?;
    let jobs = jobs::read(&root.join("jobs.jsonl"), Ports { http: 0, https: 0 })?.jobs;
    let (words, heard) = channel();
    let troubles = [
        show.kill_leader.map(|every| (Trouble::Kill, every)),
        show.pause.map(|every| (Trouble::Pause, every)),
        show.partition.map(|every| (Trouble::Partition, every)),
    ];
    let mut supervisor = Supervisor {
        words,
        processes: BTreeMap::new(),
        ways: BTreeMap::new(),
        nodes: (1..=show.nodes).collect(),
        jobs,
        dice: Dice::new(show.seed),
        troubles: troubles.into_iter().flatten().collect(),
        left: show.troubles,
        done: BTreeMap::new(),
        away: None,
        leader: None,
        leaderless: None,
        gaps: Vec::new(),
        told: Told::default(),
        broken: Vec::new(),
        ready: 0,
        workers_killed: 0,
        ended: false,
        directory,
    };
    if show.partition.is_some() {
        supervisor.make_ways(&root, ports)?;
    }
    let began = Instant::now();
    for id in supervisor.nodes.clone() {
        supervisor.start(&format!("node-{id}"), "node")?;
    }
    for number in 1..=show.workers {
        supervisor.start(&format!("worker-{number}"), "worker")?;
    }
    supervisor.watch(&heard)?;
    supervisor.end(&heard, began)
}

impl Supervisor {
    fn root(&self) -> PathBuf {
        self.directory.path().join("cluster")
    }

    /// Each node reaches each other one by a way that can be cut.
    fn make_ways(&mut self, root: &Path, ports: u16) -> Result<(), Failure> {
        for from in self.nodes.clone() {
            let mut text = String::from("\n[dial]\n");
            for to in self.nodes.clone().into_iter().filter(|to| *to != from) {
                let port = ports + u16::try_from(2 * (to - 1)).unwrap_or(0);
                let way = Way::open(format!("127.0.0.1:{port}"))?;
                text += &format!("{to} = \"{}\"\n", way.address());
                self.ways.insert((from, to), way);
            }
            let file = root.join(format!("node-{from}/node.toml"));
            OpenOptions::new().append(true).open(file)?.write_all(text.as_bytes())?;
        }
        Ok(())
    }

    /// Starts a process, or starts it again.
    fn start(&mut self, name: &str, role: &'static str) -> Result<(), Failure> {
        let config = self.root().join(format!("{name}/{role}.toml"));
        let starts = self.processes.get(name).map_or(0, |process| process.starts) + 1;
        let mut child = Command::new(std::env::current_exe()?)
            .args([role, "--attached", "--config"])
            .arg(&config)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A Ctrl-C of the terminal ends this process, and the others with their standard input.
            .process_group(0)
            .spawn()?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let word = {
            let (words, from) = (self.words.clone(), (name.to_owned(), starts));
            move |heard| words.send(Word { from: from.clone(), heard }).is_ok()
        };
        if let Some(err) = err {
            let word = word.clone();
            thread::spawn(move || {
                for line in BufReader::new(err.take(MAX_LINE)).split(b'\n').map_while(Result::ok) {
                    word(Heard::Said(String::from_utf8_lossy(&line).into_owned()));
                }
            });
        }
        if let Some(out) = out {
            thread::spawn(move || {
                for line in BufReader::new(out).split(b'\n').map_while(Result::ok) {
                    word(match serde_json::from_slice(&line) {
                        Ok(line) => Heard::Line(line),
                        Err(_) => Heard::Said(String::from_utf8_lossy(&line).into_owned()),
                    });
                }
                word(Heard::Exited);
            });
        }
        let process = Process { config, role, starts, child, alive: true };
        self.processes.insert(name.to_owned(), process);
        Ok(())
    }

    fn signal(&mut self, name: &str, signal: Signal) {
        let Some(process) = self.processes.get_mut(name).filter(|process| process.alive) else { return };
        if let Some(pid) = i32::try_from(process.child.id()).ok().and_then(Pid::from_raw) {
            // One that has ended meanwhile is noted when its output ends.
            let _ = kill_process(pid, signal);
        }
        if signal == Signal::KILL {
            process.alive = false;
            let _ = process.child.wait();
        }
    }

    /// Until every job has its terminal record and all troubles are over.
    fn watch(&mut self, heard: &Receiver<Word>) -> Result<(), Failure> {
        let mut last = Instant::now();
        loop {
            if let Ok(word) = heard.recv_timeout(Duration::from_millis(20)) {
                last = Instant::now();
                self.hear(word)?;
            } else if last.elapsed() > SILENCE {
                return Err(Failure::new("nothing happened for a minute"));
            }
            self.trouble()?;
            let troubled = self.left.is_some_and(|left| left > 0) && !self.troubles.is_empty();
            if self.ended && self.away.is_none() && !troubled {
                return Ok(());
            }
        }
    }

    fn hear(&mut self, Word { from: (name, start), heard }: Word) -> Result<(), Failure> {
        let current = self.processes.get(&name).is_some_and(|process| process.starts == start);
        match heard {
            Heard::Said(text) => println!("{name}: {}", shown(&text)),
            Heard::Exited if current => self.exited(&name)?,
            Heard::Exited => {}
            Heard::Line(Line::Replica(note)) => self.note(&name, note, current),
            Heard::Line(Line::Fleet(entry)) => self.entry(&name, entry, current),
        }
        Ok(())
    }

    fn note(&mut self, name: &str, note: Note, current: bool) {
        match note {
            Note::Ready { .. } => self.ready += 1,
            Note::Leads { id, term } if current => {
                let gap = self.leaderless.take().map(|since| since.elapsed());
                let after = gap.map_or(String::new(), |gap| {
                    format!(", {} ms after the last one was lost", gap.as_millis())
                });
                println!("node {id} leads in term {term}{after}");
                self.gaps.extend(gap);
                self.leader = Some((id, Instant::now()));
            }
            Note::Follows { id } => {
                self.leader.take_if(|(leader, _)| *leader == id);
            }
            Note::Restored { id, index } => println!("node {id} took a snapshot at {index} from another one"),
            Note::NotPromoted { id, code } => println!("node {id} could not lead: {code}"),
            Note::Stopped { code, .. } => self.broken.push(format!("{name} has stopped: {code}")),
            Note::Turned { peer, code, .. } if code != "tls.handshake" => {
                self.broken.push(format!("{name} turned {} away: {code}", shown(&peer)));
            }
            _ => {}
        }
    }

    fn entry(&mut self, name: &str, entry: LogEntry, current: bool) {
        self.told.hear(name, &entry);
        match entry {
            LogEntry::Leased { run, worker, attempt, fence, .. } if attempt > 1 => {
                println!("{run}: attempt {attempt} on {worker}, fence {fence}");
            }
            LogEntry::LeaseEnded { run, fence, how, .. } if how != "completed" => {
                println!("{run}: its lease {fence} was lost: {how}");
            }
            LogEntry::Doomed { run, .. } if current => {
                println!("{name}: killed in the middle of {run}, as the job wants it");
                self.workers_killed += 1;
                self.signal(name, Signal::KILL);
            }
            LogEntry::Fault { message } => self.broken.push(format!("{name}: {message}")),
            LogEntry::Cleaned { remaining, by, .. } if remaining > 0 => {
                self.broken.push(format!("{by} left {remaining} entries of a lease"));
            }
            LogEntry::AllEnded => self.ended = true,
            _ => {}
        }
    }

    /// A worker that ended is started again; a node ends only where this process wants it.
    fn exited(&mut self, name: &str) -> Result<(), Failure> {
        let Some(process) = self.processes.get_mut(name) else { return Ok(()) };
        let (role, wanted) = (process.role, !process.alive);
        process.alive = false;
        match role {
            "worker" => self.start(name, role),
            _ if wanted => Ok(()),
            _ => Err(Failure::new(format!("{name} ended by itself"))),
        }
    }

    /// Brings trouble to whoever leads, and ends it.
    fn trouble(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        if let Some(away) = self.away.take_if(|away| now >= away.until) {
            let name = format!("node-{}", away.node);
            match away.trouble {
                Trouble::Kill => self.start(&name, "node")?,
                Trouble::Pause => self.signal(&name, Signal::CONT),
                Trouble::Partition => self.cut(away.node, false),
            }
        }
        if self.away.is_some()
            || self.troubles.is_empty()
            || self.left == Some(0)
            || self.ready < self.nodes.len()
        {
            return Ok(());
        }
        if self.ended && self.left.is_none() {
            return Ok(());
        }
        let total: u32 = self.done.values().sum();
        let (trouble, every) = self.troubles[total as usize % self.troubles.len()];
        let Some((node, since)) = self.leader else { return Ok(()) };
        if now < since + every {
            return Ok(());
        }
        let name = format!("node-{node}");
        let until = now + self.dice.between(AWAY.0, AWAY.1);
        match trouble {
            Trouble::Kill => self.signal(&name, Signal::KILL),
            Trouble::Pause => self.signal(&name, Signal::STOP),
            Trouble::Partition => self.cut(node, true),
        }
        let what = match trouble {
            Trouble::Kill => "killed",
            Trouble::Pause => "stopped for a while",
            Trouble::Partition => "cut off",
        };
        println!("node {node}, which leads, is {what}");
        *self.done.entry(what).or_default() += 1;
        self.left = self.left.map(|left| left - 1);
        (self.leader, self.leaderless) = (None, Some(now));
        self.away = Some(Away { node, trouble, until });
        Ok(())
    }

    fn cut(&self, node: u64, cut: bool) {
        for (_, way) in self.ways.iter().filter(|((from, to), _)| *from == node || *to == node) {
            way.cut(cut);
        }
    }

    /// Ends every process in order, reads what the nodes have kept, and says what there was.
    fn end(mut self, heard: &Receiver<Word>, began: Instant) -> Result<ExitCode, Failure> {
        self.drain(heard, CALM)?;
        for role in ["worker", "node"] {
            for process in self.processes.values_mut().filter(|process| process.role == role) {
                drop(process.child.stdin.take());
            }
            for (name, process) in self.processes.iter_mut().filter(|(_, process)| process.role == role) {
                if !ends(&mut process.child) {
                    self.broken.push(format!("{name} did not end in order ({})", process.config.display()));
                }
                process.alive = false;
            }
        }
        while let Ok(word) = heard.recv_timeout(Duration::from_millis(200)) {
            if let Heard::Line(Line::Fleet(entry)) = word.heard {
                self.entry(&word.from.0, entry, false);
            }
        }
        let root = self.root();
        let founding = fs::read(root.join("founding.bin"))?;
        let nodes: Vec<NodeId> = self.nodes.iter().copied().map(NodeId).collect();
        let stores = Stores { directory: &root, founding: &founding, nodes: &nodes };
        let found = verify::audit(&stores, &self.jobs, &self.told)?;
        let broken: Vec<String> = std::mem::take(&mut self.broken).into_iter().chain(found.broken).collect();

        let outcomes: Vec<String> =
            found.outcomes.iter().map(|(outcome, count)| format!("{} {count}", outcome.name())).collect();
        println!("jobs          {}: {}", self.jobs.len(), outcomes.join(", "));
        println!(
            "leases        {}, of these {} told to workers and found in the log",
            found.leases, found.told
        );
        println!(
            "log           {} entries, {} records, {} passed over",
            found.entries, found.records, found.skipped
        );
        println!("epochs        {}", found.epochs.len());
        let troubles: Vec<String> =
            self.done.iter().map(|(what, count)| format!("{what} {count} times")).collect();
        let troubles = if troubles.is_empty() { "none".into() } else { troubles.join(", ") };
        println!("leaders       {troubles}; workers killed {}", self.workers_killed);
        if !self.gaps.is_empty() {
            self.gaps.sort_unstable();
            let at = |rank: usize| self.gaps.get(rank).map_or(0, Duration::as_millis);
            let last = self.gaps.len() - 1;
            println!("no leader for {} ms (median), {} ms (longest)", at(last / 2), at(last));
        }
        for line in &broken {
            println!("BROKEN        {}", shown(line));
        }
        if broken.is_empty() {
            println!("invariants    all held");
        }
        println!("time          {:.1} s", began.elapsed().as_secs_f64());
        Ok(if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn drain(&mut self, heard: &Receiver<Word>, span: Duration) -> Result<(), Failure> {
        let until = Instant::now() + span;
        while Instant::now() < until {
            if let Ok(word) = heard.recv_timeout(Duration::from_millis(20)) {
                self.hear(word)?;
            }
        }
        Ok(())
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        for process in self.processes.values_mut() {
            let _ = process.child.kill();
            let _ = process.child.wait();
        }
    }
}

/// Whether a child ends by itself, and well.
fn ends(child: &mut Child) -> bool {
    let until = Instant::now() + FAREWELL;
    while Instant::now() < until {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) => thread::sleep(Duration::from_millis(5)),
            Err(_) => return false,
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    false
}
