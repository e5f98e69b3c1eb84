//! HTTP/2 by the engine and by hyper: the same bytes have the same answers, and the same end.
//!
//! To be built without debug assertions (`cargo fuzz run -O engines`): h2 has one that fails when a connection goes
//! with streams in it.

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
