//! Changes of the device registry, and what they mean for everything else, in one record.

use alloc::vec::Vec;

use crate::{
    fleet::{
        condition::LossReason,
        context::{Context, DeviceRefusal, Draft, Steps, sealed::Decide},
        effect::Effect,
        event::FleetEvent,
        node_rejection::NodeError,
        operation::{ConfirmUse, ManageDevice, Managed, RevokeSelf, RotateSelf},
        principal::Principal,
        rejection::{CommandError, ManageError},
    },
    id::DeviceId,
    identity::{DeviceCommand, DeviceEvent, RevocationSubject},
    node::Follows,
};

pub(super) fn is_device(principal: &Principal) -> bool {
    matches!(principal, Principal::Device { .. })
}

/// What `command` leads to: the registry's events; what they mean for leases, requests, streams and pairings; and the
/// connections that no longer stand for anything.
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
            DeviceEvent::RotationBegun { device, .. } => {
                steps.effects.push(Effect::Rotating { device: device.clone() });
            }
            _ => {}
        }
    }
    steps.events.extend(changes.into_iter().map(|change| FleetEvent::DeviceChanged { change }));
    for device in cut {
        if let Some(slot) = context.state.roster.by_device(&device)
            && let Some(held) = context.held(slot)
        {
            // Its channel is cut, so it cannot acknowledge anything any more (invariant 12).
            context.lose(&mut steps, slot, held, LossReason::DeviceRevoked, context.hold_until(held));
        }
        steps.effects.push(Effect::Cut { device });
    }
    steps.events.extend(dispatch.into_iter().map(|change| FleetEvent::DispatchChanged { change }));
    steps.events.extend(pairing.into_iter().map(|change| FleetEvent::PairingChanged { change }));
    Ok(steps)
}

/// The devices whose channels no longer stand for anything after `changes`.
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
