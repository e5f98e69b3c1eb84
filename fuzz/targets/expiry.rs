//! Expiries of aliases: a parsed expiry is formatted, and parsed again as the same.

#![no_main]

use devanture_config::text::Expiry;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(expiry) = text.parse::<Expiry>() {
        assert_eq!(String::from(expiry).parse::<Expiry>().as_ref(), Ok(&expiry), "{text}");
        assert!(expiry.at_ms(0).is_none_or(|at_ms| at_ms < 1 << 60), "{text}");
    }
});
