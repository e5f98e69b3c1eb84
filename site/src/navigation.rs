//! Purpose of a request: a navigation, the page of an application, or a script, style, image or data.

use super::fields::{members, trimmed};

/// Returns true if a request is a navigation: a person is about to see the response, such as an error page.
///
/// A browser sends `Sec-Fetch-Mode: navigate` (Fetch Metadata §2.3), unless the navigation fills an `<object>` or
/// `<embed>`, which request media. A client without the field requests a page only by `text/html` or
/// `application/xhtml+xml` in `Accept`; `*/*` alone is sent by scripts and curl.
#[must_use]
pub fn wants_page(sec_fetch_mode: Option<&[u8]>, sec_fetch_dest: Option<&[u8]>, accept: Option<&[u8]>) -> bool {
    match (sec_fetch_mode.map(trimmed), sec_fetch_dest.map(trimmed)) {
        (Some(mode), dest) => mode == b"navigate" && dest.is_none_or(is_page),
        (None, Some(dest)) if !dest.is_empty() => is_page(dest),
        (None, _) => accept.is_some_and(lists_html),
    }
}

/// Returns true if the page of a single-page application may answer `path`, which has no file. The rule is shared by
/// `not_found` and by a rewrite of every path.
///
/// A request that is evidently for a script, style, image, font or data gets 404: HTML in its place breaks pages in
/// ways that are hard to find. The evidence is Fetch Metadata, an `Accept` with neither HTML nor `*/*`, and a name with
/// the ending of an asset. A request without evidence is for a deep link, which chat previews, monitors and curl follow
/// with `Accept: */*` or without `Accept`.
#[must_use]
pub fn may_have_shell(mode: Option<&[u8]>, dest: Option<&[u8]>, accept: Option<&[u8]>, path: &str) -> bool {
    let wants_page = wants_page(mode, dest, accept);
    if wants_page || mode.is_some() || dest.is_some() {
        // A script may request a part of a page, and then names HTML.
        return wants_page || (dest == Some(b"empty".as_slice()) && accept.is_some_and(lists_html));
    }
    accept.is_none_or(takes_anything) && !names_an_asset(path)
}

/// Returns true if an `Accept` takes any type (RFC 9110 §12.5.1).
#[must_use]
pub fn takes_anything(accept: &[u8]) -> bool {
    members(accept).any(|member| {
        let mut parts = member.split(|&byte| byte == b';').map(trimmed);
        parts.next() == Some(b"*/*") && !parts.any(is_weight_zero)
    })
}

/// Endings of resources of pages; a name with such an ending is never a page.
const ASSETS: [&str; 34] = [
    "avif",
    "cjs",
    "css",
    "csv",
    "eot",
    "gif",
    "gz",
    "ico",
    "jpeg",
    "jpg",
    "js",
    "json",
    "map",
    "md",
    "mjs",
    "mp3",
    "mp4",
    "ogg",
    "otf",
    "pdf",
    "png",
    "svg",
    "tar",
    "ttf",
    "txt",
    "wasm",
    "wav",
    "webm",
    "webmanifest",
    "webp",
    "woff",
    "woff2",
    "xml",
    "zip",
];

/// Returns true if a path names a resource of a page, by the ending of its last segment.
#[must_use]
pub fn names_an_asset(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rsplit_once('.').is_some_and(|(_, ending)| ASSETS.iter().any(|asset| asset.eq_ignore_ascii_case(ending)))
}

fn is_page(dest: &[u8]) -> bool {
    matches!(dest, b"document" | b"iframe" | b"frame" | b"fencedframe")
}

/// Returns true if an `Accept` names HTML.
#[must_use]
pub fn lists_html(accept: &[u8]) -> bool {
    members(accept).any(|member| {
        let mut parts = member.split(|&byte| byte == b';').map(trimmed);
        let media_type = parts.next().unwrap_or_default();
        let html =
            media_type.eq_ignore_ascii_case(b"text/html") || media_type.eq_ignore_ascii_case(b"application/xhtml+xml");
        html && !parts.any(is_weight_zero)
    })
}

/// RFC 9110 §12.4.2: a weight of 0 means "not acceptable".
fn is_weight_zero(parameter: &[u8]) -> bool {
    match parameter {
        [b'q' | b'Q', b'=', b'0'] => true,
        [b'q' | b'Q', b'=', b'0', b'.', rest @ ..] => rest.iter().all(|&byte| byte == b'0'),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_navigation_wants_a_page() {
        let chrome = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
        #[rustfmt::skip]
        let cases = [
            // Sec-Fetch-Mode, Sec-Fetch-Dest, Accept, expected
            (Some("navigate"),    Some("document"), Some(chrome),                 true),
            (Some("navigate"),    Some("iframe"),   Some(chrome),                 true),
            (Some("navigate"),    None,             None,                         true),
            (Some("navigate"),    Some("object"),   Some(chrome),                 false),
            (Some("navigate"),    Some("embed"),    Some(chrome),                 false),
            (Some("no-cors"),     Some("script"),   Some("*/*"),                  false),
            (Some("no-cors"),     Some("image"),    Some("image/avif,*/*;q=0.8"), false),
            (Some("cors"),        Some("empty"),    Some("text/html"),            false),
            (Some("same-origin"), Some("empty"),    Some(chrome),                 false),
            (None,                Some("document"), None,                         true),
            (None,                Some("style"),    Some("text/html"),            false),
            (None,                None,             Some(chrome),                 true),
            (None,                None,             Some("TEXT/HTML; q=0.3"),     true),
            (None,                None,             Some("text/html;q=0, */*"),   false),
            (None,                None,             Some("text/html;q=0.000"),    false),
            (None,                None,             Some("*/*"),                  false),
            (None,                None,             Some("text/*"),               false),
            (None,                None,             Some("application/json"),     false),
            (None,                None,             None,                         false),
        ];
        for (mode, dest, accept, expected) in cases {
            let wants = wants_page(mode.map(str::as_bytes), dest.map(str::as_bytes), accept.map(str::as_bytes));
            assert_eq!(wants, expected, "{mode:?} {dest:?} {accept:?}");
        }
    }

    #[test]
    fn a_deep_link_needs_no_sign_that_it_is_a_page() {
        let chrome = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
        #[rustfmt::skip]
        let cases = [
            // Sec-Fetch-Mode, Sec-Fetch-Dest, Accept, path, expected
            (None,             None,             None,                         "/users/5",     true),
            (None,             None,             Some("*/*"),                  "/users/5",     true),
            (None,             None,             Some("*/*"),                  "/users/jo.do", true),
            (None,             None,             Some("text/html"),            "/users/5",     true),
            (Some("navigate"), Some("document"), Some(chrome),                 "/users/a.js",  true),
            (None,             None,             Some("*/*"),                  "/gone.js",     false),
            (None,             None,             None,                         "/a/gone.PNG",  false),
            (None,             None,             Some("application/json"),     "/users/5",     false),
            (None,             None,             Some("image/*"),              "/users/5",     false),
            (None,             None,             Some("text/html;q=0, x/y"),   "/users/5",     false),
            (Some("no-cors"),  Some("image"),    Some("image/avif,*/*;q=0.8"), "/users/5",     false),
            (Some("no-cors"),  Some("script"),   Some("*/*"),                  "/users/5",     false),
            (None,             Some("font"),     Some("*/*"),                  "/users/5",     false),
            (Some("cors"),     Some("empty"),    Some("*/*"),                  "/users/5",     false),
        ];
        for (mode, dest, accept, path, expected) in cases {
            let bytes = |text: Option<&'static str>| text.map(str::as_bytes);
            let may = may_have_shell(bytes(mode), bytes(dest), bytes(accept), path);
            assert_eq!(may, expected, "{mode:?} {dest:?} {accept:?} {path}");
        }
    }
}
