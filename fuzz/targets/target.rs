//! Paths of requests: one normal form, and redirects that lead to it on this host.

#![no_main]

use devanture_site::target::{Target, encode_path, normalise, normalise_for_route};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|raw: &str| {
    match normalise(raw, usize::MAX) {
        Target::Normal(decoded) => assert!(raw.is_empty() || encode_path(&decoded) == raw),
        Target::Redirect(to) => {
            assert!(to.starts_with('/') && !to.starts_with("//") && !to.starts_with("/\\") && to.is_ascii());
            assert!(matches!(normalise(&to, usize::MAX), Target::Normal(_)));
        }
        Target::Refuse(error) => assert_eq!(normalise_for_route(raw, usize::MAX), Target::Refuse(error)),
    }
    if let Target::Redirect(to) = normalise_for_route(raw, usize::MAX) {
        assert!(to.starts_with('/') && !to.starts_with("//"));
        assert!(matches!(normalise_for_route(&to, usize::MAX), Target::Normal(_)));
    }
});
