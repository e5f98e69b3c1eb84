//! Status filters of log readers: a parsed filter is formatted and parsed again as the same.

#![no_main]

use devanture_config::api::StatusFilter;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|value: &[u8]| {
    let Ok(text) = std::str::from_utf8(value) else { return };
    let Ok(filter) = text.parse::<StatusFilter>() else { return };
    assert_eq!(filter.to_string().parse::<StatusFilter>().as_ref(), Ok(&filter));
    assert!((100..600).any(|status| filter.takes(status)));
});
