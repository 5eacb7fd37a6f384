//! Changes of the fleet's own trust anchors.

use alloc::boxed::Box;

use crate::{
    fleet::{
        context::{Context, Draft, Steps, sealed::Decide},
        effect::Effect,
        event::FleetEvent,
        operation::{ManageAnchors, Managed},
        principal::Principal,
        rejection::ManageError,
    },
    identity::{AnchorCommand, AnchorError},
};

impl Decide for ManageAnchors {
    const NAME: &'static str = "manage_anchors";

    fn admits(principal: &Principal) -> bool {
        matches!(principal, Principal::Operator(_))
    }

    fn decide(&self, context: &Context<'_>) -> Result<Draft<Managed>, ManageError> {
        // A device accepts an announcement only over the channel that this coordinator's certificate
        // authenticates.
        if let AnchorCommand::Announce { by, .. } | AnchorCommand::Withdraw { by, .. } = &self.command
            && *by != context.setup.coordinator_certificate
        {
            return Err(AnchorError::Succession.into());
        }
        let mut anchors = context.state.nodes.anchors.clone();
        let changes = anchors.apply(&self.command, context.now)?;
        let mut steps = Steps::default();
        if !changes.is_empty() {
            steps.effects.push(Effect::AnchorsChanged(Box::new(anchors)));
        }
        steps.events.extend(changes.into_iter().map(FleetEvent::from));
        Ok(steps.with_answer(Managed { state: None }))
    }
}
