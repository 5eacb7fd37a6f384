//! The device's terminal: makes a key, pairs, works for the fleet, rotates its certificate, and sees when it is refused.
//!
//! Private keys stay in this process and in the worker process that it starts; both are the device.

use std::{
    process::ExitCode,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use leasehold::{
    digest::Sha256Digest,
    id::{DeviceId, WorkerId},
    identity::{
        DeviceCertificate, DeviceKind,
        pairing::{Cpace, DeviceCode, DevicePairing, DeviceProfile, DeviceStep, PairingTools},
        request_key,
    },
    shell::{OsEntropy, SystemClock},
    time::{Clock as _, Millis},
};

use crate::{
    Failure,
    boot::{self, Paired, Server},
    child::{Child, Order, Told},
    device_client,
    hexed::Bytes,
    key::DeviceKey,
    process_log::LogEntry,
    run_directory::RunDirectory,
    terminal::{listen, prompt, say},
    tls,
};

/// How often the device asks what became of it.
const AGAIN: Duration = Duration::from_millis(250);
/// How long the device waits for the operator: as long as a code is good for.
const PATIENCE: Millis = Millis::from_secs(300);
/// How long a worker may take to end in order, and an old certificate to be refused.
const FAREWELL: Duration = Duration::from_secs(10);

/// After how long a renewal is tried again that the coordinator or its authority refused.
const RENEW_AGAIN: Duration = Duration::from_secs(60);

/// When the device asks for its next certificate by itself: at two thirds of the lifetime of the one that it has, as ACME
/// clients do. A third is left for an authority that does not answer.
fn renewal(now: &Membership) -> Result<Instant, Failure> {
    let certificate = DeviceCertificate::from_der(&now.certificate).map_err(Failure::coded)?;
    let left = certificate.renew_at().since(SystemClock::start().now().wall);
    Ok(Instant::now() + Duration::from_millis(left.0))
}

enum Event {
    /// A note of that start of the worker.
    Worker(u32, LogEntry),
    Typed(Option<String>),
}

/// What the device is in the fleet: its key, its certificate, and the coordinator that it believes.
struct Membership {
    key: DeviceKey,
    certificate: Vec<u8>,
    coordinator: Sha256Digest,
}

impl Membership {
    fn identity(&self) -> tls::Identity {
        self.key.identity(&self.certificate)
    }
}

struct Device {
    port: u16,
    name: DeviceId,
    directory: RunDirectory,
    image: Sha256Digest,
    events: Sender<Event>,
    heard: Receiver<Event>,
    starts: u32,
}

/// The device's terminal.
pub fn run(port: u16, name: DeviceId) -> Result<ExitCode, Failure> {
    let (events, heard) = channel();
    let typed = events.clone();
    listen(move |line| typed.send(Event::Typed(line)).is_ok())?;
    let image = tls::measure(&std::fs::read(std::env::current_exe()?)?)?;
    let directory = RunDirectory::make("pair-device", &["scratch"])?;
    let mut device = Device { port, name, directory, image, events, heard, starts: 0 };
    match device.pair() {
        Ok(Some(membership)) => device.live(membership),
        Ok(None) => {
            say("goodbye");
            Ok(ExitCode::SUCCESS)
        }
        Err(failure) => {
            say(&format!("not paired: {failure}"));
            Ok(ExitCode::FAILURE)
        }
    }
}

impl Device {
    /// The next line; `None` where input is over or the user has enough.
    fn line(&self) -> Option<String> {
        loop {
            prompt(self.name.as_str());
            match self.heard.recv() {
                Ok(Event::Typed(Some(line))) if line.is_empty() => {}
                Ok(Event::Typed(Some(line))) if line != "quit" => return Some(line),
                Ok(Event::Worker(..)) => {}
                _ => return None,
            }
        }
    }

    /// From a code to a certificate. `None` where the user gives up.
    fn pair(&self) -> Result<Option<Membership>, Failure> {
        let key = DeviceKey::make()?;
        say(&format!("device {}", self.name));
        say(&format!("key {}", request_key(key.request()).map_err(Failure::coded)?));
        let coordinator = device_client::certificate(self.port)?;
        say(&format!("the coordinator shows certificate {coordinator}"));
        say("type the code that the operator's terminal shows");
        let (code, compares) = loop {
            let Some(line) = self.line() else { return Ok(None) };
            match read_code(&line) {
                Ok(code) => break code,
                Err(failure) => say(&failure.to_string()),
            }
        };
        let clock = SystemClock::start();
        let mut entropy = OsEntropy::open().map_err(|_| Failure::new("the system gives no random bytes"))?;
        let cpace = Cpace::new();
        let mut tools = PairingTools::new(&mut entropy).with_pake(&cpace);
        let profile = DeviceProfile::new(self.name.clone(), DeviceKind::Worker, key.request().to_vec());
        let expires = clock.now().mono.plus(PATIENCE);
        let mut pairing =
            DevicePairing::begin(code, profile.map_err(Failure::coded)?, coordinator, expires, &mut tools)
                .map_err(Failure::coded)?;
        let ask = |pairing: &mut DevicePairing, message: &[u8]| {
            let reply = device_client::ask(self.port, coordinator, message)?;
            pairing.receive(&coordinator, &reply, clock.now()).map_err(Failure::coded)
        };
        let hello = pairing.message().to_vec();
        let DeviceStep::Confirm { message, digits, .. } = ask(&mut pairing, &hello)? else {
            return Err(Failure::new("the coordinator refuses"));
        };
        let mut step = ask(&mut pairing, &message)?;
        say(&format!("digits {digits}"));
        if compares {
            say("does the operator see the same digits? yes or no");
            if self.line().as_deref() != Some("yes") {
                pairing.abandon();
                return Err(Failure::new("the digits differ: somebody is in between"));
            }
            pairing.digits_agree().map_err(Failure::coded)?;
        }
        say("waiting for the operator");
        loop {
            match step {
                DeviceStep::Paired => break,
                // Over a channel that the operator's digits cover, the coordinator itself says so.
                DeviceStep::Refused => return Err(Failure::new("the operator refuses")),
                _ => match self.heard.recv_timeout(AGAIN) {
                    Ok(Event::Typed(None)) => return Ok(None),
                    Ok(Event::Typed(Some(line))) if line == "quit" => return Ok(None),
                    _ => {}
                },
            }
            let fetch = pairing.fetch();
            step = ask(&mut pairing, &fetch)?;
        }
        let paired = pairing.paired().ok_or_else(|| Failure::new("paired with nothing"))?;
        say(&format!("paired with fleet {}", paired.fleet));
        say(&format!("certificate {}", Sha256Digest::of(&paired.certificate)));
        let (certificate, coordinator) = (paired.certificate.clone(), paired.coordinator);
        Ok(Some(Membership { key, certificate, coordinator }))
    }

    /// Works for the fleet until the user has enough.
    fn live(&mut self, membership: Membership) -> Result<ExitCode, Failure> {
        let mut now = membership;
        let mut former: Option<Membership> = None;
        let mut worker = self.start(&now)?;
        let mut told_away = false;
        say("what can be typed: rotate, old, quit");
        let mut renews = renewal(&now)?;
        loop {
            let event = match self.heard.recv_timeout(renews.saturating_duration_since(Instant::now())) {
                Ok(event) => event,
                Err(RecvTimeoutError::Timeout) => {
                    say("two thirds of the certificate's time are over");
                    renews = Instant::now() + RENEW_AGAIN;
                    Event::Typed(Some("rotate".into()))
                }
                Err(RecvTimeoutError::Disconnected) => return Err(Failure::new("nothing more to hear")),
            };
            match event {
                Event::Worker(start, _) if start != self.starts => continue,
                Event::Worker(_, LogEntry::Serving { worker }) => {
                    told_away = false;
                    let certificate = Sha256Digest::of(&now.certificate);
                    say(&format!("serving as {worker} with certificate {certificate}"));
                }
                Event::Worker(_, LogEntry::Parted { turned_away: false }) => {
                    say("cut off by the coordinator")
                }
                Event::Worker(_, LogEntry::Parted { turned_away: true }) if !told_away => {
                    told_away = true;
                    say("turned away: the fleet does not take this certificate");
                }
                Event::Worker(_, LogEntry::Exited) => return Err(Failure::new("the worker's process ended")),
                Event::Worker(_, LogEntry::Fault { message } | LogEntry::Said { text: message }) => {
                    say(&format!("fault: {message}"));
                }
                Event::Worker(..) => continue,
                Event::Typed(Some(line)) if line == "rotate" => {
                    // A device has one connection at a time: the worker's ends while the device asks for itself.
                    worker.order(&Order::Stop);
                    worker.end(FAREWELL);
                    match self.rotate(&now) {
                        Ok(next) => {
                            say(&format!("next certificate {}", Sha256Digest::of(&next.certificate)));
                            former = Some(std::mem::replace(&mut now, next));
                            renews = renewal(&now)?;
                        }
                        Err(failure) => say(&format!("not rotated: {failure}")),
                    }
                    worker = self.start(&now)?;
                }
                Event::Typed(Some(line)) if line == "old" => match &former {
                    Some(former) => self.try_old(former)?,
                    None => say("there was no certificate before this one"),
                },
                Event::Typed(Some(line)) if line != "quit" => {
                    if !line.is_empty() {
                        say("what can be typed: rotate, old, quit");
                    }
                }
                Event::Typed(_) => break,
            }
            prompt(self.name.as_str());
        }
        worker.order(&Order::Stop);
        worker.end(FAREWELL);
        say("goodbye");
        Ok(ExitCode::SUCCESS)
    }

    /// The device's worker: the one of the `fleet` example, in a process of its own.
    fn start(&mut self, membership: &Membership) -> Result<Child, Failure> {
        self.starts += 1;
        let (start, events) = (self.starts, self.events.clone());
        let (entries, told) = channel::<Told>();
        thread::Builder::new().name("entries".into()).spawn(move || {
            while let Ok(Told { entry, .. }) = told.recv() {
                if events.send(Event::Worker(start, entry)).is_err() {
                    return;
                }
            }
        })?;
        Child::start("worker", start, "worker", &self.boot(membership)?, &entries)
    }

    fn boot(&self, membership: &Membership) -> Result<boot::Worker, Failure> {
        Ok(boot::Worker {
            paired: Paired {
                device: self.name.clone(),
                worker: WorkerId::new(self.name.as_str()).map_err(Failure::coded)?,
                certificate: Bytes(membership.certificate.clone()),
                evidence_key: membership.key.public(),
                scratch: self.directory.path().join("scratch"),
            },
            identity: membership.identity(),
            evidence_seed: membership.key.seed(),
            image: self.image,
            root: None,
            coordinator: Server { port: self.port, fingerprint: membership.coordinator },
            network: None,
        })
    }

    /// A new key, and a certificate over it that the fleet takes beside the one in force until it is used.
    fn rotate(&self, now: &Membership) -> Result<Membership, Failure> {
        let key = DeviceKey::make()?;
        let certificate = device_client::rotate(self.port, now.coordinator, &now.identity(), key.request())?;
        Ok(Membership { key, certificate, coordinator: now.coordinator })
    }

    /// Lets another worker try with a certificate that was rotated away.
    fn try_old(&self, former: &Membership) -> Result<(), Failure> {
        let (entries, told) = channel::<Told>();
        let mut worker = Child::start("old worker", 0, "worker", &self.boot(former)?, &entries)?;
        let end = Instant::now() + FAREWELL;
        let said = loop {
            match told.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(Told { entry: LogEntry::Serving { .. }, .. }) => break "the old certificate still serves",
                Ok(Told { entry: LogEntry::Parted { turned_away: true }, .. }) => {
                    break "the old certificate is turned away";
                }
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    break "the old certificate gets no answer";
                }
            }
        };
        worker.kill();
        say(said);
        Ok(())
    }
}

/// A code as the operator's terminal shows it: the text of a QR code, a session and a PIN, or a session alone; and
/// whether people must compare.
fn read_code(line: &str) -> Result<(DeviceCode, bool), Failure> {
    let session = |text: &str| DeviceCode::session(text).map_err(Failure::coded);
    if line.contains('/') {
        return Ok((DeviceCode::from_qr(line).map_err(Failure::coded)?, false));
    }
    match line.trim().split_once(char::is_whitespace) {
        Some((name, pin)) => Ok((DeviceCode::from_pin(session(name)?, pin).map_err(Failure::coded)?, false)),
        None if line.trim().is_empty() => {
            Err(Failure::new("a code is the text of a QR code, a session and a PIN, or a session"))
        }
        None => Ok((DeviceCode::compare(session(line)?), true)),
    }
}
