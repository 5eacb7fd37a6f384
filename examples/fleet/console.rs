//! The operator's console: a loopback socket of the coordinator's process, and the command that speaks to it.
//!
//! The coordinator writes its port and a token to `DIR/state/operator.json`, which only its owner can read; whoever can
//! read that file is the operator. One line of JSON asks, one line answers, and the connection is over.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use leasehold::{id::WorkerId, shell::Entropy as _, shell::OsEntropy};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use crate::{Failure, escape::shown, hexed::Bytes};

/// Where port and token are, below the directory that `--state` names.
const FILE: &str = "state/operator.json";
/// The longest line in either direction.
const MAX_LINE: u64 = 64 << 10;
/// How long a line may take.
const LINE: Duration = Duration::from_secs(2);
/// How long the coordinator may take for its answer.
const ANSWER: Duration = Duration::from_secs(10);
/// Connections at a time.
const SEATS: usize = 8;

/// What a refusal of the console itself is called.
const NO_COORDINATOR: &str = "operator.no_coordinator";
const WRONG_TOKEN: &str = "operator.token";
const MALFORMED: &str = "operator.malformed";

/// The exit statuses of `fleet operator`, for its help.
pub const EXIT: &str =
    "Exit status: 0 when it was done, 2 when it was refused or the arguments are wrong, 3 when no coordinator answers,
4 for a wrong token. What was refused has changed nothing.";

/// `fleet operator`: whose coordinator, and what it is to do.
#[derive(clap::Args)]
pub struct Operator {
    /// The directory that the fleet was started with
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    #[command(subcommand)]
    act: Said,
}

#[derive(clap::Subcommand)]
enum Said {
    /// Says how the fleet stands, and what it waits for
    Status,
    /// Opens the latch of a quarantined worker, as far as an operator can: it has to bring fresh evidence as well
    Release { worker: String },
    /// Ends a worker for good
    Retire { worker: String },
    /// Believes the wall clock as it stands now, after a leap
    AcceptWall,
    /// Vouches for the cleanup that a worker owes
    ForceCleanup { worker: String },
    /// Gives a worker no new lease; without a worker: runs no more jobs, and finishes what runs
    Drain { worker: Option<String> },
}

/// What the operator wants done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Act {
    Status {},
    Release { worker: WorkerId },
    Retire { worker: WorkerId },
    AcceptWall {},
    ForceCleanup { worker: WorkerId },
    Drain { worker: Option<WorkerId> },
}

impl Said {
    fn parsed(&self) -> Result<Act, Failure> {
        let worker = |name: &str| WorkerId::new(name).map_err(Failure::coded);
        Ok(match self {
            Self::Status => Act::Status {},
            Self::Release { worker: name } => Act::Release { worker: worker(name)? },
            Self::Retire { worker: name } => Act::Retire { worker: worker(name)? },
            Self::AcceptWall => Act::AcceptWall {},
            Self::ForceCleanup { worker: name } => Act::ForceCleanup { worker: worker(name)? },
            Self::Drain { worker: name } => Act::Drain { worker: name.as_deref().map(worker).transpose()? },
        })
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Answer {
    /// Done, or said; in words for the operator.
    Done { text: String },
    /// Refused, and nothing has changed.
    Refused { code: String, message: String },
}

impl Answer {
    /// A refusal of the library.
    pub fn refused(error: &(impl leasehold::code::Coded + ?Sized)) -> Self {
        Self::Refused { code: error.code().to_string(), message: error.to_string() }
    }

    fn own(code: &str, message: &str) -> Self {
        Self::Refused { code: code.into(), message: message.into() }
    }
}

/// Where the console listens, and the proof that one may use it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Door {
    port: u16,
    token: Bytes,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    token: Bytes,
    act: Act,
}

/// An act that waits for its answer.
pub struct Asked {
    /// The act.
    pub act: Act,
    /// Where the answer goes.
    pub answer: SyncSender<Answer>,
}

/// The open console. Its file goes with it.
pub struct Console {
    file: PathBuf,
}

impl Console {
    /// Opens a console whose file is in `state`. Acts go to `ask`, which is false when nobody takes them any more.
    pub fn open(state: &Path, ask: impl Fn(Asked) -> bool + Clone + Send + 'static) -> Result<Self, Failure> {
        let mut token = vec![0; 32];
        OsEntropy::open().and_then(|mut entropy| entropy.fill(&mut token)).map_err(Failure::coded)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let file = state.join("operator.json");
        let draft = state.join("operator.draft");
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let door = Door { port, token: Bytes(token.clone()) };
        // New and with its mode from the beginning: nobody has it open who may not read it.
        let mut made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        made.write_all(&serde_json::to_vec(&door)?)?;
        fs::rename(&draft, &file)?;
        let (token, limit): (Arc<[u8]>, _) = (token.into(), Arc::new(AtomicUsize::new(0)));
        thread::Builder::new().name("console".into()).spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // Whoever finds no slot is cut, and can come again.
                if limit.fetch_add(1, Ordering::AcqRel) >= SEATS {
                    limit.fetch_sub(1, Ordering::AcqRel);
                    continue;
                }
                let (token, limit, ask) = (Arc::clone(&token), Arc::clone(&limit), ask.clone());
                thread::spawn(move || {
                    // A peer that is gone needs no answer.
                    let _ = serve(&stream, &token, &ask);
                    limit.fetch_sub(1, Ordering::AcqRel);
                });
            }
        })?;
        Ok(Self { file })
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}

/// One line, however the peer spreads its bytes.
fn line(mut stream: &TcpStream, patience: Duration) -> io::Result<Vec<u8>> {
    let (deadline, mut line, mut buffer) = (Instant::now() + patience, Vec::new(), [0; 1024]);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        let count = stream.read(&mut buffer)?;
        line.extend_from_slice(&buffer[..count]);
        if let Some(end) = line.iter().position(|byte| *byte == b'\n') {
            line.truncate(end);
            return Ok(line);
        }
        if count == 0 || line.len() as u64 > MAX_LINE {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

fn say(mut stream: &TcpStream, document: &impl Serialize) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(document)?;
    bytes.push(b'\n');
    stream.set_write_timeout(Some(LINE))?;
    stream.write_all(&bytes)
}

fn serve(stream: &TcpStream, token: &[u8], ask: &impl Fn(Asked) -> bool) -> io::Result<()> {
    let Ok(request) = serde_json::from_slice::<Request>(&line(stream, LINE)?) else {
        return say(stream, &Answer::own(MALFORMED, "this is no request of an operator"));
    };
    if !bool::from(request.token.0.ct_eq(token)) {
        let message =
            "the token is not this coordinator's: read the file of the directory that it was started with";
        return say(stream, &Answer::own(WRONG_TOKEN, message));
    }
    let (answer, answered) = sync_channel(1);
    let gone = || Answer::own(NO_COORDINATOR, "the coordinator ended before it answered: ask for the status");
    let answer = match ask(Asked { act: request.act, answer }) {
        true => answered.recv_timeout(ANSWER).unwrap_or_else(|_| gone()),
        false => gone(),
    };
    say(stream, &answer)
}

/// `fleet operator`: 0 when it was done, 2 when it was refused, 3 when no coordinator answers, 4 for a wrong token.
pub fn run(operator: &Operator) -> ExitCode {
    let act = match operator.act.parsed() {
        Ok(act) => act,
        Err(failure) => {
            eprintln!("fleet: {}", shown(&failure.to_string()));
            return ExitCode::from(2);
        }
    };
    let answer = ask(&operator.state.join(FILE), act).unwrap_or_else(|error| {
        let message = format!("no coordinator answers for {}: {error}", operator.state.display());
        Answer::own(NO_COORDINATOR, &message)
    });
    match answer {
        Answer::Done { text } => {
            text.lines().for_each(|line| println!("{}", shown(line)));
            ExitCode::SUCCESS
        }
        Answer::Refused { code, message } => {
            eprintln!("fleet: {}: {}", shown(&code), shown(&message));
            ExitCode::from(match code.as_str() {
                NO_COORDINATOR => 3,
                WRONG_TOKEN => 4,
                _ => 2,
            })
        }
    }
}

fn ask(file: &Path, act: Act) -> io::Result<Answer> {
    let mut bytes = Vec::new();
    File::open(file)?.take(MAX_LINE).read_to_end(&mut bytes)?;
    let Door { port, token } = serde_json::from_slice(&bytes)?;
    let stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), LINE)?;
    say(&stream, &Request { token, act })?;
    Ok(serde_json::from_slice(&line(&stream, ANSWER + LINE)?)?)
}
