//! Filters trailers: permitted fields after a body (RFC 9110 §6.5).
//!
//! Some recipients merge trailers into the head, where the fields would pass as checked by the edge. So a field that
//! frames, routes, authenticates, qualifies or explains a message is forwarded in the head or not at all. A field
//! without such a meaning, for example a checksum or the status of gRPC, belongs to the application.

use http::header::{HeaderMap, HeaderName};

use super::headers::{belongs_to_connection, in_variables, is_about_visitor, is_the_edges};

/// Removes forbidden trailers, and the fields `dropped` of the message: fields listed by `Connection`, and fields that
/// the route changes in the head.
pub(crate) fn filter(trailers: &mut HeaderMap, dropped: &[HeaderName]) {
    let may_pass = |name: &HeaderName| may_trail(name) && !dropped.iter().any(|other| is_same(name, other));
    let unfit: Vec<HeaderName> = trailers.keys().filter(|name| !may_pass(name)).cloned().collect();
    for name in unfit {
        trailers.remove(name);
    }
}

/// Returns true if two names are equal for some servers.
pub(crate) fn is_same(a: &HeaderName, b: &HeaderName) -> bool {
    a.as_str().bytes().map(in_variables).eq(b.as_str().bytes().map(in_variables))
}

fn may_trail(name: &HeaderName) -> bool {
    let dashed: String = name.as_str().bytes().map(|byte| char::from(in_variables(byte))).collect();
    let has_prefix = || UNFIT_PREFIXES.iter().any(|prefix| dashed.starts_with(prefix));
    let is_of_head = belongs_to_connection(&dashed) || is_the_edges(&dashed) || is_about_visitor(&dashed);
    let is_unfit = is_of_head || UNFIT.contains(&dashed.as_str()) || has_prefix();
    FIT.contains(&dashed.as_str()) || !is_unfit
}

/// Permitted fields whose names begin like forbidden fields: digests of the content (RFC 9530, RFC 1864).
const FIT: [&str; 2] = ["content-digest", "content-md5"];

/// Prefixes of forbidden names: negotiation, CORS, content metadata, isolation, preconditions, request metadata from
/// browsers, instructions to other servers, and the edge's own fields.
const UNFIT_PREFIXES: [&str; 9] =
    ["accept", "access-control-", "cdn-", "content-", "cross-origin-", "devanture-", "if-", "sec-", "x-accel-"];

/// Forbidden names: routing, authentication, request modifiers, response control data, browser policies, and fields
/// that programs read instead of the method.
const UNFIT: [&str; 63] = [
    "age",
    "allow",
    "alt-svc",
    "alt-used",
    "authorization",
    "available-dictionary",
    "cache-control",
    "clear-site-data",
    "cookie",
    "cookie2",
    "date",
    "dpop",
    "early-data",
    "expires",
    "from",
    "last-modified",
    "link",
    "location",
    "max-forwards",
    "nel",
    "origin",
    "origin-agent-cluster",
    "permissions-policy",
    "pragma",
    "prefer",
    "preference-applied",
    "priority",
    "public-key-pins",
    "public-key-pins-report-only",
    "range",
    "referer",
    "referrer-policy",
    "refresh",
    "report-to",
    "reporting-endpoints",
    "retry-after",
    "service-worker",
    "service-worker-allowed",
    "service-worker-navigation-preload",
    "set-cookie",
    "set-cookie2",
    "sourcemap",
    "speculation-rules",
    "strict-transport-security",
    "surrogate-control",
    "trailer",
    "upgrade-insecure-requests",
    "use-as-dictionary",
    "user-agent",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "x-api-key",
    "x-content-type-options",
    "x-csrf-token",
    "x-frame-options",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-robots-tag",
    "x-sendfile",
    "x-xsrf-token",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(name: &str, dropped: &[&'static str]) -> bool {
        let dropped: Vec<HeaderName> = dropped.iter().map(|name| HeaderName::from_static(name)).collect();
        let mut trailers = HeaderMap::new();
        trailers.append(name.parse::<HeaderName>().unwrap(), "1".parse().unwrap());
        trailers.append(name.parse::<HeaderName>().unwrap(), "2".parse().unwrap());
        filter(&mut trailers, &dropped);
        assert!(matches!(trailers.len(), 0 | 2));
        !trailers.is_empty()
    }

    #[test]
    fn what_frames_routes_or_authenticates_a_message_is_no_trailer() {
        #[rustfmt::skip]
        let unfit = [
            // RFC 9110 §6.5.1: framing, routing, authentication, modifiers, control data, content.
            "Content-Length", "Transfer-Encoding", "Trailer", "TE", "Connection", "Keep-Alive", "Upgrade", "HTTP2-Settings",
            "Host", "Max-Forwards", "Expect", "Range", "If-Match", "If-None-Match", "If-Range", "Cache-Control", "Pragma",
            "Authorization", "Proxy-Authorization", "Proxy-Connection", "WWW-Authenticate", "Cookie", "Set-Cookie",
            "Content-Type", "Content-Encoding", "Content-Range", "Accept", "Accept-Encoding", "Date", "Location", "Vary",
            // Fields that name the client, and the edge's own fields.
            "Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Anything", "X-Real-IP",
            "True-Client-IP", "Client-IP", "CF-Connecting-IP", "X-Request-Id", "Traceparent", "Tracestate",
            "Devanture-Version",
            // Fields that programs and browsers act on.
            "Origin", "Referer", "Sec-Fetch-Site", "X-HTTP-Method-Override", "X-Original-URL", "X-Accel-Redirect",
            "Access-Control-Allow-Origin", "Strict-Transport-Security", "Clear-Site-Data", "Content-Security-Policy",
            // Spellings that some servers treat as equal.
            "X_Forwarded_For", "x-forwarded_for", "Content_Length", "Transfer_Encoding", "Set_Cookie", "If_Match",
            "Proxy_Authorization", "Sec_Fetch_Site", "X.Real.IP", "Set~Cookie", "Transfer.Encoding",
        ];
        for name in unfit {
            assert!(!passes(name, &[]), "{name}");
        }
    }

    #[test]
    fn what_belongs_to_the_application_passes() {
        for name in [
            "grpc-status",
            "grpc-message",
            "grpc-status-details-bin",
            "Server-Timing",
            "Content-Digest",
            "Repr-Digest",
            "Content-MD5",
            "ETag",
            "Signature",
            "X-Checksum",
            "x-amz-checksum-sha256",
            "my_sum",
        ] {
            assert!(passes(name, &["x-secret"]), "{name}");
        }
    }

    #[test]
    fn what_the_head_loses_the_trailers_lose_too() {
        for name in ["X-Secret", "x_secret"] {
            assert!(!passes(name, &["x-other", "x-secret"]), "{name}");
        }
        assert!(passes("x-secrets", &["x-secret"]));
    }
}
