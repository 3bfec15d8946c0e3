//! Searches for inputs of `shield_fuzz::client_hello`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| shield_fuzz::client_hello::check(data));
