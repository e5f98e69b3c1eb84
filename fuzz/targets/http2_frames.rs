//! HTTP/2, one frame of any type at a time: each connection state accepts the frame, or refuses the frame with a code
//! that RFC 9113 names; then the connection continues, or has ended for good.

#![no_main]

#[allow(dead_code, reason = "other targets use more of it")]
#[path = "../../edge/http/src/properties/connection.rs"]
mod connection;
#[path = "../../edge/http/src/properties/frames.rs"]
mod properties;
#[allow(dead_code, reason = "other targets use more of it")]
#[path = "../../edge/http/src/properties/script.rs"]
mod script;
#[allow(dead_code, reason = "other targets use more of it")]
#[path = "../../edge/http/src/properties/site.rs"]
mod site;

use devanture_http as engine;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    properties::each_is_taken_or_refused_as_the_standard_says(input);
});
