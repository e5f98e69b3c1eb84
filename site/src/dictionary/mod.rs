//! Compression dictionaries (RFC 9842): the dictionary of a client, the clients that may get a delta, and the
//! announcement of a response as a dictionary.

mod announced;
mod item;
mod matching;

pub use announced::Announced;
pub use item::{available_dictionary, is_dictionary_id};
pub use matching::{Pattern, exact_pattern, use_as, use_as_for_documents};

use super::cache::{directives, seconds};
use super::media;

/// Minimum length of a file with deltas: a shorter file fits a packet or two unencoded.
pub const FILE_BYTES_MIN: u64 = 1_024;
/// Hex characters of a dictionary's SHA-256 in its id.
pub const ID_CHARS: usize = 16;
/// The least urgency (RFC 9218 §4.1) of browsers' dictionary fetches; a script's `fetch` has 1 to 3.
const DICTIONARY_URGENCY_MIN: u8 = 4;

/// The fields that identify a browser's fetch of a dictionary offered by a page.
#[derive(Debug, Clone, Copy, Default)]
pub struct LinkFetch<'f> {
    /// `Sec-Fetch-Dest`.
    pub dest: Option<&'f [u8]>,
    /// `Sec-Fetch-Mode`.
    pub mode: Option<&'f [u8]>,
    /// `Sec-Fetch-Site`.
    pub site: Option<&'f [u8]>,
    /// `Priority`, which browsers send over HTTP/2.
    pub priority: Option<&'f [u8]>,
    /// True if a `Referer` is present.
    pub has_referer: bool,
    /// True if a `Sec-CH-UA` is present.
    pub has_brands: bool,
}

impl LinkFetch<'_> {
    /// Returns true for the fetch of a `<link rel="compression-dictionary">`, which has no destination of its own. A
    /// script's `fetch` of the same file usually has a `Referer`, and is more urgent; only browsers that send
    /// `Sec-CH-UA` fetch such links.
    #[must_use]
    pub fn is_of_dictionary(&self) -> bool {
        (self.dest, self.mode, self.site) == (Some(b"empty"), Some(b"cors"), Some(b"same-origin"))
            && self.has_brands
            && !self.has_referer
            && self.priority.is_none_or(|priority| urgency(priority) >= DICTIONARY_URGENCY_MIN)
    }
}

/// The urgency of a `Priority` field, by default 3.
fn urgency(priority: &[u8]) -> u8 {
    let members = priority.rsplit(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let mut urgencies = members.filter_map(|member| match member {
        [b'u', b'=', digit @ b'0'..=b'7'] => Some(digit.saturating_sub(b'0')),
        _ => None,
    });
    urgencies.next().unwrap_or(3)
}

/// The requesting site, by fetch metadata.
#[derive(Debug, Clone, Copy, Default)]
pub struct Origin<'f> {
    /// `Sec-Fetch-Site`.
    pub site: Option<&'f [u8]>,
    /// `Sec-Fetch-Mode`.
    pub mode: Option<&'f [u8]>,
    /// `Origin`.
    pub origin: Option<&'f [u8]>,
}

impl Origin<'_> {
    /// Returns true if a response may be coded with a dictionary: a page of another origin that may not read the
    /// response could infer its content from the length (RFC 9842 §9.3.3). `allowed` is the
    /// `Access-Control-Allow-Origin` of the response.
    #[must_use]
    pub fn may_have_delta<A: AsRef<[u8]>>(&self, allowed: impl FnOnce() -> Option<A>) -> bool {
        match (self.site, self.mode) {
            (None | Some(b"same-origin"), _) | (_, None | Some(b"navigate" | b"same-origin")) => true,
            (_, Some(b"cors")) => allowed().is_some_and(|allowed| match allowed.as_ref() {
                b"*" => true,
                one => self.origin == Some(one),
            }),
            _ => false,
        }
    }
}

/// Returns true if a response with the `Cache-Control` may serve as a dictionary: public, and fresh for a while without
/// revalidation.
#[must_use]
pub fn is_kept(cache_control: &[u8]) -> bool {
    kept_seconds(cache_control) > 0
}

/// Lifetime in seconds: 0 if given more than once with different values, which clients interpret in different ways (RFC
/// 9111 §4.2.1).
#[must_use]
pub fn kept_seconds(cache_control: &[u8]) -> u64 {
    let mut kept = None;
    for (name, argument) in directives(cache_control) {
        match name.as_slice() {
            b"no-store" | b"no-cache" | b"private" => return 0,
            b"max-age" => {
                let kept_s = seconds(argument).unwrap_or(0);
                if kept.replace(kept_s).is_some_and(|before| before != kept_s) {
                    return 0;
                }
            }
            _ => {}
        }
    }
    kept.unwrap_or(0)
}

/// Returns true if a file of the length and type is worth a delta.
#[must_use]
pub fn is_worth_a_delta(size: u64, media_type: &str) -> bool {
    size >= FILE_BYTES_MIN && media::is_compressible(media_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fetch_of_a_dictionary_is_distinguished_from_that_of_a_script() {
        let link = LinkFetch {
            dest: Some(b"empty"),
            mode: Some(b"cors"),
            site: Some(b"same-origin"),
            priority: Some(b"u=4, i"),
            has_referer: false,
            has_brands: true,
        };
        for (fetch, expected) in [
            (link, true),
            (LinkFetch { priority: None, ..link }, true),
            (LinkFetch { priority: Some(b"i,u=5"), ..link }, true),
            (LinkFetch { priority: Some(b"u=1, i"), ..link }, false),
            (LinkFetch { priority: Some(b"i"), ..link }, false),
            (LinkFetch { priority: Some(b"u=9"), ..link }, false),
            (LinkFetch { priority: Some(b"u=4, u=2"), ..link }, false),
            (LinkFetch { has_referer: true, ..link }, false),
            (LinkFetch { has_brands: false, ..link }, false),
            (LinkFetch { dest: Some(b"script"), ..link }, false),
            (LinkFetch { mode: Some(b"no-cors"), ..link }, false),
            (LinkFetch { site: Some(b"same-site"), ..link }, false),
            (LinkFetch::default(), false),
        ] {
            assert_eq!(fetch.is_of_dictionary(), expected, "{fetch:?}");
        }
    }

    #[test]
    fn a_page_of_another_origin_gets_a_delta_only_of_what_it_may_read() {
        let page = Some("https://other.example");
        #[rustfmt::skip]
        let cases = [
            (None,                None,                None, None,                          true), // no browser of today
            (Some("same-origin"), Some("no-cors"),     None, None,                          true),
            (Some("same-origin"), Some("cors"),        page, None,                          true),
            (Some("none"),        Some("navigate"),    None, None,                          true),
            (Some("cross-site"),  Some("navigate"),    None, None,                          true),
            (Some("cross-site"),  Some("same-origin"), None, None,                          true),
            (Some("cross-site"),  None,                None, None,                          true),
            (Some("cross-site"),  Some("no-cors"),     None, Some("*"),                     false),
            (Some("same-site"),   Some("no-cors"),     None, None,                          false),
            (Some("cross-site"),  Some("cors"),        page, None,                          false),
            (Some("cross-site"),  Some("cors"),        page, Some("*"),                     true),
            (Some("same-site"),   Some("cors"),        page, Some("https://other.example"), true),
            (Some("same-site"),   Some("cors"),        page, Some("https://third.example"), false),
            (Some("cross-site"),  Some("cors"),        None, Some("https://other.example"), false),
            (Some("cross-site"),  Some("websocket"),   page, Some("*"),                     false),
            (Some("cross-site"),  Some("CORS"),        page, Some("*"),                     false),
            (Some("Same-Origin"), Some("no-cors"),     None, None,                          false),
        ];
        for (site, mode, origin, allowed, expected) in cases {
            let fields = [site, mode, origin].map(|field| field.map(str::as_bytes));
            let [site, mode, origin] = fields;
            assert_eq!(Origin { site, mode, origin }.may_have_delta(|| allowed), expected, "{fields:?} {allowed:?}");
        }
    }

    #[test]
    fn only_what_is_kept_and_public_may_be_a_dictionary() {
        for (value, expected) in [
            ("public, max-age=31536000, immutable", true),
            ("MAX-AGE=\"60\"", true),
            ("max-age=0, must-revalidate", false),
            ("public, max-age=60, no-cache", false),
            ("no-store", false),
            ("Private, max-age=60", false),
            ("public", false),
            ("max-age=x", false),
            ("max-age=+60", false),
            ("max-age=99999999999999999999999", true),
            ("public, max-age=0, must-revalidate, public, max-age=31536000, immutable", false),
            ("public, max-age=31536000, immutable, public, max-age=0, must-revalidate", false),
            ("max-age=60, max-age=\"60\"", true),
            ("max-age=60, max-age", false),
            ("s-maxage=60", false),
            ("", false),
        ] {
            assert_eq!(is_kept(value.as_bytes()), expected, "{value}");
        }
    }
}
