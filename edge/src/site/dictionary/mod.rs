//! Compression dictionaries (RFC 9842): which one a client has, who may be answered by means of it, and what is said of an
//! answer that will be one.

mod announced;
mod item;
mod matching;

pub use announced::Announced;
pub use item::{available_dictionary, is_dictionary_id};
pub use matching::{Pattern, exact_pattern, use_as, use_as_for_documents};

use super::cache::{directives, seconds};
use super::media;

/// Files below this length fit a packet or two as they are: no delta is made of them.
pub const FILE_BYTES_MIN: u64 = 1_024;
/// The query parameter by which pages ask for a file to be kept as a dictionary.
pub const PARAMETER: &str = "devanture-dictionary";
/// Hex characters of the SHA-256 in its value.
pub const PARAMETER_CHARS: usize = 16;

/// The value of [`PARAMETER`], where it is the whole query.
#[must_use]
pub fn parameter(query: Option<&str>) -> Option<&str> {
    query?.strip_prefix(PARAMETER)?.strip_prefix('=')
}

/// Who asks, as browsers say it.
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
    /// Whether an answer may be coded with a dictionary: a page of another origin that may not read the answer could
    /// learn something of it by its length (RFC 9842 §9.3.3). `allowed` is what `Access-Control-Allow-Origin` of the
    /// answer says.
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

/// Whether what is answered with this `Cache-Control` may serve as a dictionary: a client keeps it for a while without
/// asking, and everybody may see it.
#[must_use]
pub fn is_kept(cache_control: &[u8]) -> bool {
    kept_seconds(cache_control) > 0
}

/// For how many seconds: none where it is said more than once and not alike, which clients read in more than one way
/// (RFC 9111 §4.2.1).
#[must_use]
pub fn kept_seconds(cache_control: &[u8]) -> u64 {
    let mut kept = None;
    for (name, argument) in directives(cache_control) {
        match name.as_slice() {
            b"no-store" | b"no-cache" | b"private" => return 0,
            b"max-age" => {
                let said = seconds(argument).unwrap_or(0);
                if kept.replace(said).is_some_and(|before| before != said) {
                    return 0;
                }
            }
            _ => {}
        }
    }
    kept.unwrap_or(0)
}

/// Whether a file of this length and type is worth a delta.
#[must_use]
pub fn is_worth_a_delta(size: u64, media_type: &str) -> bool {
    size >= FILE_BYTES_MIN && media::is_compressible(media_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parameter_is_the_whole_query() {
        assert_eq!(parameter(Some("devanture-dictionary=0123")), Some("0123"));
        for other in [None, Some(""), Some("devanture-dictionary"), Some("a=b&devanture-dictionary=0123")] {
            assert_eq!(parameter(other), None, "{other:?}");
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
            let asked = [site, mode, origin].map(|field| field.map(str::as_bytes));
            let [site, mode, origin] = asked;
            assert_eq!(Origin { site, mode, origin }.may_have_delta(|| allowed), expected, "{asked:?} {allowed:?}");
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
