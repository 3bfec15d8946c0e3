//! Searches for inputs of `shield_fuzz::host`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| shield_fuzz::host::check(data));
