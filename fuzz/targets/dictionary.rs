//! `Available-Dictionary` and `Dictionary-ID`: no input is valid for both, and no input makes the parsers panic.

#![no_main]

use devanture_site::dictionary::{available_dictionary, is_dictionary_id};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|value: &[u8]| {
    assert!(available_dictionary(value).is_none() || !is_dictionary_id(value));
});
