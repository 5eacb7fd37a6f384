//! What a worker does with one lease: inputs in and checked, the job, outputs and log out, everything removed.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use leasehold::digest::Sha256Digest;

use crate::{
    Failure,
    fetch::{self, Fetched, Route},
    jobs::{Job, Work},
    scratch::{self, Cleanup, Scratch},
    store::Store,
    transform,
};

/// The name of the artifact that says what the job is.
pub const TASK: &str = "in/task.json";
/// The name of the artifact that the job works on.
pub const INPUT: &str = "in/input";
/// The directory that outputs are named below.
pub const OUTPUTS: &str = "out";

/// How often a job that waits looks whether it shall stop.
const LOOK: Duration = Duration::from_millis(10);
/// The longest that a job made to overrun or to be killed waits for that.
const LONGEST: Duration = Duration::from_secs(60);

/// An artifact by name and content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its path in the workspace.
    pub path: String,
    /// Its digest.
    pub sha256: Sha256Digest,
    /// Its size.
    pub bytes: u64,
}

/// What a job may use besides its directory.
pub struct Surroundings {
    /// Where artifacts come from and go to.
    pub store: Store,
    /// The way to the network, which is the proxy.
    pub route: Route,
    /// The lease, as the proxy is shown it.
    pub lease: String,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// Set when the lease is over.
    pub stop: Arc<AtomicBool>,
    /// Called when the job is in its middle and wants its worker killed there.
    pub doomed: Box<dyn Fn() + Send>,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should.
    Done,
    /// By its own fault, or because of what it was refused; in words for people.
    Failed(String),
    /// It was told to stop.
    Stopped,
}

/// What is left of an attempt when its directory is gone.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub verdict: Verdict,
    /// Its outputs, which the store has.
    pub outputs: Vec<Named>,
    /// The whole log stream, which the store has.
    pub log: Sha256Digest,
    /// What the second look found.
    pub cleanup: Cleanup,
}

/// The log stream of a job.
struct Log(fs::File);

impl Log {
    fn line(&mut self, text: &str) -> Result<(), Failure> {
        Ok(writeln!(self.0, "{text}")?)
    }
}

/// Runs the attempt in a new directory at `path` and removes that.
///
/// A failure on the way is the attempt's verdict; the directory is removed in any case.
pub fn perform(path: PathBuf, inputs: &[Named], around: &Surroundings) -> Finished {
    let mut finished = attempt(&path, inputs, around).unwrap_or_else(|failure| {
        let log = around.store.put(format!("{failure}\n").as_bytes());
        (Verdict::Failed(failure.to_string()), Vec::new(), log.unwrap_or_else(|_| Sha256Digest::of(b"")))
    });
    if around.stop.load(Ordering::Relaxed) {
        finished.0 = Verdict::Stopped;
    }
    let (verdict, outputs, log) = finished;
    Finished { verdict, outputs, log, cleanup: scratch::remove(&path) }
}

fn attempt(
    path: &Path,
    inputs: &[Named],
    around: &Surroundings,
) -> Result<(Verdict, Vec<Named>, Sha256Digest), Failure> {
    let place = Scratch::make(path.to_owned())?;
    for input in inputs {
        // `get` checks the bytes against the digest that the lease names.
        let bytes = around.store.get(&input.sha256)?;
        if bytes.len() as u64 != input.bytes {
            return Err(Failure::new("an input has another size than the lease says"));
        }
        let to = place.workspace().join(&input.path);
        if let Some(directory) = to.parent() {
            fs::create_dir_all(directory)?;
        }
        fs::write(to, bytes)?;
    }
    let job: Job = serde_json::from_slice(&fs::read(place.workspace().join(TASK))?)?;
    let mut log = Log(fs::File::create(place.log())?);
    log.line(&format!("{} attempt {}", job.id, around.attempt))?;
    let verdict = match run(&job.work, &place, &mut log, around) {
        Ok(()) if around.stop.load(Ordering::Relaxed) => Verdict::Stopped,
        Ok(()) => Verdict::Done,
        Err(failure) => {
            log.line(&failure.to_string())?;
            Verdict::Failed(failure.to_string())
        }
    };
    drop(log);
    let mut outputs = Vec::new();
    for entry in fs::read_dir(place.artifacts())? {
        let entry = entry?;
        let name =
            entry.file_name().into_string().map_err(|_| Failure::new("an output's name is not text"))?;
        let (sha256, bytes) = around.store.put_file(&entry.path())?;
        outputs.push(Named { path: format!("{OUTPUTS}/{name}"), sha256, bytes });
    }
    outputs.sort_by(|a, b| a.path.cmp(&b.path));
    let (log, _) = around.store.put_file(&place.log())?;
    Ok((verdict, outputs, log))
}

/// Waits, and is over early when it shall stop.
fn wait(span: Duration, stop: &AtomicBool) {
    let end = Instant::now() + span;
    while !stop.load(Ordering::Relaxed) && Instant::now() < end {
        thread::sleep(LOOK);
    }
}

fn run(work: &Work, place: &Scratch, log: &mut Log, around: &Surroundings) -> Result<(), Failure> {
    let input = || fs::read(place.workspace().join(INPUT));
    let output = |name: &str, bytes: &[u8]| fs::write(place.artifacts().join(name), bytes);
    match work {
        Work::Hash { .. } => {
            let digest = Sha256Digest::of(&input()?);
            output("sha256.txt", format!("{digest}\n").as_bytes())?;
        }
        Work::Words { .. } => output("counts.json", transform::count(&input()?).to_string().as_bytes())?,
        Work::Transform { with, .. } => {
            let input = input()?;
            // A first version in scratch space, as tools do it, so that there is something to clean up.
            let result = transform::apply(*with, &input).map_err(Failure::new)?;
            fs::write(place.scratch().join("draft"), &result)?;
            output("result", &result)?;
        }
        Work::Fetch { url } => match fetch::get(&around.route, &around.lease, url)? {
            Fetched::Answer { status, body } => {
                log.line(&format!("status {status}"))?;
                output("body", &body)?;
                if status != 200 {
                    return Err(Failure::new(format!("the origin answered {status}")));
                }
            }
            Fetched::Refused { code, message } => {
                return Err(Failure::new(format!("{code}: {message}")));
            }
        },
        Work::Sleep { ms } => wait(Duration::from_millis(*ms), &around.stop),
        Work::Fail { message } => return Err(Failure::new(message.clone())),
        Work::Overrun { attempts } if around.attempt <= *attempts => {
            log.line("running past the lease")?;
            wait(LONGEST, &around.stop);
        }
        Work::Kill { attempts } if around.attempt <= *attempts => {
            log.line("in the middle")?;
            (around.doomed)();
            wait(LONGEST, &around.stop);
        }
        Work::Overrun { .. } | Work::Kill { .. } => log.line("nothing in the way this time")?,
    }
    Ok(())
}

/// What the outputs of `work` must be, made a second time from the same input by whoever wants to check: `None`
/// where only the worker can know.
pub fn expected(work: &Work, input: &[u8]) -> Option<(&'static str, Vec<u8>)> {
    match work {
        Work::Hash { .. } => Some(("out/sha256.txt", format!("{}\n", Sha256Digest::of(input)).into_bytes())),
        Work::Words { .. } => Some(("out/counts.json", transform::count(input).to_string().into_bytes())),
        Work::Transform { with, .. } => {
            transform::apply(*with, input).ok().map(|result| ("out/result", result))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
