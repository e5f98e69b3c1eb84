//! QPACK: any section means what it means to a decoder that is written like the standard, and however a head is put
//! together, what is written is read as what was meant.

#![no_main]

#[allow(dead_code, reason = "other targets use more of it")]
#[path = "../../edge/http/src/properties/hpack.rs"]
mod hpack;
#[path = "../../edge/http/src/properties/qpack.rs"]
mod properties;

use devanture_http as engine;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    match input.split_first() {
        Some((first, steps)) if first % 2 == 1 => properties::what_is_written_is_read(steps),
        Some((_, section)) => properties::a_section_is_read_like_the_standard_says(section),
        None => {}
    }
});
