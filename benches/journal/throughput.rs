//! Durable operations a second, with so many in flight, and raw `fdatasync` of the same bytes in the same run.

use std::{
    fs::OpenOptions,
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use leasehold::{
    fleet::{Drain, Ticket, Undrain},
    shell::Journal,
    testing::World,
};

use crate::{fixture::Fixture, scratch::Scratch, writer::writer};

const WORKERS: usize = 1_000;
const ROUND: Duration = Duration::from_millis(700);
const ROUNDS: usize = 5;

/// One round: operations that were answered, the time, and the sizes of the batches.
struct Round {
    operations: usize,
    spent: Duration,
    batches: Vec<usize>,
}

/// A closed loop of `in_flight` clients: each asks again when its answer lasts. All that are
/// accepted by then share one write.
fn fleet<J: Journal + Send + 'static>(
    fixture: &mut Fixture,
    in_flight: usize,
    journal: J,
    turn: &mut usize,
) -> (Round, J) {
    let (batches, lasts, writer) = writer(journal);
    let (operator, now) = (World::operator(), fixture.world.now);
    let mut held: Vec<Ticket<_>> = Vec::new();
    let mut round = Round { operations: 0, spent: Duration::ZERO, batches: Vec::new() };
    let began = Instant::now();
    loop {
        let open = began.elapsed() < ROUND;
        while open && held.len() < in_flight {
            let worker = fixture.peers[*turn % WORKERS].id.clone();
            let fleet = &mut fixture.world.fleet;
            let prepared = if (*turn / WORKERS).is_multiple_of(2) {
                fleet.decide(&Drain { worker }, &operator, None, now).unwrap()
            } else {
                fleet.decide(&Undrain { worker }, &operator, None, now).unwrap()
            };
            held.push(fleet.accept(prepared).unwrap());
            *turn += 1;
        }
        if held.is_empty() {
            break;
        }
        let batch = fixture.world.fleet.take_journal().unwrap();
        round.batches.push(batch.bytes.len());
        batches.send((batch.last, batch.bytes)).unwrap();
        fixture.world.fleet.durable(lasts.recv().unwrap()).unwrap();
        let before = held.len();
        held = held.into_iter().filter_map(|ticket| ticket.redeem(&fixture.world.fleet).err()).collect();
        round.operations += before - held.len();
    }
    round.spent = began.elapsed();
    drop(batches);
    (round, writer.join().unwrap())
}

/// The same bytes as `round` wrote, as bare as they can be written.
fn raw(scratch: &Scratch, round: &Round) -> Duration {
    let path = scratch.0.join("raw");
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    let bytes = vec![0x5a; round.batches.iter().copied().max().unwrap_or(0)];
    let began = Instant::now();
    for batch in &round.batches {
        file.write_all(&bytes[..*batch]).unwrap();
        file.sync_data().unwrap();
    }
    began.elapsed()
}

/// Measures the journal that `open` opens in a directory.
pub fn run<J: Journal + Send + 'static>(open: impl FnOnce(&Path) -> J) {
    let mut fixture = Fixture::new(WORKERS);
    fixture.drain();
    let scratch = Scratch::new("throughput");
    let mut journal = open(&scratch.0);
    let mut turn = 0;
    println!("in flight | operations/s | batches/s | bytes each | raw fdatasync, operations/s | of raw");
    for in_flight in [1, 16, 256] {
        let (mut operations, mut batches, mut bytes) = (0, 0, 0);
        let (mut spent, mut bare) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..ROUNDS {
            let (round, back) = fleet(&mut fixture, in_flight, journal, &mut turn);
            journal = back;
            bare += raw(&scratch, &round);
            operations += round.operations;
            batches += round.batches.len();
            bytes += round.batches.iter().sum::<usize>();
            spent += round.spent;
        }
        let (rate, limit) = (operations as f64 / spent.as_secs_f64(), operations as f64 / bare.as_secs_f64());
        println!(
            "{in_flight:9} | {rate:12.0} | {:9.0} | {:10} | {limit:27.0} | {:5.2}",
            batches as f64 / spent.as_secs_f64(),
            bytes / batches.max(1),
            rate / limit,
        );
    }
}
