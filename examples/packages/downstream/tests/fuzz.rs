//! The crate's fuzz bodies in a plain loop: their own seeds, and each of them with one bit changed.

use leasehold::testing::fuzz;

#[test]
fn bodies_run_in_a_plain_loop() {
    for body in fuzz::bodies() {
        let seeds = body.seeds();
        assert!(!seeds.is_empty(), "{} has no seed", body.name);
        for (n, (_, mut seed)) in seeds.into_iter().enumerate() {
            body.run(&seed);
            if let Some(byte) = (!seed.is_empty()).then(|| n % seed.len()) {
                seed[byte] ^= 1 << (n % 8);
                body.run(&seed);
            }
        }
    }
}
