//! Dates: a parsed and formatted date is parsed again as the same second.

#![no_main]

use devanture_site::date::{ImfFixdate, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u64, &[u8])| {
    let (now, value) = input;
    if let Some(seconds) = parse(value, now)
        && let Ok(since_epoch) = u64::try_from(seconds)
        // A leap second at the end of the year 9999 is the only date that can be parsed and not formatted.
        && since_epoch < 253_402_300_800
    {
        assert_eq!(parse(ImfFixdate::from_seconds(since_epoch).as_str().as_bytes(), now), Some(seconds));
    }
});
