//! What a worker does under one lease: inputs checked, the job, outputs and log gathered.

use std::{
    fs,
    io::{self, Read, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use leasehold::{
    code,
    digest::Sha256Digest,
    lease::{Artifact, ArtifactManifest, OutputClaim, RelativePath},
};

use crate::{
    Failure,
    jobs::{Job, Work},
    scratch::Scratch,
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

/// What came back from an origin, or from whoever stands before it.
pub enum Fetched {
    /// An answer of the origin.
    Answer { status: u16, body: Vec<u8> },
    /// A refusal on the way.
    Refused { code: String, message: String },
}

/// What a job may use besides its directory.
pub struct Surroundings {
    /// The way to the network: gets a URL, under the job's lease.
    pub get: Box<dyn Fn(&str) -> Result<Fetched, Failure> + Send>,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// How many bytes its outputs may have together, and its log.
    pub limits: (u64, u64),
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

/// What an attempt made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// How it ended.
    pub verdict: Verdict,
    /// Its outputs.
    pub outputs: Vec<(RelativePath, Vec<u8>)>,
    /// The whole log stream.
    pub log: Vec<u8>,
}

impl Made {
    /// What the worker says that it made: digests of exactly these bytes.
    pub fn claim(&self) -> Result<OutputClaim, Failure> {
        let entries = self.outputs.iter().map(|(path, content)| Artifact::of(path.clone(), content));
        let outputs = ArtifactManifest::new(entries).map_err(Failure::coded)?;
        Ok(OutputClaim { outputs, log: Sha256Digest::of(&self.log) })
    }
}

/// The log stream of a job.
struct Log(fs::File);

impl Log {
    fn line(&mut self, text: &str) -> Result<(), Failure> {
        Ok(writeln!(self.0, "{text}")?)
    }
}

/// Runs the attempt whose inputs lie in the workspace of `place`. A failure on the way is the attempt's verdict.
pub fn perform(directory: &Scratch, inputs: &ArtifactManifest, around: &Surroundings) -> Made {
    let mut made = attempt(directory, inputs, around).unwrap_or_else(|failure| Made {
        log: format!("{failure}\n").into_bytes(),
        verdict: Verdict::Failed(failure.to_string()),
        outputs: Vec::new(),
    });
    if around.stop.load(Ordering::Relaxed) {
        made.verdict = Verdict::Stopped;
    }
    made
}

fn attempt(directory: &Scratch, inputs: &ArtifactManifest, around: &Surroundings) -> Result<Made, Failure> {
    for input in inputs.entries() {
        // What lies there is what the job reads, whatever arrived.
        let bytes = fs::read(directory.workspace().join(input.path.as_str()))?;
        if Artifact::of(input.path.clone(), &bytes) != *input {
            return Err(Failure::new(format!(
                "the input {} is not the one that the lease names",
                input.path
            )));
        }
    }
    let job: Job = serde_json::from_slice(&fs::read(directory.workspace().join(TASK))?)?;
    let mut log = Log(fs::File::create(directory.log())?);
    log.line(&format!("{} attempt {}", job.id, around.attempt))?;
    let mut verdict = match run(&job.work, directory, &mut log, around) {
        Ok(()) => Verdict::Done,
        Err(failure) => {
            log.line(&failure.to_string())?;
            Verdict::Failed(failure.to_string())
        }
    };
    // What is over the limits of the lease is not sent, and not even read: the run has failed.
    let (max_output, max_log) = around.limits;
    let sizes = fs::read_dir(directory.artifacts())?.map(|entry| Ok(entry?.metadata()?.len()));
    let made = sizes.sum::<io::Result<u64>>()?;
    if made > max_output {
        let code = code::ARTIFACT_TOO_LARGE;
        let excess = format!("{code}: the outputs have {made} bytes, and the lease allows {max_output}");
        log.line(&excess)?;
        verdict = Verdict::Failed(excess);
    }
    drop(log);
    let logged = fs::metadata(directory.log())?.len();
    if logged > max_log {
        let code = code::ARTIFACT_LOG;
        verdict =
            Verdict::Failed(format!("{code}: the log has {logged} bytes, and the lease allows {max_log}"));
    }
    let mut log = Vec::new();
    fs::File::open(directory.log())?.take(max_log).read_to_end(&mut log)?;
    let mut outputs = Vec::new();
    for entry in fs::read_dir(directory.artifacts())?.take_while(|_| made <= max_output) {
        let entry = entry?;
        let name =
            entry.file_name().into_string().map_err(|_| Failure::new("an output's name is not text"))?;
        let path = RelativePath::new(&format!("{OUTPUTS}/{name}")).map_err(Failure::coded)?;
        outputs.push((path, fs::read(entry.path())?));
    }
    outputs.sort();
    Ok(Made { verdict, outputs, log })
}

/// Waits, and is over early when it shall stop.
fn wait(span: Duration, stop: &AtomicBool) {
    let end = Instant::now() + span;
    while !stop.load(Ordering::Relaxed) && Instant::now() < end {
        thread::sleep(LOOK);
    }
}

fn run(work: &Work, directory: &Scratch, log: &mut Log, around: &Surroundings) -> Result<(), Failure> {
    let input = || fs::read(directory.workspace().join(INPUT));
    let output = |name: &str, bytes: &[u8]| fs::write(directory.artifacts().join(name), bytes);
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
            fs::write(directory.scratch().join("draft"), &result)?;
            output("result", &result)?;
        }
        Work::Fetch { url } => match (around.get)(url)? {
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
#[path = "work/tests.rs"]
mod tests;
