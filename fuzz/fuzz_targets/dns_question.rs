//! Searches for inputs of `shield_fuzz::dns_question`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| shield_fuzz::dns_question::check(data));
