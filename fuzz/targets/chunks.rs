//! Chunked HTTP/1.1 bodies: split in any way, the result equals the result of a reference decoder.

#![no_main]

#[path = "../../edge/http/src/properties/chunks.rs"]
mod properties;
#[allow(dead_code, reason = "other targets use more of it")]
#[path = "../../edge/http/src/properties/site.rs"]
mod site;

use devanture_http as engine;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], &[u8])| {
    let (sizes, bytes) = input;
    properties::pieces_mean_the_same(bytes, sizes);
});
