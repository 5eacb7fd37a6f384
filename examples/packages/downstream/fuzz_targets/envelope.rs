//! The whole target: `cargo fuzz run envelope`, with the body's own dictionary and seeds.
#![no_main]

use leasehold::testing::fuzz;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    fuzz::body("envelope").expect("a body of this name").run(bytes);
});
