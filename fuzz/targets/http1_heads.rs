//! Requests of HTTP/1.1: the same answers in whatever pieces they come, and every byte is of a request that is
//! answered, or of none that is whole.

#![no_main]

#[allow(dead_code, reason = "other targets use more of it")]
#[path = "../../edge/http/src/properties/chunks.rs"]
mod chunks;
#[path = "../../edge/http/src/properties/http1.rs"]
mod properties;
#[allow(dead_code, reason = "other targets use more of it")]
#[path = "../../edge/http/src/properties/site.rs"]
mod site;

use devanture_http as engine;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], u16, &[u8])| {
    let (sizes, room, bytes) = input;
    properties::cuts_change_nothing(bytes, sizes, room);
});
