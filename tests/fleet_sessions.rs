//! What is remembered of a client's operations, for whom it is good, and how much of it there may be.

mod fleet_support;

use fleet_support::*;
use leasehold::{
    code,
    digest::Sha256Digest,
    fleet::*,
    id::ClientId,
    identity::{DeviceCertificate, DeviceCommand, OverlapEnd, RevocationReason, RevocationSubject},
    testing::World,
    time::{Millis, Wall},
};

fn command(client: &str, sequence: u64) -> CommandId {
    CommandId { client: ClientId::new(client).unwrap(), sequence }
}

/// Device `n` goes over to another certificate and uses it.
fn rotate(world: &mut World, n: u32) -> Principal {
    let certificate = Sha256Digest::of(format!("next certificate {n}").as_bytes());
    let key = Sha256Digest::of(format!("next key {n}").as_bytes());
    let rotation = DeviceCommand::BeginRotation {
        device: World::device_id(n),
        next: DeviceCertificate::new(certificate, key, Wall(0), Wall::NEVER).unwrap(),
        overlap: Millis::from_secs(3_600),
        at_deadline: OverlapEnd::AbandonNew,
    };
    world.ask(&ManageDevice::new(rotation), &World::operator()).unwrap();
    let next = Principal::Device { device: World::device_id(n), certificate };
    world.ask(&ConfirmUse {}, &next).unwrap();
    next
}

/// Invariant 12: authentication comes before memory. A revoked device is not told what it was told before, and does not
/// count as heard for asking.
#[test]
fn a_revoked_device_gets_no_remembered_answer() {
    let mut world = World::default();
    world.join(1, "a");
    let acquired = world.acquire(1, "a").unwrap().answer;
    let start = Start { worker: acquired.worker, fence: acquired.lease.fence };
    let number = command("device-1", 1);
    world.ask_as(&start, &World::device(1), Some(&number)).unwrap();
    let subject = RevocationSubject::Device(World::device_id(1));
    let revoke = DeviceCommand::Revoke { subject, reason: RevocationReason::KeyCompromise };
    world.ask(&ManageDevice::new(revoke), &World::operator()).unwrap();
    let heard = world.fleet.last_heard(acquired.worker);
    world.pass(5_000);
    // Neither the answer of then, nor that the number is taken, nor that it is too old.
    let other = Start {
        worker: acquired.worker,
        fence: leasehold::lease::Fence::new(acquired.lease.fence.epoch, 99),
    };
    for operation in [&start, &other] {
        let code = refused(&mut world, |world| {
            world.ask_as(operation, &World::device(1), Some(&number)).map(|it| it.answer)
        });
        assert_eq!(code, code::DEVICE_REVOKED);
    }
    assert_eq!(world.fleet.last_heard(acquired.worker), heard);
}

/// A device is the same under each of its certificates: a repeat after a rotation gets the answer of before, and another
/// device's is still another's.
#[test]
fn a_repeat_after_a_rotation_gets_its_answer() {
    let mut world = World::default();
    world.join(1, "a");
    world.join(2, "b");
    let acquired = world.acquire(1, "a").unwrap().answer;
    let start = Start { worker: acquired.worker, fence: acquired.lease.fence };
    let number = command("device-1", 1);
    let first = world.ask_as(&start, &World::device(1), Some(&number)).unwrap().answer;
    let rotated = rotate(&mut world, 1);
    let index = world.fleet.state().index();
    let again = world.ask_as(&start, &rotated, Some(&number)).unwrap();
    assert_eq!((again.answer, again.events.len(), world.fleet.state().index()), (first, 0, index));
    let stolen = code_of(world.ask_as(&start, &World::device(2), Some(&number)).map(|it| it.answer));
    assert_eq!(stolen, code::COMMAND_ID_CONFLICT);
}
