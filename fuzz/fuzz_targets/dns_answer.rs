//! Searches for inputs of `shield_fuzz::dns_answer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| shield_fuzz::dns_answer::check(data));
