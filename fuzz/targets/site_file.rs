//! `devanture.toml` and an overlay: errors and explanations name existing lines.

#![no_main]

use devanture_config::site_toml::{Origin, OverlayText, SiteFile};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str, &str)| {
    let (base, place, text) = input;
    let lines_of = |file: &str| if file == "base" { base } else { text }.split('\n').count();
    match SiteFile::parse_with("base", Some(base), &[OverlayText { file: "overlay", place, text }]) {
        Err(mistakes) => {
            assert!(!mistakes.0.is_empty());
            for mistake in mistakes.0 {
                assert!(mistake.line <= lines_of(&mistake.file), "{mistake}");
            }
        }
        Ok(site) => {
            for one in site.explain(Some(&place.parse().unwrap()), None) {
                if let Origin::File(at) = one.origin {
                    assert!((1..=lines_of(&at.file)).contains(&at.line), "{}: {}", at.file, at.line);
                }
            }
        }
    }
});
