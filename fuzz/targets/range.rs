//! `Range`: every part lies within the file, and parts never overlap.

#![no_main]

use devanture_site::range::{Multipart, RANGES_MAX, RangeOutcome, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u64, &[u8])| {
    let (length, value) = input;
    match parse(Some(value), length) {
        RangeOutcome::Whole | RangeOutcome::Unsatisfiable => {}
        RangeOutcome::One(start, end) => assert!(start <= end && end < length),
        RangeOutcome::Several(spans) => {
            assert!((2..=RANGES_MAX).contains(&spans.len()));
            for (place, &(start, end)) in spans.iter().enumerate() {
                assert!(start <= end && end < length);
                assert!(spans[place + 1..].iter().all(|other| other.1 < start || end < other.0));
            }
            let parts = Multipart { boundary: "b", content_type: "text/plain", length };
            assert!(parts.body_bytes(&spans) > 0);
        }
    }
});
