//! Searches for inputs of `shield_fuzz::h2_head`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| shield_fuzz::h2_head::check(data));
