//! Pairing at the coordinator: the operator's orders, the authority that signs for devices, and the policy that trusts
//! the evidence of what was paired.
//!
//! The key that an operator approves is also the one that the device signs evidence with. It is trusted from the moment
//! that its certificate is registered until that certificate is retired or revoked.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use leasehold::{
    code::Coded,
    coordinator::{CertificateId, LocalAnswer, OperatorCommand, PairingPort, RequestTag},
    digest::Sha256Digest,
    fleet::{FleetEvent, FleetRecord, SetPolicy},
    id::{DeviceId, WorkerId},
    identity::{
        DeviceEvent, RevocationSubject,
        pairing::{
            ApprovalRequest, CertificateIssuer as _, Cpace, PairingEnd, PairingEvent, PairingMethod,
            PairingTarget, VerifiedPairing,
        },
    },
    lease::CleanupRule,
    shell::OsEntropy,
    time::Now,
};

use crate::{
    Failure,
    child::Order,
    issuer::{self, DeviceAuthority},
    policy,
    process_log::{LogEntry, Unspoken},
};

/// How long a device's certificate is good for.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// What the endpoint is to be told next.
pub enum Next {
    /// The certificate of an approved pairing was signed.
    Complete { tag: RequestTag, pairing: Box<VerifiedPairing>, certificate: Vec<u8> },
    /// So was the next one of a device, or not.
    Certificate { wanted: CertificateId, certificate: Option<Vec<u8>> },
    /// The operator's own, and what follows from it.
    Command { tag: RequestTag, command: OperatorCommand },
}

/// A certificate, and the key of the evidence that comes with it.
struct Trusted {
    certificate: Sha256Digest,
    key: Vec<u8>,
}

/// What an answer is waited for with.
enum Asked {
    Offer(PairingMethod),
    Approval,
    /// The device is trusted once it is registered.
    Completion(DeviceId, Trusted),
    Other(&'static str),
}

/// The coordinator's side of pairing.
pub struct Pairing {
    authority: DeviceAuthority,
    image: Sha256Digest,
    trusted: BTreeMap<DeviceId, Vec<Trusted>>,
    asked: BTreeMap<RequestTag, Asked>,
    next: VecDeque<Next>,
    tags: u64,
}

impl Pairing {
    /// Pairing with an authority of its own, for devices that run `image`. Tags are counted from `tags`.
    pub fn new(image: Sha256Digest, tags: u64) -> Result<Self, Failure> {
        Ok(Self {
            authority: DeviceAuthority::new("leasehold devices", LIFETIME)?,
            image,
            trusted: BTreeMap::new(),
            asked: BTreeMap::new(),
            next: VecDeque::new(),
            tags,
        })
    }

    /// What the endpoint needs for it.
    pub fn port() -> Result<PairingPort, Failure> {
        let entropy = OsEntropy::open().map_err(Failure::coded)?;
        Ok(PairingPort::new(Box::new(entropy)).with_pake(Box::new(Cpace::new())))
    }

    /// What is to be told next.
    pub fn next(&mut self) -> Option<Next> {
        self.next.pop_front()
    }

    fn tag(&mut self, asked: Asked) -> RequestTag {
        self.tags += 1;
        let tag = RequestTag(self.tags);
        self.asked.insert(tag, asked);
        tag
    }

    fn command(&mut self, asked: Asked, command: OperatorCommand) {
        let tag = self.tag(asked);
        self.next.push_back(Next::Command { tag, command });
    }

    /// An order of the operator about devices.
    pub fn order(&mut self, order: Order) {
        match order {
            Order::Offer { method } => {
                let target = PairingTarget::AnyNew;
                self.command(Asked::Offer(method), OperatorCommand::OfferPairing { method, target });
            }
            Order::Approve { session, transcript } => {
                let command = OperatorCommand::ApprovePairing { session, transcript };
                self.command(Asked::Approval, command);
            }
            Order::Reject { session } => {
                self.command(Asked::Other("reject"), OperatorCommand::RejectPairing { session });
            }
            // The coordinator's own.
            _ => {}
        }
    }

    /// The answer to one of those, or to what followed from it.
    pub fn answered(&mut self, tag: RequestTag, answer: LocalAnswer, now: Now) -> Option<LogEntry> {
        match (self.asked.remove(&tag)?, answer) {
            (Asked::Offer(method), LocalAnswer::Offered(Ok(offered))) => Some(LogEntry::Offered {
                session: offered.session.clone(),
                method,
                code: Unspoken::new(offered.code.expose()),
            }),
            (Asked::Offer(_), LocalAnswer::Offered(Err(error))) => Some(refused("pair", &error)),
            (Asked::Approval, LocalAnswer::Approved(Ok(pairing))) => self.sign(pairing, now),
            (Asked::Approval, LocalAnswer::Approved(Err(error))) => Some(refused("approve", &error)),
            (Asked::Completion(device, trusted), LocalAnswer::Paired(Ok(_))) => {
                // One that was paired anew has nothing from before.
                self.trusted.insert(device, vec![trusted]);
                self.set_policy()
            }
            (Asked::Completion(..), LocalAnswer::Paired(Err(error))) => Some(refused("complete", &error)),
            (Asked::Other(act), LocalAnswer::Managed(Err(error))) => Some(refused(act, &error)),
            (Asked::Other(act), LocalAnswer::Done(Err(error))) => Some(refused(act, &error)),
            // What succeeded is told when its record lasts.
            _ => None,
        }
    }

    /// Signs what was approved. Where the authority does not, the approval lapses.
    fn sign(&mut self, pairing: Box<VerifiedPairing>, now: Now) -> Option<LogEntry> {
        let signed = self.authority.issue(&pairing, now);
        let key = issuer::evidence_key(pairing.request());
        match (signed, key) {
            (Ok(certificate), Ok(key)) => {
                let trusted = Trusted { certificate: Sha256Digest::of(&certificate), key };
                let tag = self.tag(Asked::Completion(pairing.device().clone(), trusted));
                self.next.push_back(Next::Complete { tag, pairing, certificate });
                None
            }
            (Err(error), _) | (_, Err(error)) => Some(refused("sign", &error)),
        }
    }

    /// A device that is in the fleet wants its next certificate.
    pub fn rotate(
        &mut self,
        wanted: CertificateId,
        device: &DeviceId,
        request: &[u8],
        now: Now,
    ) -> Option<LogEntry> {
        let signed = self.authority.sign(device, request, now);
        let entry = match (signed, issuer::evidence_key(request)) {
            (Ok(certificate), Ok(key)) => {
                let trusted = Trusted { certificate: Sha256Digest::of(&certificate), key };
                self.trusted.entry(device.clone()).or_default().push(trusted);
                let entry = self.set_policy();
                self.next.push_back(Next::Certificate { wanted, certificate: Some(certificate) });
                return entry;
            }
            (Err(error), _) | (_, Err(error)) => refused("sign", &error),
        };
        self.next.push_back(Next::Certificate { wanted, certificate: None });
        Some(entry)
    }

    /// What a record that lasts means for people, and for what is trusted.
    pub fn lasting(&mut self, record: &FleetRecord) -> Vec<LogEntry> {
        let mut entries = Vec::new();
        for event in &record.events {
            match event {
                FleetEvent::DeviceChanged { change, .. } => entries.extend(self.changed(change)),
                FleetEvent::PairingChanged { change, .. } => {
                    if let PairingEvent::SessionEnded { session, end: PairingEnd::Rejected, .. } = &**change {
                        entries.push(LogEntry::Rejected { session: session.clone() });
                    }
                }
                _ => {}
            }
        }
        entries
    }

    fn changed(&mut self, change: &DeviceEvent) -> Vec<LogEntry> {
        match change {
            DeviceEvent::DeviceRegistered { device, certificate, .. }
            | DeviceEvent::DeviceReplaced { device, certificate, .. } => {
                vec![LogEntry::Paired { device: device.clone(), certificate: certificate.fingerprint() }]
            }
            DeviceEvent::RotationBegun { device, next, .. } => {
                vec![LogEntry::Rotating { device: device.clone(), certificate: next.fingerprint() }]
            }
            DeviceEvent::RotationEnded { device, retired, .. } => {
                if let Some(trusted) = self.trusted.get_mut(device) {
                    trusted.retain(|trusted| trusted.certificate != *retired);
                }
                let entry = LogEntry::Rotated { device: device.clone() };
                [entry].into_iter().chain(self.set_policy()).collect()
            }
            DeviceEvent::Revoked { subject: RevocationSubject::Device(device), .. } => {
                self.trusted.remove(device);
                let entry = LogEntry::Revoked { device: device.clone() };
                [entry].into_iter().chain(self.set_policy()).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Puts a policy in force that trusts the keys of the devices that there are.
    fn set_policy(&mut self) -> Option<LogEntry> {
        let policy = || {
            let mut nodes = Vec::new();
            for (device, trusted) in &self.trusted {
                // The worker that runs on a device is called like the device.
                let worker = WorkerId::new(device.as_str()).map_err(Failure::coded)?;
                nodes.extend(trusted.iter().map(|trusted| (worker.clone(), &trusted.key)));
            }
            let nodes: Vec<_> = nodes.iter().map(|(worker, key)| policy::Node { worker, key }).collect();
            policy::fleet_policy(self.image, &nodes, None, CleanupRule::Reported)
        };
        match policy() {
            Ok(policy) => {
                self.command(Asked::Other("set policy"), OperatorCommand::SetPolicy(SetPolicy { policy }));
                None
            }
            Err(failure) => Some(LogEntry::Fault { message: failure.to_string() }),
        }
    }
}

fn refused(act: &str, error: &impl Coded) -> LogEntry {
    LogEntry::Refused {
        peer: "operator".into(),
        act: act.into(),
        code: error.code().to_string(),
        message: error.to_string(),
    }
}

/// What the operator is asked.
pub fn asks(ask: &ApprovalRequest) -> LogEntry {
    LogEntry::Asks {
        session: ask.session.clone(),
        method: ask.method,
        device: ask.device.clone(),
        kind: ask.kind,
        key: ask.key,
        digits: ask.digits.to_string(),
        transcript: ask.transcript,
    }
}
