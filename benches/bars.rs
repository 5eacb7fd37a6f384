//! Costs beside each other, on a machine whose speed changes while it measures.
//!
//! Every subject has a short turn in each round, and the least of its turns counts: what is compared was measured
//! within the same milliseconds, at the best that the machine gave any of them. From round to round the stack begins
//! elsewhere in its page: a signature check alone takes 44 or 50 us, as its tables and its stack happen to lie.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a bench looks at the clock")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

/// How long one turn lasts, about.
const TURN: Duration = Duration::from_micros(300);

/// How often every subject has its turn.
const ROUNDS: usize = 600;

/// What is measured: one call of it.
pub type Subject<'a> = &'a mut dyn FnMut();

/// The nanoseconds that one call of each subject takes at least.
pub fn least<const N: usize>(subjects: [Subject<'_>; N]) -> [f64; N] {
    least_of(ROUNDS, subjects)
}

/// As [`least`], in so many rounds: for what takes long.
#[allow(dead_code, reason = "not every bench has something that takes long")]
pub fn least_of<const N: usize>(rounds: usize, mut subjects: [Subject<'_>; N]) -> [f64; N] {
    let calls = subjects.each_mut().map(|subject| {
        let began = Instant::now();
        let mut calls = 0_u32;
        while began.elapsed() < 20 * TURN {
            subject();
            calls += 1;
        }
        (calls / 20).max(1)
    });
    let mut least = [f64::INFINITY; N];
    for round in 0..rounds {
        for ((subject, calls), least) in subjects.iter_mut().zip(calls).zip(&mut least) {
            let took = beneath(round % FRAMES, &mut || {
                let began = Instant::now();
                for _ in 0..calls {
                    subject();
                }
                began.elapsed()
            });
            *least = least.min(took.as_secs_f64() * 1e9 / f64::from(calls));
        }
    }
    least
}

/// So many frames are a page or more.
const FRAMES: usize = 24;

/// Calls `turn` with the stack so many frames further down.
#[inline(never)]
fn beneath(frames: usize, turn: &mut dyn FnMut() -> Duration) -> Duration {
    let frame = black_box([0_u8; 160]);
    let took = if frames == 0 { turn() } else { beneath(frames - 1, turn) };
    black_box(&frame);
    took
}

/// Nanoseconds for people.
pub fn time(ns: f64) -> String {
    match ns {
        ns if ns < 1e3 => format!("{ns:.1} ns"),
        ns if ns < 1e6 => format!("{:.2} us", ns / 1e3),
        ns => format!("{:.1} ms", ns / 1e6),
    }
}

/// Prints one row: what was measured, against what it may be.
pub fn row(name: &str, measured: f64, bar: f64, how: &str) {
    let verdict = if measured <= bar { "met" } else { "MISSED" };
    println!("{name:<34} {:>10} of {:>10}  {verdict:<6} {how}", time(measured), time(bar));
}
