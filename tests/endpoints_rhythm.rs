//! The rhythm of a session follows from what the coordinator says: how long silence is waited with, when a lease is renewed,
//! and when evidence is brought again.

mod endpoints_support;

use std::collections::BTreeSet;

use endpoints_support::*;
use leasehold::{agent::AgentEvent, coordinator::CoordinatorConfig, fleet::FleetEvent, time::Millis};

fn lost(sim: &mut Sim, host: usize) -> Vec<String> {
    let seen = sim.worker(host).seen.iter();
    seen.filter_map(|event| match event {
        AgentEvent::LinkLost { why } => Some(why.to_string()),
        _ => None,
    })
    .collect()
}

/// Neither side takes the silence between two heartbeats for a peer that is gone, however rare the policy has them.
#[test]
fn rare_heartbeats_are_no_silence() {
    let rare = |every: u64, policy| {
        let terms = Terms { policy, patience: None, ..Terms::default() };
        let mut sim = Sim::with_everybody_under(terms, 1, CoordinatorConfig::new());
        sim.run(every * 2_500);
        assert_eq!((lost(&mut sim, 0), sim.codes()), (Vec::new(), Vec::new()), "every {every} s");
    };
    rare(20, |form| {
        form.liveness.heartbeat_every_ms = Millis::from_secs(20);
        form.liveness.offline_after_ms = Millis::from_secs(60);
    });
    rare(100, |form| {
        form.liveness.heartbeat_every_ms = Millis::from_secs(100);
        form.liveness.offline_after_ms = Millis::from_secs(300);
    });
}

/// A lease whose ttl is shorter than the policy's rhythm of renewal is renewed, and not more often than it must be.
#[test]
fn a_lease_is_renewed_before_it_ends_however_short_it_is() {
    for ttl in [1_100, 1_500, 2_900, 3_100, 9_000] {
        let terms = Terms { ttl: Millis(ttl), ..Terms::default() };
        let mut sim = Sim::with_everybody_under(terms, 1, CoordinatorConfig::new());
        sim.run(2_000);
        sim.worker(0).takes = 6_000;
        sim.worker(1).takes = 6_000;
        sim.acquire(1, transport(&[]));
        sim.run(9_000);
        assert_eq!(sim.endings(1), 1, "{ttl} ms: {:?}", sim.run_state(1));
        let renewed = (0..2).flat_map(|host| sim.worker(host).seen.clone());
        let renewed = renewed.filter(|event| matches!(event, AgentEvent::Extended { .. })).count();
        assert!((1..=24).contains(&renewed), "{ttl} ms: renewed {renewed} times");
    }
}

/// A connection that was lost over the time of a renewal renews first of all when it is back.
#[test]
fn a_renewal_that_was_due_without_a_connection_is_the_first_thing_after_it() {
    let mut sim = Sim::with_everybody(1, CoordinatorConfig::new());
    sim.run(2_000);
    sim.worker(0).takes = 14_000;
    sim.worker(1).takes = 14_000;
    sim.acquire(1, transport(&[]));
    sim.run(500);
    for host in 0..2 {
        sim.cut(host);
    }
    // Due 3 s after the start, and heard again before `offline_after` of 4 s.
    sim.run(3_300);
    for host in 0..2 {
        sim.connect(host);
    }
    sim.settle();
    sim.pass(1);
    sim.settle();
    let extended = (0..2).flat_map(|host| sim.worker(host).seen.clone());
    assert_eq!(extended.filter(|event| matches!(event, AgentEvent::Extended { .. })).count(), 1);
    sim.run(14_000);
    assert_eq!(sim.endings(1), 1, "{:?}", sim.run_state(1));
}

/// Evidence that is still good is not asked for when a coordinator comes back, and what has run out is brought by each
/// worker at a time of its own.
#[test]
fn a_restart_asks_for_no_evidence_that_is_still_good() {
    let mut sim = Sim::with_everybody(1, CoordinatorConfig::new());
    sim.run(3_000);
    let accepted = |sim: &Sim, from: usize| {
        let events = sim.records[from..].iter().flat_map(|record| &record.events);
        events.filter(|event| matches!(event, FleetEvent::EvidenceAccepted { .. })).count()
    };
    let before = sim.records.len();
    sim.crash();
    for host in 0..3 {
        sim.connect(host);
    }
    sim.run(3_000);
    assert_eq!(accepted(&sim, before), 0);
    // Evidence for 10 minutes: everybody brings it again in time, and not at the same moment.
    let mut at = BTreeSet::new();
    for second in 0..600 {
        let from = sim.records.len();
        sim.run(1_000);
        if accepted(&sim, from) > 0 {
            at.insert(second);
        }
        if at.len() == 2 {
            break;
        }
    }
    assert_eq!(at.len(), 2, "{at:?}");
    assert_eq!(lost(&mut sim, 0).len(), 1, "by the restart");
}
