#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| leasehold::testing::fuzz_identity::pairing_messages(bytes));
