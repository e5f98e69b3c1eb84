//! Request paths: one normal form, and redirects to the normal form on the same host.

#![no_main]

use devanture_site::target::{Target, encode_path, normalise, normalise_for_route};
use libfuzzer_sys::fuzz_target;

/// Path with percent-encoding for all characters that clients treat differently.
fn spelled_out(raw: &str) -> String {
    let mut path = raw.to_owned();
    for (byte, encoded) in [("[", "%5B"), ("]", "%5D"), ("|", "%7C"), ("^", "%5E"), ("{", "%7B"), ("}", "%7D")] {
        path = path.replace(byte, encoded);
    }
    path
}

fuzz_target!(|raw: &str| {
    match normalise(raw, usize::MAX) {
        Target::Normal(decoded) => assert!(raw.is_empty() || encode_path(&decoded) == spelled_out(raw)),
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
