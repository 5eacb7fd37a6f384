//! Changes of the device registry and their consequences for everything else, in one record.

use alloc::vec::Vec;

use crate::{
    digest::Sha256Digest,
    fleet::{
        command_rejection::CommandError,
        condition::LossReason,
        context::{Context, DeviceRefusal, Draft, Steps, sealed::Decide},
        effect::Effect,
        event::FleetEvent,
        node_rejection::NodeError,
        operation::{ConfirmUse, ManageDevice, Managed, RenewSelf, ReportClone, RevokeSelf, RotateSelf},
        principal::Principal,
        rejection::ManageError,
        state,
    },
    id::DeviceId,
    identity::{DeviceCommand, DeviceEvent, OverlapEnd, Renewable, RevocationSubject},
    node::Follows,
};

pub(super) fn is_device(principal: &Principal) -> bool {
    matches!(principal, Principal::Device { .. })
}

/// The consequences of `command`: the registry's events, what they mean for leases, requests, streams and
/// pairings, and the connections that must be cut.
pub(crate) fn change_devices(context: &Context<'_>, command: &DeviceCommand) -> Result<Steps, NodeError> {
    let nodes = &context.state.nodes;
    let changes = nodes.registry.decide(command, context.now)?;
    let Follows { dispatch, pairing } = nodes.follows(command, context.now)?;
    let mut steps = Steps::default();
    let cut = cut_devices(context, &changes);
    for change in &changes {
        match change {
            DeviceEvent::RotationEnded { device, retired, .. } => steps
                .effects
                .push(Effect::CutCertificate { device: device.clone(), certificate: (*retired).into() }),
            DeviceEvent::RotationBegun { device, next, until, at_deadline } => {
                steps.effects.push(Effect::Rotating { device: device.clone() });
                let retires = |bound: Sha256Digest| {
                    (bound == next.fingerprint()) == (*at_deadline == OverlapEnd::AbandonNew)
                };
                if let Some(slot) = context.state.roster.by_device(device)
                    && let Some(record) = context.state.roster.get(slot)
                    && let Some(held) = state::held(record)
                    && record.evidence.as_ref().is_some_and(|evidence| retires(evidence.record.certificate))
                {
                    // Invariant 3: the certificate that the lease depends on now ends sooner.
                    context.keep_within(&mut steps, slot, held, *until);
                }
            }
            _ => {}
        }
    }
    for change in &changes {
        // Evidence is bound to a certificate. A device that goes on under another one must bring evidence for
        // that one.
        if let DeviceEvent::RotationEnded { device, retired, .. } = change
            && let Some(slot) = context.state.roster.by_device(device)
            && !cut.contains(device)
        {
            void_evidence(context, &mut steps, slot, Some(retired));
        }
    }
    steps.events.extend(changes.into_iter().map(FleetEvent::from));
    for device in cut {
        if let Some(slot) = context.state.roster.by_device(&device) {
            if let Some(held) = context.held(slot) {
                // The device's channel is cut, so it cannot acknowledge a revocation (invariant 12). The
                // lease is lost at once.
                context.lose(&mut steps, slot, held, LossReason::DeviceRevoked, context.hold_until(held));
            }
            // The evidence is bound to a certificate that no longer authenticates, so the worker cannot be
            // leased.
            void_evidence(context, &mut steps, slot, None);
        }
        steps.effects.push(Effect::Cut { device });
    }
    steps.events.extend(dispatch.into_iter().map(FleetEvent::from));
    steps.events.extend(pairing.into_iter().map(FleetEvent::from));
    Ok(steps)
}

/// Withdraws the evidence of the worker in `slot` if it is bound to `certificate`. `None` means any
/// certificate.
fn void_evidence(context: &Context<'_>, steps: &mut Steps, slot: u32, certificate: Option<&Sha256Digest>) {
    let evidence = context.state.roster.get(slot).and_then(|record| record.evidence.as_ref());
    if evidence
        .is_some_and(|held| certificate.is_none_or(|certificate| held.record.certificate == *certificate))
    {
        steps.events.push(FleetEvent::EvidenceWithdrawn { slot });
    }
}

/// The devices whose connections no longer authenticate after `changes`.
fn cut_devices(context: &Context<'_>, changes: &[DeviceEvent]) -> Vec<DeviceId> {
    let nodes = &context.state.nodes;
    let mut cut = Vec::new();
    for change in changes {
        let device = match change {
            DeviceEvent::Revoked { subject: RevocationSubject::Device(device), .. }
            | DeviceEvent::DeviceReplaced { device, .. }
            | DeviceEvent::DeviceRemoved { device } => Some(device.clone()),
            DeviceEvent::Revoked { subject, .. } => nodes.owner(subject),
            _ => None,
        };
        if let Some(device) = device
            && !cut.contains(&device)
        {
            cut.push(device);
        }
    }
    cut
}

impl From<DeviceRefusal> for NodeError {
    fn from(refusal: DeviceRefusal) -> Self {
        match refusal {
            DeviceRefusal::Principal => Self::Command(CommandError::Principal),
            DeviceRefusal::Auth(error) => Self::Auth(error),
        }
    }
}

impl From<NodeError> for ManageError {
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::Command(error) => Self::Command(error),
            NodeError::Device(error) => Self::Device(error),
            NodeError::Dispatch(error) => Self::Dispatch(error),
            other @ (NodeError::Auth(_) | NodeError::Pairing(_)) => Self::Node(other),
        }
    }
}

impl Decide for ManageDevice {
    const NAME: &'static str = "manage_device";

    fn admits(principal: &Principal) -> bool {
        matches!(principal, Principal::Operator(_))
    }

    fn decide(&self, context: &Context<'_>) -> Result<Draft<Managed>, ManageError> {
        Ok(change_devices(context, &self.command)?.with_answer(Managed { state: None }))
    }
}

impl Decide for ConfirmUse {
    const NAME: &'static str = "confirm_use";

    fn admits(principal: &Principal) -> bool {
        is_device(principal)
    }

    fn decide(&self, context: &Context<'_>) -> Result<Draft<()>, NodeError> {
        let (_, authenticated) = context.device()?;
        let fingerprint = authenticated.certificate().fingerprint();
        Ok(change_devices(context, &DeviceCommand::ConfirmUse { fingerprint })?.with_answer(()))
    }
}

impl Decide for RevokeSelf {
    const NAME: &'static str = "revoke_self";

    fn admits(principal: &Principal) -> bool {
        is_device(principal)
    }

    fn decide(&self, context: &Context<'_>) -> Result<Draft<()>, NodeError> {
        let (_, authenticated) = context.device()?;
        let fingerprint = authenticated.certificate().fingerprint();
        Ok(change_devices(context, &DeviceCommand::RevokeSelf { fingerprint })?.with_answer(()))
    }
}

impl Decide for RotateSelf {
    const NAME: &'static str = "rotate_self";

    fn admits(principal: &Principal) -> bool {
        is_device(principal)
    }

    fn decide(&self, context: &Context<'_>) -> Result<Draft<()>, NodeError> {
        let (device, _) = context.device()?;
        let command = DeviceCommand::BeginRotation {
            device: device.clone(),
            next: self.next,
            overlap: self.overlap,
            at_deadline: self.at_deadline,
        };
        Ok(change_devices(context, &command)?.with_answer(()))
    }
}

/// The renewal that the principal's certificate allows although it no longer authenticates. The check depends
/// on dates, so it fails while the wall clock cannot be trusted.
fn renewable<'a>(context: &Context<'a>) -> Result<(Sha256Digest, Renewable<'a>), NodeError> {
    let Principal::Device { device, certificate } = context.principal else {
        return Err(CommandError::Principal.into());
    };
    context.trust_wall()?;
    let found = context.state.nodes.registry.renewable(*certificate, context.now)?;
    if found.record().device() == device {
        Ok((*certificate, found))
    } else {
        Err(CommandError::Principal.into())
    }
}

impl Decide for RenewSelf {
    const NAME: &'static str = "renew_self";

    fn admits(principal: &Principal) -> bool {
        is_device(principal)
    }

    fn decide(&self, context: &Context<'_>) -> Result<Draft<()>, NodeError> {
        let (fingerprint, _) = renewable(context)?;
        let command = DeviceCommand::Renew { fingerprint, next: self.next, overlap: self.overlap };
        Ok(change_devices(context, &command)?.with_answer(()))
    }
}

impl Decide for ReportClone {
    const NAME: &'static str = "report_clone";

    fn admits(principal: &Principal) -> bool {
        is_device(principal)
    }

    fn decide(&self, context: &Context<'_>) -> Result<Draft<()>, NodeError> {
        let (fingerprint, _) = renewable(context)?;
        Ok(change_devices(context, &DeviceCommand::ReportClone { fingerprint })?.with_answer(()))
    }
}
