//! HTTP/2: for any input and any split, the output is valid, respects the peer's windows, and ends.

#![no_main]

#[path = "../../edge/http/src/properties/connection.rs"]
mod properties;
#[path = "../../edge/http/src/properties/script.rs"]
mod script;
#[allow(dead_code, reason = "other targets use more of it")]
#[path = "../../edge/http/src/properties/site.rs"]
mod site;

use devanture_http as engine;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], u16, &[u8])| {
    let (sizes, room, bytes) = input;
    properties::what_is_sent_is_sound(bytes, sizes, room);
});
