//! `Procfile`: processes, or errors that name existing lines.

#![no_main]

use devanture_config::site_toml::procfile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match procfile::parse("Procfile", text) {
        Ok(found) => assert!(!found.processes.is_empty()),
        Err(mistakes) => {
            assert!(!mistakes.0.is_empty());
            assert!(mistakes.0.iter().all(|mistake| mistake.line <= text.lines().count()));
        }
    }
});
