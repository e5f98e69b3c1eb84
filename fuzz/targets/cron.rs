//! Cron expressions: a parsed expression is printed unchanged, and its times are strictly increasing.

#![no_main]

use devanture_config::cron::{Cron, Zone};
use libfuzzer_sys::fuzz_target;

/// 2026-01-01.
const START_MS: u64 = 1_767_225_600_000;

fuzz_target!(|text: &str| {
    let Ok(cron) = text.parse::<Cron>() else { return };
    assert_eq!(cron.to_string(), text);
    let Ok(zone) = "Europe/Paris".parse::<Zone>() else { return };
    let mut at = START_MS;
    for _ in 0..10 {
        let next = cron.next_after(&zone, at);
        assert!(next.is_some_and(|next| next > at), "{text} after {at}: {next:?}");
        at = next.unwrap_or(at);
    }
    assert_eq!(cron.last_within(&zone, START_MS, at), Some(at), "{text}");
});
