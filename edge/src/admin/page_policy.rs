//! Checks the policies of pages that the edge has itself, for their tests.
#![allow(clippy::unwrap_used, reason = "a test says what is wrong by panicking")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Checks that a policy lets run the one script and the one style of a page, by their hashes.
pub(super) fn check(page: &str, policy: &str) {
    for tag in ["script", "style"] {
        let (_, rest) = page.split_once(&format!("<{tag}>")).unwrap();
        let (text, after) = rest.split_once(&format!("</{tag}>")).unwrap();
        assert!(!after.contains(&format!("<{tag}")), "there is one");
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
        let expected = format!("{tag}-src 'sha256-{}'", STANDARD.encode(hash));
        assert!(policy.contains(&expected), "{expected}");
    }
}
