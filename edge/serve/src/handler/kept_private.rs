//! Restricts protected responses to their visitor: no storage in shared caches, no search engine entry, no use as a
//! dictionary.

use http::header::{CACHE_CONTROL, EXPIRES, HeaderName, LINK, VARY};
use http::{HeaderMap, HeaderValue};

const ROBOTS: HeaderName = HeaderName::from_static("x-robots-tag");
/// Fields that would let caches in front of the edge store a response despite its `Cache-Control` (RFC 9213, nginx,
/// providers), or change its meaning.
const OF_CACHES: [HeaderName; 10] = [
    EXPIRES,
    HeaderName::from_static("cdn-cache-control"),
    HeaderName::from_static("cloudflare-cdn-cache-control"),
    HeaderName::from_static("edge-control"),
    HeaderName::from_static("netlify-cdn-cache-control"),
    HeaderName::from_static("surrogate-control"),
    HeaderName::from_static("use-as-dictionary"),
    HeaderName::from_static("vercel-cdn-cache-control"),
    HeaderName::from_static("x-accel-expires"),
    HeaderName::from_static("x-accel-redirect"),
];

/// Makes a response private to its visitor, whatever the site or a backend sets. The tag stays: the visitor's own
/// browser may revalidate.
pub(super) fn keep(headers: &mut HeaderMap) {
    let is_never_stored = headers.get_all(CACHE_CONTROL).iter().any(|value| {
        let mut words = value.as_bytes().split(|byte| *byte == b',');
        words.any(|word| word.trim_ascii().eq_ignore_ascii_case(b"no-store"))
    });
    let value = if is_never_stored { "private, no-store" } else { "private, no-cache" };
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(value));
    for name in &OF_CACHES {
        headers.remove(name);
    }
    let is_of_dictionary = |value: &HeaderValue| {
        memchr::memmem::find(&value.as_bytes().to_ascii_lowercase(), b"compression-dictionary").is_some()
    };
    if headers.get_all(LINK).iter().any(is_of_dictionary) {
        let others: Vec<_> = headers.get_all(LINK).iter().filter(|value| !is_of_dictionary(value)).cloned().collect();
        headers.remove(LINK);
        headers.extend(others.into_iter().map(|value| (LINK, value)));
    }
    headers.append(VARY, HeaderValue::from_static("cookie, authorization"));
    headers.insert(ROBOTS, HeaderValue::from_static("noindex"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_shared_cache_keeps_what_is_protected() {
        for (before, expected) in [
            ("public, max-age=31536000, immutable", "private, no-cache"),
            ("s-maxage=60", "private, no-cache"),
            ("No-Store", "private, no-store"),
            ("max-age=1,no-store", "private, no-store"),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(CACHE_CONTROL, HeaderValue::from_static(before));
            headers.append(CACHE_CONTROL, HeaderValue::from_static("max-age=9"));
            for name in &OF_CACHES {
                headers.append(name, HeaderValue::from_static("1"));
            }
            headers.append(LINK, HeaderValue::from_static("</a>; rel=\"compression-dictionary\""));
            headers.append(LINK, HeaderValue::from_static("</b>; rel=preload"));
            headers.append(VARY, HeaderValue::from_static("accept-encoding"));
            keep(&mut headers);
            assert_eq!(headers.get_all(CACHE_CONTROL).iter().collect::<Vec<_>>(), [expected], "{before}");
            assert!(OF_CACHES.iter().all(|name| !headers.contains_key(name)));
            assert_eq!(headers.get_all(LINK).iter().collect::<Vec<_>>(), ["</b>; rel=preload"]);
            assert_eq!(headers.get_all(VARY).iter().collect::<Vec<_>>(), ["accept-encoding", "cookie, authorization"]);
            assert_eq!(headers[&ROBOTS], "noindex");
        }
    }
}
