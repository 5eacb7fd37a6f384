//! Requests to devices: decisions for devices, services and operators, and what time brings.

use alloc::vec::Vec;

use super::device::{change_devices, is_device};
use crate::{
    dispatch::{Decision, DispatchCommand, DispatchEvent, Enqueued},
    fleet::{
        command_rejection::CommandError,
        context::{Context, Draft, Steps, sealed::Decide},
        effect::Effects,
        event::FleetEvent,
        node_rejection::NodeError,
        operation::{CancelRequest, CollectResult, Enqueue, OrderDispatch, StreamEnded, TellDispatch},
        principal::Principal,
    },
    id::{ClientId, DeviceId},
    identity::{
        DeviceCommand, DeviceError, RevocationReason, RevocationSubject,
        pairing::{PairingCommand, PairingEvent},
    },
};

/// How many pairing sessions one call of `expire` handles.
const SWEEP_SESSIONS: usize = 64;

/// How many rotations one call of `expire` settles.
const SETTLED_ROTATIONS: usize = 64;

fn changed(events: Vec<DispatchEvent>) -> impl Iterator<Item = FleetEvent> {
    events.into_iter().map(FleetEvent::from)
}

fn draft<A>(decision: Decision<A>) -> Draft<A> {
    let (events, answer) = decision.into_parts();
    Steps::following(changed(events).collect()).with_answer(answer)
}

/// The service that asked.
fn client<'a>(context: &Context<'a>) -> Result<&'a ClientId, NodeError> {
    match context.principal {
        Principal::Service(client) => Ok(client),
        _ => Err(CommandError::Principal.into()),
    }
}

impl Decide for TellDispatch {
    const NAME: &'static str = "tell_dispatch";

    fn admits(principal: &Principal) -> bool {
        is_device(principal)
    }

    fn decide(&self, context: &Context<'_>) -> Result<Draft<()>, NodeError> {
        let (device, _) = context.device()?;
        Ok(draft(context.state.nodes.dispatch.decide_device(context.now, device, &self.message)?))
    }
}

impl Decide for StreamEnded {
    const NAME: &'static str = "stream_ended";

    fn admits(principal: &Principal) -> bool {
        *principal == Principal::Core
    }

    fn decide(&self, context: &Context<'_>) -> Result<Draft<()>, NodeError> {
        Ok(draft(context.state.nodes.dispatch.disconnect(&self.device, self.incarnation)?))
    }
}

impl Decide for Enqueue {
    const NAME: &'static str = "enqueue";

    fn admits(principal: &Principal) -> bool {
        matches!(principal, Principal::Service(_))
    }

    fn decide(&self, context: &Context<'_>) -> Result<Draft<Enqueued>, NodeError> {
        let (dispatch, live) = (&context.state.nodes.dispatch, &context.liveness.dispatch);
        Ok(draft(dispatch.enqueue(live, context.now, client(context)?, &self.ask)?))
    }
}

impl Decide for CancelRequest {
    const NAME: &'static str = "cancel_request";

    fn admits(principal: &Principal) -> bool {
        matches!(principal, Principal::Service(_) | Principal::Operator(_))
    }

    fn decide(&self, context: &Context<'_>) -> Result<Draft<()>, NodeError> {
        let dispatch = &context.state.nodes.dispatch;
        Ok(draft(match context.principal {
            Principal::Service(client) => dispatch.cancel(context.now, client, &self.request)?,
            _ => {
                let order = DispatchCommand::Cancel { request: self.request.clone() };
                dispatch.decide_operator(context.now, &order)?
            }
        }))
    }
}

impl Decide for CollectResult {
    const NAME: &'static str = "collect_result";

    fn admits(principal: &Principal) -> bool {
        matches!(principal, Principal::Service(_))
    }

    fn decide(&self, context: &Context<'_>) -> Result<Draft<()>, NodeError> {
        Ok(draft(context.state.nodes.dispatch.collect(client(context)?, &self.request)?))
    }
}

impl Decide for OrderDispatch {
    const NAME: &'static str = "order_dispatch";

    fn admits(principal: &Principal) -> bool {
        matches!(principal, Principal::Operator(_))
    }

    fn decide(&self, context: &Context<'_>) -> Result<Draft<()>, NodeError> {
        let nodes = &context.state.nodes;
        let subject = |device: &DeviceId| RevocationSubject::Device(device.clone());
        let registry = |command| change_devices(context, &command);
        let steps = match &self.order {
            DispatchCommand::Revoke { device } => registry(DeviceCommand::Revoke {
                subject: subject(device),
                reason: RevocationReason::Operator,
            })?,
            DispatchCommand::Reinstate { device } => {
                registry(DeviceCommand::ClearRevocation { subject: subject(device) })?
            }
            DispatchCommand::Remove { device } => registry(DeviceCommand::Remove { device: device.clone() })?,
            DispatchCommand::Grant { device, .. } if nodes.registry.get(device).is_none() => {
                return Err(DeviceError::Unknown(device.clone()).into());
            }
            DispatchCommand::Grant { device, .. }
                if nodes.registry.revocation(&subject(device)).is_some() =>
            {
                return Err(DeviceError::Revoked(subject(device)).into());
            }
            order => {
                let events = nodes.dispatch.decide_operator(context.now, order)?.into_events();
                Steps::following(changed(events).collect())
            }
        };
        Ok(steps.with_answer(()))
    }
}

/// Applies what time brings to pairing and dispatch, in a bounded number of steps. Returns whether more may
/// be due now.
pub(crate) fn expire_nodes(
    context: &Context<'_>,
    events: &mut Vec<FleetEvent>,
    effects: &mut Effects,
) -> bool {
    let nodes = &context.state.nodes;
    let sweep = PairingCommand::Sweep { limit: SWEEP_SESSIONS };
    let swept = nodes.pairing.decide(&sweep, context.now).unwrap_or_default();
    let mut more = swept.len() >= SWEEP_SESSIONS;
    events.extend(swept.into_iter().map(|change: PairingEvent| FleetEvent::from(change)));
    let mut due = nodes.registry.unsettled(context.now.mono);
    for device in due.by_ref().take(SETTLED_ROTATIONS) {
        let settle = DeviceCommand::Settle { device: device.clone() };
        if let Ok(settled) = change_devices(context, &settle) {
            events.extend(settled.events);
            effects.extend(settled.effects);
        }
    }
    more |= due.next().is_some();
    if nodes.dispatch.is_idle() {
        return more;
    }
    let live = &context.liveness.dispatch;
    let due = nodes.dispatch.decide_due(live, context.now).into_events();
    if due.is_empty() {
        // Requests are handed over only once nothing is due any more, so that no request that has ended is
        // handed over.
        let sends = nodes.dispatch.decide_sends(live, context.now).into_events();
        more |= !sends.is_empty();
        events.extend(changed(sends));
    } else {
        more = true;
        events.extend(changed(due));
    }
    more
}
