//! Peers that mean no good: each does its worst over a real connection, and what came of it is noted.
//!
//! The three of the show: a wrong certificate, evidence for another image than the fleet trusts, and a lease message
//! that is not the sender's or comes too late. Beside them some who do not speak the protocol at all.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use leasehold::{
    attestation::EvidenceForm,
    digest::Sha256Digest,
    fleet::{RunOutcome, WorkerHandle},
    lease::{ArtifactManifest, Epoch, Fence, OutputClaim},
    protocol::{
        frame::{FrameDecoder, FrameKind, HEADER_BYTES, VERSION},
        message::{CoordinatorMessage, Document, WireBytes, WorkerAnswer, WorkerMessage, WorkerRequest},
    },
    shell::SystemClock,
    time::Clock,
};
use rustls::ClientConfig;

use crate::{
    Failure, boot,
    duplex::Duplex,
    evidence,
    fetch::{self, Route},
    process_log::LogEntry,
    tls::{self, Authority, Identity, Purpose},
};

/// How long a hostile peer waits for something to happen.
const PATIENCE: Duration = Duration::from_secs(6);

/// What somebody outside can have learnt of a lease: enough to write its messages.
#[derive(Clone, Copy)]
pub struct Overheard {
    /// The holder.
    pub handle: WorkerHandle,
    /// The lease.
    pub fence: Fence,
}

impl Overheard {
    fn completion(self) -> WorkerMessage {
        let claim = OutputClaim { outputs: ArtifactManifest::default(), log: Sha256Digest::of(b"") };
        let Self { handle: worker, fence } = self;
        WorkerMessage::Complete { worker, fence, outcome: RunOutcome::Succeeded, claim, cleanup: None }
    }
}

/// What came of an attempt.
enum Outcome {
    Refused(String),
    Closed(String),
    Accepted(String),
}

/// A connection as a worker has it, without an agent that keeps to the rules.
struct Session {
    duplex: Duplex,
    decoder: FrameDecoder,
    sequence: u64,
}

impl Session {
    fn open(server: boot::Server, config: Arc<ClientConfig>) -> Result<Self, Failure> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, server.port));
        let socket = TcpStream::connect_timeout(&address, PATIENCE)?;
        let duplex = Duplex::connect(socket, config, tls::COORDINATOR, Some(server.fingerprint))?;
        duplex.set_timeouts(Some(PATIENCE), Some(PATIENCE))?;
        // Numbers of one device only grow, over its honest connections, too.
        let sequence = SystemClock::start().now().wall.0 << 10;
        Ok(Self { duplex, decoder: FrameDecoder::new(), sequence })
    }

    /// One request, and what comes back for it.
    fn ask(&mut self, message: WorkerMessage) -> Result<Result<WorkerAnswer, String>, Failure> {
        self.sequence += 1;
        let sequence = self.sequence;
        let mut bytes = Vec::new();
        WorkerRequest { sequence, message }.write(&mut bytes).map_err(Failure::coded)?;
        self.duplex.write_all(&bytes)?;
        loop {
            match self.next()? {
                CoordinatorMessage::Answer { sequence: to, answer } if to == sequence => {
                    return Ok(Ok(answer));
                }
                CoordinatorMessage::Refused { sequence: to, refusal } if to == sequence => {
                    return Ok(Err(refusal.code.to_string()));
                }
                // Notices for the device that this peer pretends to be.
                _ => {}
            }
        }
    }

    fn next(&mut self) -> Result<CoordinatorMessage, Failure> {
        let mut buffer = [0; 16 << 10];
        let mut bytes: &[u8] = &[];
        loop {
            if let Some(frame) = self.decoder.decode(&mut bytes).map_err(Failure::coded)? {
                return CoordinatorMessage::read(&frame.body).map_err(Failure::coded);
            }
            let count = self.duplex.read(&mut buffer)?;
            if count == 0 {
                return Err(Failure::new("closed"));
            }
            bytes = &buffer[..count];
        }
    }

    /// Waits for the other side to close.
    fn closed(&self) -> Outcome {
        let began = Instant::now();
        let mut buffer = [0; 1024];
        loop {
            match self.duplex.read(&mut buffer) {
                Ok(0) => return Outcome::Closed("closed".into()),
                Err(_) if began.elapsed() >= PATIENCE => return Outcome::Accepted("still open".into()),
                Err(error) => return Outcome::Closed(error.to_string()),
                Ok(_) => {}
            }
        }
    }
}

fn outcome(result: Result<Result<WorkerAnswer, String>, Failure>) -> Outcome {
    match result {
        Ok(Ok(WorkerAnswer::Attested(attested))) if !attested.failures.is_empty() => {
            Outcome::Refused(attested.failures.join(", "))
        }
        Ok(Ok(answer)) => Outcome::Accepted(format!("{answer:?}")),
        Ok(Err(code)) => Outcome::Refused(code),
        Err(failure) => Outcome::Closed(failure.to_string()),
    }
}

/// Somebody with a paired device of their own, and no good intentions.
pub struct Intruder {
    /// The device, and everything that its worker would be told.
    pub boot: boot::Worker,
    /// A certificate of the fleet's own authority that was never paired.
    pub unpaired: Identity,
}

impl Intruder {
    /// Does everything, one after the other, and hands the entries to `tell`.
    pub fn act(&self, overheard: Overheard, tell: impl Fn(LogEntry)) {
        let entry = |peer: &str, attempt: &str, outcome: Result<Outcome, Failure>| {
            let (refused, code) = match outcome {
                Ok(Outcome::Refused(code)) => (true, code),
                Ok(Outcome::Closed(how)) => (true, format!("connection closed: {how}")),
                Ok(Outcome::Accepted(what)) => (false, what),
                Err(failure) => (true, format!("connection refused: {failure}")),
            };
            tell(LogEntry::Hostile { peer: peer.into(), attempt: attempt.into(), refused, code });
        };
        let certificate = "wrong certificate";
        entry(certificate, "a device of another authority", self.other_authority());
        entry(certificate, "this authority's, of no paired device", self.unpaired());
        entry("wrong image digest", "signed evidence for another executable", self.other_image());
        entry("replayed lease message", "another worker's completion", self.replay(overheard));
        let garbage = "no protocol";
        entry(garbage, "noise instead of a frame", self.raw(b"GET / HTTP/1.1\r\n\r\n"));
        entry(garbage, "a frame of another version", self.raw(&header(VERSION + 1, 2)));
        entry(garbage, "a frame that announces four gigabytes", self.raw(&header(VERSION, u32::MAX)));
        entry(garbage, "half a frame, and then silence", self.raw(&header(VERSION, 2)[..5]));
    }

    fn config(&self) -> Result<Arc<ClientConfig>, Failure> {
        self.boot.config_of(&self.boot.identity)
    }

    fn session(&self) -> Result<Session, Failure> {
        Session::open(self.boot.coordinator, self.config()?)
    }

    fn hello(&self) -> WorkerMessage {
        WorkerMessage::Hello { worker: self.boot.paired.worker.clone(), resume: None, epoch: Epoch(0) }
    }

    fn other_authority(&self) -> Result<Outcome, Failure> {
        let stranger = Authority::new("leasehold fleet")?.issue("worker-1", Purpose::Client)?;
        let mut session = Session::open(self.boot.coordinator, self.boot.config_of(&stranger)?)?;
        Ok(outcome(session.ask(self.hello())))
    }

    fn unpaired(&self) -> Result<Outcome, Failure> {
        let config = self.boot.config_of(&self.unpaired)?;
        let mut session = Session::open(self.boot.coordinator, config)?;
        Ok(outcome(session.ask(self.hello())))
    }

    fn other_image(&self) -> Result<Outcome, Failure> {
        let mut session = self.session()?;
        if let Err(code) = session.ask(self.hello())? {
            return Ok(Outcome::Refused(code));
        }
        let nonce = match session.ask(WorkerMessage::Challenge {})? {
            Ok(WorkerAnswer::Challenged { nonce, .. }) => nonce,
            other => return Ok(outcome(Ok(other))),
        };
        let image = Sha256Digest::of(b"another executable");
        let wall = SystemClock::start().now().wall;
        let route = Route::of(&self.boot)?;
        let binding = route.map(|route| fetch::binding(&route, &nonce.0)).transpose()?;
        let evidence = evidence::make(&self.boot, binding, image, &nonce.0, wall)?;
        let (form, evidence) = (EvidenceForm::Dsse, WireBytes(evidence));
        Ok(outcome(session.ask(WorkerMessage::Attest {
            nonce,
            form,
            evidence,
            attachments: Vec::new(),
            resume: None,
        })))
    }

    fn replay(&self, overheard: Overheard) -> Result<Outcome, Failure> {
        let mut session = self.session()?;
        if let Err(code) = session.ask(self.hello())? {
            return Ok(Outcome::Refused(code));
        }
        Ok(outcome(session.ask(overheard.completion())))
    }

    fn raw(&self, bytes: &[u8]) -> Result<Outcome, Failure> {
        let session = self.session()?;
        session.duplex.write_all(bytes)?;
        Ok(session.closed())
    }
}

fn header(version: u8, length: u32) -> Vec<u8> {
    let mut bytes = vec![b'L', b'H', version, FrameKind::Worker.byte()];
    bytes.extend(length.to_be_bytes());
    debug_assert_eq!(bytes.len(), HEADER_BYTES);
    bytes
}

/// A device that was revoked tries to come in.
pub fn revoked(boot: &boot::Worker, tell: impl Fn(LogEntry)) {
    let say = || -> Result<Outcome, Failure> {
        let mut session = Session::open(boot.coordinator, boot.config_of(&boot.identity)?)?;
        let worker = boot.paired.worker.clone();
        Ok(outcome(session.ask(WorkerMessage::Hello { worker, resume: None, epoch: Epoch(0) })))
    };
    // Why it was refused, where it was, is told by the coordinator; here it may only have died in between.
    if let Ok(Outcome::Accepted(code)) = say() {
        let (peer, attempt) = ("a revoked device".into(), "comes in".into());
        tell(LogEntry::Hostile { peer, attempt, refused: false, code });
    }
}

/// The old holder of a lease comes back with what it had to say, when the lease is over.
pub fn late(boot: &boot::Worker, overheard: Overheard, tell: impl Fn(LogEntry)) {
    let say = || -> Result<Outcome, Failure> {
        let mut session = Session::open(boot.coordinator, boot.config_of(&boot.identity)?)?;
        let worker = boot.paired.worker.clone();
        let hello = WorkerMessage::Hello { worker, resume: Some(overheard.handle), epoch: Epoch(0) };
        if let Err(code) = session.ask(hello)? {
            return Ok(Outcome::Refused(code));
        }
        Ok(outcome(session.ask(overheard.completion())))
    };
    let (refused, code) = match say() {
        Ok(Outcome::Refused(code)) => (true, code),
        Ok(Outcome::Closed(how)) => (true, format!("connection closed: {how}")),
        Ok(Outcome::Accepted(what)) => (false, what),
        // Nothing was refused: nothing was said.
        Err(failure) => (false, format!("the old holder did not get through: {failure}")),
    };
    let attempt = format!("late completion under {}, after its lease was over", overheard.fence);
    tell(LogEntry::Hostile { peer: format!("old holder {}", boot.paired.worker), attempt, refused, code });
}
