//! Searches for inputs of `shield_fuzz::h1_body`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| shield_fuzz::h1_body::check(data));
