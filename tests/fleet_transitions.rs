//! The transition table: its committed copies, and a visit to every (condition, act) pair with real operations.
//!
//! After a change that is meant: `LEASEHOLD_BLESS=1 cargo test --test fleet_transitions`, and read the diff.
#![allow(clippy::disallowed_methods)]

use std::{fs, path::Path};

use leasehold::{
    attestation::policy::AttestationPolicyForm,
    capability::CapabilitySet,
    code::{Code, Coded},
    fleet::*,
    lease::{Epoch, Fence, WorkerLease},
    testing::World,
    time::Millis,
};

fn compare(file: &str, now: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var("LEASEHOLD_BLESS").is_ok() {
        fs::write(&path, now).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == now, "{file} is not what the table says now");
}

#[test]
fn the_committed_table_is_the_table() {
    compare("tests/snapshots/transitions.txt", &render_table());
}

#[test]
fn the_diagram_in_the_docs_is_drawn_from_the_table() {
    compare("src/fleet/lifecycle.md", &render_diagram());
}

fn rules(form: &mut WorkerFleetPolicyForm) {
    // No stage of a lease ends before the others let a test look at it.
    form.lease.start_ms = Millis(29_000);
    form.lease.acknowledge_ms = Millis(29_000);
}

/// A world with worker 1 in a condition, and the lease that it has or had.
struct Scene {
    world: World,
    handle: WorkerHandle,
    lease: Option<WorkerLease>,
}

fn worker(n: u32) -> leasehold::id::WorkerId {
    World::worker_id(n)
}

fn operate<O: Decide>(world: &mut World, operation: &O) -> Result<O::Answer, Code>
where
    O::Error: From<CommandError>,
{
    world.ask(operation, &World::operator()).map(|outcome| outcome.answer).map_err(|error| error.code())
}

fn by_device<O: Decide>(world: &mut World, operation: &O) -> Result<O::Answer, Code>
where
    O::Error: From<CommandError>,
{
    world.ask(operation, &World::device(1)).map(|outcome| outcome.answer).map_err(|error| error.code())
}

impl Scene {
    fn new(activity: ActivityKind, quarantined: bool, draining: bool) -> Self {
        let mut world = World::new(rules);
        let mut lease = None;
        let handle = if activity == ActivityKind::Registered {
            world.register(1);
            world.attest(1, "a", None).unwrap().answer.handle
        } else {
            world.join(1, "a")
        };
        let leased = matches!(
            activity,
            ActivityKind::Assigned
                | ActivityKind::Running
                | ActivityKind::CleaningUp
                | ActivityKind::Revoking
                | ActivityKind::Orphaned
        );
        if leased {
            let acquired = world.acquire(1, "a").unwrap().answer;
            if activity != ActivityKind::Assigned {
                by_device(&mut world, &Start { worker: handle, fence: acquired.lease.fence }).unwrap();
            }
            lease = Some(acquired.lease);
        }
        match (activity, &lease) {
            (ActivityKind::CleaningUp, Some(lease)) => {
                let mut complete = World::completion(handle, lease);
                complete.cleanup = None;
                by_device(&mut world, &complete).unwrap();
            }
            (ActivityKind::Revoking, Some(lease)) => {
                operate(&mut world, &RevokeRun::new(World::run_id(1), lease.fence)).unwrap();
            }
            (ActivityKind::Offline, _) => {
                world.pass(20_001);
                world.expire();
            }
            (ActivityKind::Orphaned, _) => {
                world.pass(30_001);
                world.expire();
            }
            _ => {}
        }
        if quarantined {
            // A single quarantine takes a running lease back; the act on the whole fleet leaves that to the sweep.
            if matches!(activity, ActivityKind::Assigned | ActivityKind::Running) {
                operate(&mut world, &QuarantineAll {}).unwrap();
            } else {
                operate(&mut world, &QuarantineWorker { worker: worker(1) }).unwrap();
            }
        }
        if draining {
            operate(&mut world, &Drain { worker: worker(1) }).unwrap();
        }
        if activity == ActivityKind::Retired {
            operate(&mut world, &Retire { worker: worker(1) }).unwrap();
        }
        let scene = Self { world, handle, lease };
        assert_eq!(scene.kind(), activity);
        let view = scene.view();
        assert_eq!((view.quarantined, view.draining), (quarantined, draining), "{activity:?}");
        scene
    }

    fn view(&self) -> WorkerView<'_> {
        self.world.fleet.state().worker(&worker(1)).expect("worker 1")
    }

    fn kind(&self) -> ActivityKind {
        self.view().activity
    }

    /// Does `act` and gives the code of its refusal.
    fn act(&mut self, act: Act) -> Result<(), Code> {
        let handle = self.handle;
        let world = &mut self.world;
        let never = Fence::new(Epoch(1), 99);
        let fence = self.lease.as_ref().map_or(never, |lease| lease.fence);
        let (donor, lease);
        let lease = match &self.lease {
            Some(lease) => lease,
            None => {
                donor = Scene::new(ActivityKind::Assigned, false, false);
                lease = WorkerLeaseWith(donor.lease.expect("a lease"), never).into();
                &lease
            }
        };
        match act {
            Act::Attest => world.attest(1, "a", Some(handle)).map(|_| ()).map_err(|error| error.code()),
            Act::Heartbeat => world.beat(1, handle).map(|_| ()).map_err(|error| error.code()),
            Act::Acquire => {
                let grant = world.grant(2, "a");
                let request = World::request(grant).on_worker(worker(1));
                operate(world, &Acquire::new(request)).map(|_| ())
            }
            Act::Start => by_device(world, &Start { worker: handle, fence }).map(|_| ()),
            Act::Renew => by_device(world, &Renew { worker: handle, fence }).map(|_| ()),
            Act::Complete => by_device(world, &World::completion(handle, lease)).map(|_| ()),
            Act::ReportCleanup => {
                by_device(world, &ReportCleanup::new(handle, World::clean(lease), None)).map(|_| ())
            }
            Act::AcknowledgeRevocation => {
                by_device(world, &AcknowledgeRevocation::new(handle, fence, None, None)).map(|_| ())
            }
            Act::Revoke => operate(world, &RevokeRun::new(World::run_id(1), fence)).map(|_| ()),
            Act::Quarantine => operate(world, &QuarantineWorker { worker: worker(1) }).map(|_| ()),
            Act::Release => operate(world, &Release { worker: worker(1) }).map(|_| ()),
            Act::Drain => operate(world, &Drain { worker: worker(1) }).map(|_| ()),
            Act::Undrain => operate(world, &Undrain { worker: worker(1) }).map(|_| ()),
            Act::Reverify => operate(world, &Reverify { worker: worker(1) }).map(|_| ()),
            Act::ForceCleanup => operate(world, &ForceCleanup { worker: worker(1), fence }).map(|_| ()),
            Act::Retire => operate(world, &Retire { worker: worker(1) }).map(|_| ()),
            other => panic!("{other:?} is a deadline"),
        }
    }
}

/// A lease under another fence, for a worker that holds none.
struct WorkerLeaseWith(WorkerLease, Fence);

impl From<WorkerLeaseWith> for WorkerLease {
    fn from(WorkerLeaseWith(lease, fence): WorkerLeaseWith) -> Self {
        let mut document = serde_json::to_value(lease).unwrap();
        document["fence"] = serde_json::to_value(fence).unwrap();
        serde_json::from_value(document).unwrap()
    }
}

fn every_condition() -> impl Iterator<Item = (ActivityKind, bool, bool)> {
    ActivityKind::ALL.into_iter().flat_map(|kind| {
        [(false, false), (true, false), (false, true), (true, true)]
            .map(|(quarantined, draining)| (kind, quarantined, draining))
    })
}

/// Totality: each pair does what the table says: it leads where the table says, or it is refused with the
/// table's code and nothing has changed (invariants 5 and 8).
#[test]
fn every_operation_in_every_condition_does_what_the_table_says() {
    let mut visited = 0;
    for (kind, quarantined, draining) in every_condition() {
        for act in Act::ALL {
            if matches!(act, Act::LeaseDeadline | Act::SilenceDeadline | Act::EvidenceDeadline) {
                continue;
            }
            let mut scene = Scene::new(kind, quarantined, draining);
            let before = scene.world.fleet.state().clone();
            let what = format!("{} in {kind:?}, quarantined {quarantined}, draining {draining}", act.name());
            match (admitted(act, kind, quarantined, draining), scene.act(act)) {
                (Ok(to), Ok(())) => assert!(to.contains(&scene.kind()), "{what} led to {:?}", scene.kind()),
                (Err(code), Err(got)) => {
                    // A run is looked up before its worker is, so a revocation names what is missing there.
                    assert!(code == got || act == Act::Revoke, "{what}: {got} instead of {code}");
                    if act != Act::Attest {
                        assert_eq!(
                            *scene.world.fleet.state(),
                            before,
                            "{what} was refused and changed something"
                        );
                    }
                }
                (table, got) => panic!("{what}: the table says {table:?}, the core {got:?}"),
            }
            scene.world.fleet.state().check_invariants().unwrap_or_else(|broken| panic!("{what}: {broken}"));
            visited += 1;
        }
    }
    assert_eq!(visited, 36 * 16);
}

/// Deadlines: each leads where the table says, and where it has no row, nothing happens.
#[test]
fn every_deadline_in_every_condition_does_what_the_table_says() {
    for (kind, quarantined, draining) in every_condition() {
        for act in [Act::LeaseDeadline, Act::SilenceDeadline, Act::EvidenceDeadline] {
            let mut scene = Scene::new(kind, quarantined, draining);
            let handle = scene.handle;
            match act {
                Act::LeaseDeadline => {
                    scene.world.pass(31_000);
                    let _ = scene.world.fleet.heartbeat(handle, &World::device(1), scene.world.now);
                }
                Act::SilenceDeadline => scene.world.pass(20_001),
                _ => {
                    // A policy that trusts no capability lets no worker go on.
                    let mut form = WorkerFleetPolicyForm::from(scene.world.fleet.state().policy().clone());
                    let mut attestation = AttestationPolicyForm::from(form.attestation);
                    attestation.capabilities.trusted = CapabilitySet::default();
                    form.attestation = attestation.try_into().unwrap();
                    let policy = form.try_into().unwrap();
                    operate(&mut scene.world, &SetPolicy { policy }).unwrap();
                }
            }
            scene.world.expire();
            let what = format!("{} in {kind:?}, quarantined {quarantined}, draining {draining}", act.name());
            // The sweep that follows an act on the whole fleet takes running leases back.
            let swept = quarantined && matches!(kind, ActivityKind::Assigned | ActivityKind::Running);
            match admitted(act, kind, quarantined, draining) {
                Ok(to) => assert!(to.contains(&scene.kind()), "{what} led to {:?}", scene.kind()),
                Err(_) if swept => assert_eq!(scene.kind(), ActivityKind::Revoking, "{what}"),
                Err(_) => assert_eq!(scene.kind(), kind, "{what}"),
            }
            scene.world.fleet.state().check_invariants().unwrap_or_else(|broken| panic!("{what}: {broken}"));
        }
    }
}

/// Liveness: every activity but the last has a way out by an act or a deadline, so nothing is stuck for good.
#[test]
fn every_activity_but_retired_has_an_exit() {
    for kind in ActivityKind::ALL {
        let exit = Act::ALL.iter().any(|act| {
            admitted(*act, kind, false, false).is_ok_and(|to| to.iter().any(|next| *next != kind))
        });
        assert_eq!(exit, kind != ActivityKind::Retired, "{kind:?}");
    }
}
