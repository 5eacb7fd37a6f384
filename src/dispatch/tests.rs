//! Counts the cost of operations: no step of a request grows with the number of devices and requests.

use alloc::{format, vec::Vec};

use super::*;
use crate::{
    capability::{CapabilityName, CapabilitySet},
    id::{ClientId, DeviceId, RequestId},
    time::{Millis, Now},
};

const DEVICES: u64 = 500;

fn device(n: u64) -> DeviceId {
    DeviceId::new(&format!("device-{n}")).unwrap()
}

fn policy() -> DispatchPolicy {
    DispatchPolicy::try_from(DispatchPolicyDocument {
        retention_ms: Millis(40),
        ..DispatchPolicyDocument::default()
    })
    .unwrap()
}

/// Requests with several times to live come and go at random devices, before and after a recovery. No entry
/// of an index ends up in its tree.
#[test]
fn requests_come_and_go_without_a_tree() {
    let (mut state, mut live) = (DispatchState::new(policy(), [1; 16]), DispatchLiveness::new());
    let cam = CapabilitySet::parse(["cam", "mic"]).unwrap();
    let mut now = Now::new(10, 10);
    for n in 0..DEVICES {
        let grant = DispatchCommand::Grant { device: device(n), capabilities: cam.clone() };
        let decision = state.decide_operator(now, &grant).unwrap();
        let _ = state.accept(&mut live, now, decision).unwrap();
        let hello = DeviceMessage::Connect { incarnation: Incarnation(1), claims: cam.clone(), window: 16 };
        let decision = state.decide_device(now, &device(n), &hello).unwrap();
        let _ = state.accept(&mut live, now, decision).unwrap();
    }
    let client = ClientId::new("service").unwrap();
    let mut dice = 1_u64;
    for round in 0..400_u64 {
        let mut open = Vec::new();
        for n in 0..10_u64 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let named = Target::Device(device((dice >> 33) % DEVICES));
            let ask = EnqueueRequest {
                request: RequestId::new(&format!("request-{round}-{n}")).unwrap(),
                target: if n % 2 == 0 { named } else { Target::Any },
                capability: CapabilityName::new("mic").unwrap(),
                payload: Payload::new(b"look"),
                result_limit: 16,
                ttl_ms: [Millis(50), Millis(1_000), Millis(60_000)][usize::try_from(n % 3).unwrap()],
            };
            let decision = state.enqueue(&live, now, &client, &ask).unwrap();
            let chosen = state.accept(&mut live, now, decision).unwrap().answer.device;
            open.push((ask.request, chosen));
        }
        let decision = state.decide_sends(&live, now);
        assert_eq!(decision.events().len(), 10);
        let _ = state.accept(&mut live, now, decision).unwrap();
        // One request in ten is never answered; the others are, in another order.
        for (request, device) in open.into_iter().skip(1).rev() {
            let outcome = Outcome::Succeeded(Payload::new(b"seen"));
            let incarnation = Incarnation(1);
            let answer = DeviceMessage::Answer { incarnation, request, attempt: 1, outcome };
            let decision = state.decide_device(now, &device, &answer).unwrap();
            let _ = state.accept(&mut live, now, decision).unwrap();
        }
        assert_eq!(state.strays() + live.strays(), 0, "round {round}");
        now = now.plus(Millis(1));
        let decision = state.decide_due(&live, now);
        let _ = state.accept(&mut live, now, decision).unwrap();
        if round == 200 {
            state = DispatchState::recover(policy(), [2; 16], Some(&state.snapshot()), []).unwrap();
            live = DispatchLiveness::after_recovery(&state, now.mono);
        }
    }
    assert!(state.counts().requests > 300);
}

/// Waiting requests are handed over in the order in which they came, also after a recovery, whatever their
/// ids are. Snapshots store requests in the order of their ids.
#[test]
fn a_line_is_in_order_after_a_recovery() {
    let (mut state, mut live) = (DispatchState::new(policy(), [1; 16]), DispatchLiveness::new());
    let cam = CapabilitySet::parse(["cam"]).unwrap();
    let now = Now::new(10, 10);
    let grant = DispatchCommand::Grant { device: device(1), capabilities: cam.clone() };
    let decision = state.decide_operator(now, &grant).unwrap();
    let _ = state.accept(&mut live, now, decision).unwrap();
    let hello = DeviceMessage::Connect { incarnation: Incarnation(1), claims: cam, window: 16 };
    let decision = state.decide_device(now, &device(1), &hello).unwrap();
    let _ = state.accept(&mut live, now, decision).unwrap();
    for id in ["d", "b", "e", "a", "c"] {
        let ask = EnqueueRequest {
            request: RequestId::new(id).unwrap(),
            target: Target::Device(device(1)),
            capability: CapabilityName::new("cam").unwrap(),
            payload: Payload::new(b"look"),
            result_limit: 16,
            ttl_ms: Millis(1_000),
        };
        let decision = state.enqueue(&live, now, &ClientId::new("service").unwrap(), &ask).unwrap();
        let _ = state.accept(&mut live, now, decision).unwrap();
    }
    let again = DispatchState::recover(policy(), [2; 16], Some(&state.snapshot()), []).unwrap();
    let heard = DispatchLiveness::after_recovery(&again, now.mono);
    let sends = |state: &DispatchState, live| -> Vec<_> {
        let request = |event: &DispatchEvent| match event {
            DispatchEvent::RequestDispatched { request, .. } => request.as_str().into(),
            other => format!("{other:?}"),
        };
        state.decide_sends(live, now).events().iter().map(request).collect()
    };
    assert_eq!(sends(&state, &live), ["d", "b", "e", "a", "c"]);
    assert_eq!(sends(&again, &heard), ["d", "b", "e", "a", "c"]);
}
