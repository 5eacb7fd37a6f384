#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| leasehold::testing::fuzz_attachments::attachments(bytes));
