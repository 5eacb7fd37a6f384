//! What the coordinator's endpoint makes of workers that ask, or come back, where they should not.

mod endpoints_support;

use endpoints_support::*;
use leasehold::{
    coordinator::{ConnectionId, CoordinatorConfig, CoordinatorInput},
    fleet::{FleetEvent, QuarantineReason, WorkerHandle, WorkerLifecycleState},
    lease::{Epoch, Fence},
    protocol::message::{Document as _, WorkerMessage, WorkerRequest},
    testing::World,
};

fn say(sim: &mut Sim, connection: ConnectionId, sequence: u64, message: WorkerMessage) {
    let mut bytes = Vec::new();
    WorkerRequest { sequence, message }.write(&mut bytes).unwrap();
    sim.handle(CoordinatorInput::Received { connection, bytes: &bytes });
}

fn hello(sim: &mut Sim, resume: WorkerHandle) -> ConnectionId {
    let connection = sim.raw(1);
    let hello = WorkerMessage::Hello { worker: World::worker_id(1), resume: Some(resume), epoch: Epoch(1) };
    say(sim, connection, 1, hello);
    sim.settle();
    connection
}

fn handle(sim: &Sim) -> WorkerHandle {
    sim.coordinator.fleet().state().handle_of(&World::worker_id(1)).unwrap()
}

/// Who asks for something that is refused is there all the same: only silence is silence.
#[test]
fn a_refused_renewal_is_heard() {
    let mut sim = Sim::with_everybody(1, CoordinatorConfig::new());
    sim.run(2_000);
    let worker = handle(&sim);
    sim.cut(0);
    let connection = hello(&mut sim, worker);
    for sequence in 2..12 {
        sim.run(1_000);
        say(&mut sim, connection, sequence, WorkerMessage::Renew { worker, fence: Fence::new(Epoch(1), 99) });
    }
    let silent =
        |event: &FleetEvent| matches!(event, FleetEvent::WorkerSilent { slot, .. } if *slot == worker.slot);
    assert!(!sim.records.iter().flat_map(|record| &record.events).any(silent));
    let state = sim.coordinator.fleet().state().worker(&World::worker_id(1)).unwrap().state;
    assert_eq!(state, WorkerLifecycleState::Available);
}

/// An incarnation that was displaced and comes back is counted at its greeting, and the worker is latched where the policy
/// asks for it.
#[test]
fn a_displaced_incarnation_that_comes_back_is_latched() {
    for (most, reasons) in [(0, &[][..]), (2, &[QuarantineReason::TwoPlaces])] {
        let policy: fn(&mut leasehold::fleet::WorkerFleetPolicyForm) =
            if most == 0 { |_| {} } else { |form| form.workers.latch_displaced_after = 2 };
        let mut sim =
            Sim::with_everybody_under(Terms { policy, ..Terms::default() }, 1, CoordinatorConfig::new());
        sim.run(2_000);
        let present = handle(&sim);
        sim.cut(0);
        hello(&mut sim, present);
        let former = WorkerHandle { generation: present.generation - 1, ..present };
        hello(&mut sim, former);
        let worker = |sim: &Sim| {
            sim.coordinator.fleet().state().worker(&World::worker_id(1)).unwrap().reasons.to_vec()
        };
        assert_eq!(worker(&sim), [], "once");
        hello(&mut sim, former);
        assert_eq!(worker(&sim), reasons);
    }
}
