//! HTTP/2 by the engine and by hyper: the same bytes get the same responses, and the same end.
//!
//! Build without debug assertions (`cargo fuzz run -O engines`): an assertion of h2 fails when a connection closes with
//! open streams.

#![no_main]

#[allow(dead_code, reason = "other targets use more of it")]
#[path = "../../edge/http/src/properties/connection.rs"]
mod connection;
#[path = "../../edge/http/src/properties/engines.rs"]
mod properties;
#[path = "../../edge/http/src/properties/script.rs"]
mod script;
#[allow(dead_code, reason = "other targets use more of it")]
#[path = "../../edge/http/src/properties/site.rs"]
mod site;

use devanture_http as engine;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    properties::both_say_the_same(input);
});
