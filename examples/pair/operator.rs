//! The operator's terminal: offers codes, asks for approval, gives the fleet jobs, revokes.
//!
//! It decides nothing by itself and signs nothing. It shows what the coordinator's process says, and tells that process
//! what the operator typed.

use std::{
    collections::BTreeMap,
    process::ExitCode,
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::Duration,
};

use leasehold::{
    digest::Sha256Digest,
    id::{DeviceId, SessionId},
    identity::pairing::PairingMethod,
};
use serde_json::json;

use crate::{
    Failure, boot,
    child::{Child, Order, Told},
    process_log::LogEntry,
    qr,
    run_directory::RunDirectory,
    terminal::{is_person, listen, print, prompt, say},
    tls::{self, Authority, Purpose},
};

/// How long the coordinator may take to end in order.
const FAREWELL: Duration = Duration::from_secs(10);

/// What an operator can type.
const HELP: &str = "pair qr | pair pin | pair compare, approve DIGITS, reject DIGITS, job, long, devices, revoke DEVICE, quit";

enum Event {
    Told(LogEntry),
    Typed(Option<String>),
}

/// A device that asks to be paired.
struct Asked {
    digits: String,
    session: SessionId,
    transcript: Sha256Digest,
}

struct Operator {
    coordinator: Child,
    fingerprint: Sha256Digest,
    port: Option<u16>,
    /// What waits for approve or reject, with the digits that name it.
    asked: Vec<Asked>,
    /// Devices, and the newest certificate of each.
    devices: BTreeMap<DeviceId, Sha256Digest>,
    jobs: u32,
    /// The last refusal that was shown.
    refused: Option<String>,
    over: bool,
}

/// The operator's terminal.
pub fn run() -> Result<ExitCode, Failure> {
    let directory = RunDirectory::make("pair", &["state"])?;
    let authority = Authority::new("leasehold pair")?;
    let identity = authority.issue(tls::COORDINATOR, Purpose::Server)?;
    let fingerprint = identity.fingerprint();
    let boot = boot::Coordinator {
        identity,
        clients: authority.root(),
        devices: Vec::new(),
        egress: None,
        pairing: true,
        image: tls::measure(&std::fs::read(std::env::current_exe()?)?)?,
        jobs: Vec::new(),
        state: directory.path().join("state"),
        port: None,
        drill: false,
    };
    let (events, heard) = channel();
    let entries = forward(events.clone())?;
    let coordinator = Child::start("coordinator", 1, "coordinator", &boot, &entries)?;
    listen(move |line| events.send(Event::Typed(line)).is_ok())?;
    let operator = Operator {
        coordinator,
        fingerprint,
        port: None,
        asked: Vec::new(),
        devices: BTreeMap::new(),
        jobs: 0,
        refused: None,
        over: false,
    };
    operator.work(&heard)
}

/// A sender of entries that end up among the events.
fn forward(events: Sender<Event>) -> Result<Sender<Told>, Failure> {
    let (entries, told) = channel::<Told>();
    thread::Builder::new().name("entries".into()).spawn(move || {
        while let Ok(Told { entry, .. }) = told.recv() {
            if events.send(Event::Told(entry)).is_err() {
                return;
            }
        }
    })?;
    Ok(entries)
}

impl Operator {
    fn work(mut self, heard: &Receiver<Event>) -> Result<ExitCode, Failure> {
        while let Ok(event) = heard.recv() {
            match event {
                Event::Told(LogEntry::Exited) => return Err(Failure::new("the coordinator's process ended")),
                Event::Told(entry) => self.told(entry)?,
                Event::Typed(None) => {
                    self.over = true;
                    if !is_person() {
                        say("no more input; to see it without a person: --script");
                    }
                }
                Event::Typed(Some(line)) => self.typed(&line)?,
            }
            if self.over {
                break;
            }
        }
        self.coordinator.order(&Order::Stop);
        let well = self.coordinator.end(FAREWELL);
        say("goodbye");
        Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn typed(&mut self, line: &str) -> Result<(), Failure> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [] => {}
            ["pair", "qr"] => self.offer(PairingMethod::Qr),
            ["pair", "pin"] => self.offer(PairingMethod::Pin),
            ["pair", "compare"] => self.offer(PairingMethod::Compare),
            [word @ ("approve" | "reject"), digits @ ..] => self.answer(word, &digits.concat()),
            ["job"] => self.job(json!({ "hash": { "file": "Cargo.toml" } }), 3)?,
            // Tried once: what is lost stays lost, and shows.
            ["long"] => self.job(json!({ "sleep": { "ms": 3000 } }), 1)?,
            ["revoke", device] => match DeviceId::new(device) {
                Ok(device) => self.coordinator.order(&Order::Revoke(device)),
                Err(error) => say(&format!("not a device: {error}")),
            },
            ["devices"] => {
                for (device, certificate) in &self.devices {
                    say(&format!("device {device} certificate {certificate}"));
                }
            }
            ["quit"] => self.over = true,
            _ => say(&format!("what can be typed: {HELP}")),
        }
        prompt("operator");
        Ok(())
    }

    /// Approves or rejects the device that shows `digits`: several may be asking at once, and the digits say which.
    fn answer(&mut self, word: &str, digits: &str) {
        let mut named = self.asked.extract_if(.., |asked| asked.digits == digits);
        match (named.next(), named.next()) {
            (Some(Asked { session, transcript, .. }), None) if word == "approve" => {
                self.coordinator.order(&Order::Approve { session, transcript });
            }
            (Some(Asked { session, .. }), None) => self.coordinator.order(&Order::Reject { session }),
            (None, _) => {
                say(&format!("nobody asks with these digits; say `{word} DIGITS` as the device shows them"))
            }
            (Some(first), Some(second)) => {
                say("two devices show these digits: both are rejected, let them try again");
                for Asked { session, .. } in [first, second] {
                    self.coordinator.order(&Order::Reject { session });
                }
            }
        }
    }

    fn offer(&mut self, method: PairingMethod) {
        self.coordinator.order(&Order::Offer { method });
    }

    /// A job for the fleet.
    fn job(&mut self, work: serde_json::Value, attempts: u32) -> Result<(), Failure> {
        self.jobs += 1;
        let id = format!("job-{}", self.jobs);
        let job = serde_json::from_value(json!({ "id": id, "do": work, "attempts": attempts }))?;
        self.coordinator.order(&Order::Submit { job: Box::new(job) });
        Ok(())
    }

    fn told(&mut self, entry: LogEntry) -> Result<(), Failure> {
        match entry {
            LogEntry::Listening { port } => {
                self.port = Some(port);
                say(&format!("listening on port {port}"));
                say(&format!("certificate {}", self.fingerprint));
                say(&format!("device's terminal: cargo run --release --example pair -- device {port}"));
                say(&format!("what can be typed: {HELP}"));
            }
            LogEntry::Offered { session, method, code } => self.show(&session, method, code.expose())?,
            LogEntry::Asks { session, method, device, kind, key, digits, transcript } => {
                say(&format!("a device asks: {kind} {device} by {method}, key {key}"));
                say(&format!("digits {digits}"));
                say(match method {
                    PairingMethod::Compare => {
                        "`approve DIGITS` only if the device shows the same; else `reject DIGITS`"
                    }
                    _ => "`approve DIGITS` or `reject DIGITS`",
                });
                self.asked.push(Asked { digits: digits.to_string(), session, transcript });
            }
            LogEntry::Rejected { session } => say(&format!("rejected {session}")),
            LogEntry::Paired { device, certificate } => {
                say(&format!("paired {device} certificate {certificate}"));
                self.devices.insert(device, certificate);
            }
            LogEntry::Rotating { device, certificate } => {
                say(&format!("rotating {device} certificate {certificate}"));
                self.devices.insert(device, certificate);
            }
            LogEntry::Rotated { device } => {
                say(&format!("rotated {device}: the former certificate is retired"))
            }
            LogEntry::Revoked { device } => {
                say(&format!("revoked {device}"));
                self.devices.remove(&device);
            }
            LogEntry::Joined { worker, incarnation, .. } => {
                say(&format!("joined {worker} incarnation {incarnation}"));
            }
            LogEntry::Started { run, .. } => say(&format!("started {run}")),
            LogEntry::LeaseEnded { run, worker, how, .. } => {
                say(&format!("lease of {worker} for {run} ended: {how}"));
            }
            LogEntry::Ended { run, outcome, reason, .. } => {
                say(&format!("ended {run}: {} {reason}", outcome.name()));
            }
            LogEntry::Refused { peer, act, code, .. } => {
                let line = format!("refused {peer}: {act}: {code}");
                // Somebody who is refused may come again and again.
                if self.refused.as_ref() == Some(&line) {
                    return Ok(());
                }
                say(&line);
                self.refused = Some(line);
            }
            LogEntry::Obeyed { code: Some(code), .. } => say(&format!("refused operator: {code}")),
            LogEntry::Closed { peer, code } => say(&format!("closed {peer}: {code}")),
            LogEntry::Fault { message } | LogEntry::Said { text: message } => {
                say(&format!("fault: {message}"))
            }
            _ => return Ok(()),
        }
        prompt("operator");
        Ok(())
    }

    /// Shows a code, the only secret that this terminal shows, and shows it once.
    fn show(&self, session: &SessionId, method: PairingMethod, code: &str) -> Result<(), Failure> {
        match method {
            PairingMethod::Qr => {
                print(&qr::draw(code, is_person())?);
                say("scan it, or type into the device's terminal what it says:");
                say(&format!("code {code}"));
            }
            PairingMethod::Pin => {
                say("type session and PIN into the device's terminal:");
                say(&format!("code {session} {code}"));
            }
            _ => {
                say("type the session into the device's terminal; both will show digits:");
                say(&format!("code {session}"));
            }
        }
        Ok(())
    }
}
