//! HTTP/3: for any input on any streams and any split, the output is valid and ends.

#![no_main]

#[allow(dead_code, reason = "other targets use more of it")]
#[path = "../../edge/http/src/properties/connection.rs"]
mod connection;
#[path = "../../edge/http/src/properties/http3.rs"]
mod properties;
#[allow(dead_code, reason = "other targets use more of it")]
#[path = "../../edge/http/src/properties/script.rs"]
mod script;
#[allow(dead_code, reason = "other targets use more of it")]
#[path = "../../edge/http/src/properties/site.rs"]
mod site;

use devanture_http as engine;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], u16, u16, &[u8])| {
    let (sizes, room, takes, bytes) = input;
    properties::what_is_sent_is_sound(bytes, sizes, room, takes);
});
