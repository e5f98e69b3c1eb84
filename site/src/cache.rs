//! The default `Cache-Control`, unless a rule of the site sets the field.

use super::fields::members;

/// For a fingerprinted file: different content would have a different name, so no client ever needs to revalidate.
pub const IMMUTABLE: &str = "public, max-age=31536000, immutable";
/// For every other file and for the page of a single-page application: stored, but revalidated before each use.
pub const REVALIDATE: &str = "public, max-age=0, must-revalidate";
/// For a miss or an error: the content may exist after the next switch, and a browser or proxy with a stored response
/// would keep answering with the error (RFC 9110 §15.5.5 makes 404 cacheable by default).
pub const NEVER: &str = "no-store";

/// The value for a file found under its own name.
#[must_use]
pub fn default_cache_control(fingerprinted: bool) -> &'static str {
    if fingerprinted { IMMUTABLE } else { REVALIDATE }
}

/// Longest lifetime, in seconds, that a site's rule may give a page without revalidation: a switch is visible
/// afterwards.
pub const PAGE_SECONDS_MAX: u64 = 3_600;
/// Longest lifetime of a stand-in: the real content may exist after the next switch.
pub const STAND_IN_SECONDS_MAX: u64 = 60;

/// Usual names of service workers; a browser with an old service worker keeps the whole old site. The names count in
/// every request; any other file counts if the request is for a service worker ([`is_service_worker`]).
const SERVICE_WORKERS: [&str; 13] = [
    "firebase-messaging-sw.js",
    "flutter_service_worker.js",
    "ngsw-worker.js",
    "ngsw.json",
    "onesignalsdkworker.js",
    "onesignalsdkupdaterworker.js",
    "pwabuilder-sw.js",
    "safety-worker.js",
    "service-worker.js",
    "service_worker.js",
    "serviceworker.js",
    "sw.js",
    "sw.mjs",
];

/// Cache class of a response, which decides its lifetime in caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// A file under its own name: as long as its rule permits.
    File,
    /// A page, or a file with the name of a service worker.
    Page,
    /// A file that a browser requested as a service worker.
    ServiceWorker,
    /// A page that stands in for other content: of a single-page application, of an error, of a rewrite.
    StandIn,
}

/// Returns true if the file at `path` must not be cached for long, whatever a rule without `force` says.
#[must_use]
pub fn is_page(path: &str, media_type: &[u8]) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let is_html = [b"text/html".as_slice(), b"application/xhtml+xml"]
        .iter()
        .any(|html| media_type.get(..html.len()).is_some_and(|start| start.eq_ignore_ascii_case(html)));
    is_html || SERVICE_WORKERS.iter().any(|worker| name.eq_ignore_ascii_case(worker))
}

/// Returns true for a media type of JavaScript, including service workers (MIME Sniffing §4.6).
#[must_use]
pub fn is_script(media_type: &[u8]) -> bool {
    let essence = media_type.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
    essence.ends_with(b"javascript") || essence.ends_with(b"ecmascript")
}

/// Returns true if a request with the `Service-Worker` value is for a service worker, by any file name: browsers then
/// send `script` (Service Workers, algorithm Update).
#[must_use]
pub fn is_service_worker(service_worker: Option<&[u8]>) -> bool {
    service_worker.is_some_and(|value| value.trim_ascii().eq_ignore_ascii_case(b"script"))
}

/// The directives of a `Cache-Control` value, in lower case, with their arguments (RFC 9111 §5.2).
pub fn directives(value: &[u8]) -> impl Iterator<Item = (Vec<u8>, Option<&[u8]>)> {
    members(value).map(|directive| match directive.iter().position(|&byte| byte == b'=') {
        Some(at) => (directive.get(..at).unwrap_or_default().to_ascii_lowercase(), directive.get(at + 1..)),
        None => (directive.to_ascii_lowercase(), None),
    })
}

/// The seconds of a directive, capped at the maximum (RFC 9111 §1.2.2); `None` without a number.
#[must_use]
pub fn seconds(argument: Option<&[u8]>) -> Option<u64> {
    let digits = str::from_utf8(argument?).ok()?.trim_matches('"');
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// Returns true if a `Cache-Control` value lets no cache keep a response for more than `seconds_max` without
/// revalidation.
#[must_use]
pub fn is_short(value: &[u8], seconds_max: u64) -> bool {
    let mut longest = None;
    for (name, argument) in directives(value) {
        match name.as_slice() {
            b"no-store" => return true,
            // With an argument the directive applies to some fields alone (RFC 9111 §5.2.2.4).
            b"no-cache" if argument.is_none() => return true,
            b"immutable" => return false,
            b"max-age" | b"s-maxage" | b"stale-while-revalidate" => {
                longest = longest.max(Some(seconds(argument).unwrap_or(u64::MAX)));
            }
            _ => {}
        }
    }
    // Without a freshness lifetime a cache may use a heuristic one (RFC 9111 §4.2.2).
    longest.is_some_and(|longest| longest <= seconds_max)
}

/// Replaces the `value` of a rule with too long a lifetime.
#[must_use]
pub fn instead_of(value: &[u8], kept: Kept) -> Option<&'static str> {
    let seconds_max = match kept {
        Kept::File => return None,
        Kept::Page | Kept::ServiceWorker => PAGE_SECONDS_MAX,
        Kept::StandIn => STAND_IN_SECONDS_MAX,
    };
    (!is_short(value, seconds_max)).then_some(REVALIDATE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_fingerprinted_file_is_kept_for_long() {
        assert!(default_cache_control(true).contains("immutable"));
        for short in [default_cache_control(false), NEVER] {
            assert!(!short.contains("immutable") && !short.contains("31536000"), "{short}");
        }
    }

    #[test]
    fn a_page_is_never_kept_for_long() {
        for (value, kept, instead) in [
            ("public, max-age=31536000, immutable", Kept::Page, true),
            ("max-age=3600", Kept::Page, false),
            ("max-age=3601", Kept::Page, true),
            ("max-age=60, s-maxage=86400", Kept::Page, true),
            ("max-age=0, stale-while-revalidate=86400", Kept::Page, true),
            ("public", Kept::Page, true),
            ("no-cache, max-age=31536000", Kept::Page, false),
            ("no-cache=\"set-cookie\", max-age=31536000", Kept::Page, true),
            ("public, max-age=31536000, immutable", Kept::ServiceWorker, true),
            ("max-age=3600", Kept::ServiceWorker, false),
            ("no-store", Kept::StandIn, false),
            ("max-age=60", Kept::StandIn, false),
            ("max-age=3600", Kept::StandIn, true),
            ("MAX-AGE=\"x\"", Kept::StandIn, true),
            ("public, max-age=31536000, immutable", Kept::File, false),
        ] {
            assert_eq!(instead_of(value.as_bytes(), kept).is_some(), instead, "{value} {kept:?}");
        }
    }

    #[test]
    fn pages_and_service_workers_are_known_by_type_and_name() {
        assert!(is_page("a/b", b"text/html; charset=utf-8") && is_page("a/SW.js", b"text/javascript"));
        assert!(!is_page("a/app.js", b"text/javascript") && !is_page("index.json", b"application/json"));
    }

    #[test]
    fn a_script_is_known_by_its_type() {
        for script in ["text/javascript", "Text/JavaScript ; charset=utf-8", "application/x-ecmascript"] {
            assert!(is_script(script.as_bytes()), "{script}");
        }
        for other in ["", "application/json", "text/css", "text/plain; a=javascript", "text/javascripts"] {
            assert!(!is_script(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn a_request_says_that_it_is_for_a_service_worker() {
        for (value, expected) in [
            (Some("script"), true),
            (Some(" Script "), true),
            (Some("script, script"), false),
            (Some("scripts"), false),
            (Some(""), false),
            (None, false),
        ] {
            assert_eq!(is_service_worker(value.map(str::as_bytes)), expected, "{value:?}");
        }
    }
}
