//! The import map inserted into a page, and the `Content-Security-Policy` of the site's rules.

use devanture_site::integrity::policy_with_hash;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY_REPORT_ONLY};
use http::{HeaderMap, HeaderValue};

/// Allows the import map of `hash` to run, if the policy would refuse the map.
pub(super) fn allow(headers: &mut HeaderMap, hash: &str) {
    for name in [CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY_REPORT_ONLY] {
        // The site's rules write a single line of the policy.
        let policy = headers.get(&name).and_then(|value| value.to_str().ok());
        let with_hash = policy.and_then(|policy| policy_with_hash(policy, hash));
        if let Some(value) = with_hash.and_then(|policy| HeaderValue::try_from(policy).ok()) {
            headers.insert(name, value);
        }
    }
}
