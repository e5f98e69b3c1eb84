//! QPACK: decoded sections equal the result of a reference decoder, and encoded heads decode to the original.

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
