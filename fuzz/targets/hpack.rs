//! HPACK: decoded blocks equal the result of a reference decoder, and encoded fields decode to the original, however
//! the encoder is used.

#![no_main]

#[path = "../../edge/http/src/properties/hpack.rs"]
mod properties;

use devanture_http as engine;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    match input.split_first() {
        Some((first, steps)) if first % 2 == 1 => properties::what_is_written_is_read(steps),
        Some((_, blocks)) => properties::blocks_are_read_like_the_standard_says(blocks),
        None => {}
    }
});
