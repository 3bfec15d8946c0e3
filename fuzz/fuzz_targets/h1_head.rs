//! Searches for inputs of `shield_fuzz::h1_head`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| shield_fuzz::h1_head::check(data));
