//! Searches for inputs of `shield_fuzz::frame`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| shield_fuzz::frame::check(data));
