//! The import map that was put into a page, and the `Content-Security-Policy` that the site's rules give it.

use devanture_site::integrity::policy_with_hash;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY_REPORT_ONLY};
use http::{HeaderMap, HeaderValue};

/// Lets the import map with this hash run, where the policy would refuse it.
pub(super) fn allow(headers: &mut HeaderMap, hash: &str) {
    for name in [CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY_REPORT_ONLY] {
        // The site's rules write one line of it.
        let policy = headers.get(&name).and_then(|value| value.to_str().ok());
        let with_hash = policy.and_then(|policy| policy_with_hash(policy, hash));
        if let Some(value) = with_hash.and_then(|policy| HeaderValue::try_from(policy).ok()) {
            headers.insert(name, value);
        }
    }
}
