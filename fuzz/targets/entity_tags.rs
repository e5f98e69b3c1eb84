//! Lists of entity tags: each parsed element is a tag, and matches itself.

#![no_main]

use devanture_site::conditional::{Comparison, entity_tags, matches_any};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|value: &[u8]| {
    for tag in entity_tags(value) {
        assert!(tag.opaque.len() >= 2 && tag.opaque.starts_with(b"\"") && tag.opaque.ends_with(b"\""));
        if let Ok(text) = std::str::from_utf8(tag.opaque) {
            assert!(matches_any(value, text, Comparison::Weak));
            assert!(tag.is_weak || matches_any(value, text, Comparison::Strong));
            assert!(matches_any(tag.opaque, text, Comparison::Strong));
        }
    }
});
