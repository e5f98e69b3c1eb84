//! The path of a request: its normal form, a redirect to the normal form, or a refusal.
//!
//! A path is normal if equal to the output of [`encode_path`] for its name: RFC 3986 §6.2.2 (upper-case hex digits, no
//! unnecessary encoding, no dot segments) and Unicode's form NFC, with single slashes. The characters on which clients
//! disagree (`[ ] | ^ { }`: RFC 3986 requires their encoding, and the URLs of browsers leave some unencoded, WHATWG URL
//! §1.3) may be literal; every other character has one spelling that is answered without a redirect, and all other
//! spellings redirect there. A character or segment that some programs interpret differently, such as a backslash, NUL
//! or `..;`, is refused: edge and backend can then never disagree.

use std::borrow::Cow;
use std::fmt::Write as _;

use percent_encoding::percent_decode_str;
use unicode_normalization::{UnicodeNormalization as _, is_nfc};

/// The result of a request's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target<'a> {
    /// Normal: the decoded path, in NFC, beginning with `/`, and ending with `/` if the request's did.
    Normal(Cow<'a, str>),
    /// Another spelling of the given normal path, encoded and without a query; never begins with `//` or `/\`.
    Redirect(String),
    /// An invalid path.
    Refuse(TargetError),
}

/// Error in a request's path, the fault of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// A `\`, also encoded, which some systems read as `/`.
    #[error("the path holds a backslash")]
    Backslash,
    /// A control character, also encoded, including NUL.
    #[error("the path holds a control character")]
    Control,
    /// A dot segment that only some programs recognise: behind an encoded slash, or followed by `;`.
    #[error("the path holds a hidden dot segment")]
    DotSegment,
    /// A `%` without two hex digits (RFC 3986 §2.1).
    #[error("the path holds a % that is not followed by two hex digits")]
    Encoding,
    /// No leading `/`, or a `?` or `#` within.
    #[error("the request's target is not a path")]
    NotAPath,
    /// Longer than the limit; answered with 414 (RFC 9110 §15.5.15), unlike all other errors with 400.
    #[error("the path is too long")]
    TooLong,
    /// Encoded bytes that are not UTF-8.
    #[error("the path is not UTF-8")]
    Utf8,
}

/// Brings the path of a request for a file to its normal form; an encoded slash counts as a slash.
///
/// `raw_path` excludes the query. The empty path is `/` (RFC 9110 §4.2.3).
#[must_use]
pub fn normalise(raw_path: &str, bytes_max: usize) -> Target<'_> {
    if let Some(early) = early(raw_path, bytes_max) {
        return early;
    }
    let segments = match segments(raw_path) {
        Ok(segments) => segments,
        Err(error) => return Target::Refuse(error),
    };
    let parts = segments.iter().flat_map(|segment| segment.text.split('/').map(|part| (part, part)));
    let decoded = without_dots(parts);
    let encoded = encode_path(&decoded);
    let is_normal = encoded == raw_path || encoded == with_tolerated_bytes_encoded(raw_path);
    if is_normal { Target::Normal(Cow::Owned(decoded)) } else { Target::Redirect(encoded) }
}

/// Brings the path of a request that may belong to a route to the form for comparison with routes.
///
/// Only the parts that decide the route are normalised: dot segments and doubled slashes redirect, and the errors of
/// [`normalise`] are refused. The text of [`Target::Normal`] is decoded except for encoded slashes, which stay `%2F`
/// and so never match a route's slash; `raw_path` itself is forwarded unchanged. If no route matches, [`normalise`]
/// decides, also instead of a redirect from here.
#[must_use]
pub fn normalise_for_route(raw_path: &str, bytes_max: usize) -> Target<'_> {
    if let Some(early) = early(raw_path, bytes_max) {
        return early;
    }
    let segments = match segments(raw_path) {
        Ok(segments) => segments,
        Err(error) => return Target::Refuse(error),
    };
    let shown = without_dots(segments.iter().map(|segment| (segment.text.as_ref(), segment.raw)));
    if shown != raw_path {
        return Target::Redirect(with_bad_bytes_encoded(&shown));
    }
    let mut text = String::with_capacity(raw_path.len());
    for segment in &segments {
        text.push('/');
        text.push_str(&segment.text.replace('/', "%2F"));
    }
    Target::Normal(Cow::Owned(text))
}

/// Returns true if a program without checks may read `raw_path` as a path in, or through, one of `folders`, which are
/// in lower case.
///
/// Such programs decode once or twice, read a backslash as a slash, and leave invalid encodings unchanged. They drop
/// dot segments, empty segments and the parameters of segments (`;` and the rest, RFC 3986 §3.3), as Java's servlet
/// containers do; and file systems ignore case, and dots and spaces at the end of a name.
pub(crate) fn may_lead_into(raw_path: &str, folders: &[&str]) -> bool {
    let once = percent_decode_str(raw_path).decode_utf8_lossy();
    let twice = percent_decode_str(&once).decode_utf8_lossy().replace('\\', "/").to_ascii_lowercase();
    let mut path = String::new();
    for segment in twice.split('/') {
        // Programs disagree on whether the path leaves the folder again.
        if folders.contains(&path.as_str()) {
            return true;
        }
        match segment.split(';').next().unwrap_or_default() {
            ".." => path.truncate(path.rfind('/').unwrap_or(0)),
            name => {
                let name = name.trim_end_matches(['.', ' ']);
                if !name.is_empty() {
                    path.push('/');
                    path.push_str(name);
                }
            }
        }
    }
    false
}

/// Encodes a decoded path for a `Location` or a link: each segment with every character encoded that is no `pchar` (RFC
/// 3986 §3.3).
#[must_use]
pub fn encode_path(decoded: &str) -> String {
    encoded(decoded, |byte| is_pchar(byte) || byte == b'/')
}

/// Encodes the path of a request for the `Location` of a redirect that changes only the scheme or the host, and leaves
/// the path to the next server.
///
/// The result begins with exactly one slash and contains no two slashes in a row, no backslash, and only visible ASCII.
/// To a browser, two slashes or backslashes at the start of a path begin another authority (RFC 3986 §4.2, WHATWG URL
/// §4.4), even if the two result from the removal of dot segments. All other bytes stay as sent.
#[must_use]
pub fn for_location(raw_path: &str) -> String {
    let mut path = String::with_capacity(raw_path.len() + 1);
    path.push('/');
    for byte in raw_path.bytes() {
        match byte {
            b'/' if path.ends_with('/') => {}
            b'!'..=b'~' if byte != b'\\' => path.push(char::from(byte)),
            // Writing to a `String` cannot fail.
            _ => write!(path, "%{byte:02X}").unwrap_or_default(),
        }
    }
    path
}

/// The cases that need no split into segments: too long, empty, or already normal, the usual case.
fn early(raw_path: &str, bytes_max: usize) -> Option<Target<'_>> {
    if raw_path.len() > bytes_max {
        Some(Target::Refuse(TargetError::TooLong))
    } else if raw_path.is_empty() {
        Some(Target::Normal(Cow::Borrowed("/")))
    } else if is_plain(raw_path) {
        Some(Target::Normal(Cow::Borrowed(raw_path)))
    } else {
        None
    }
}

/// Returns true if the path is normal and contains no encoding, and so equals its decoded form.
fn is_plain(raw_path: &str) -> bool {
    let Some(rest) = raw_path.strip_prefix('/') else { return false };
    // A byte after a slash matters: another slash, or a dot. All bytes are checked without a branch.
    let (mut all, mut after_slash, mut was_slash) = (0, 0, true);
    for byte in rest.bytes() {
        let class = CLASSES.get(usize::from(byte)).copied().unwrap_or(OTHER);
        all |= class;
        after_slash |= if was_slash { class } else { 0 };
        was_slash = class == SLASH;
    }
    let has_dots = after_slash & DOT != 0;
    all & OTHER == 0 && after_slash & SLASH == 0 && !(has_dots && rest.split('/').any(is_dots))
}

/// The classes of a byte in a path: one bit each.
const SLASH: u8 = 1;
const DOT: u8 = 2;
/// A `pchar` other than a dot.
const PCHAR: u8 = 4;
const OTHER: u8 = 8;

static CLASSES: [u8; 256] = classes();

#[expect(clippy::indexing_slicing, reason = "while it is compiled: a place beyond the end is no build")]
const fn classes() -> [u8; 256] {
    let mut table = [OTHER; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        table[byte as usize] = match byte {
            b'/' => SLASH,
            b'.' => DOT,
            _ if is_pchar(byte) => PCHAR,
            _ => OTHER,
        };
        byte += 1;
    }
    table
}

/// `pchar` of RFC 3986 §3.3, without the percent sign.
const fn is_pchar(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9'
        | b'-' | b'.' | b'_' | b'~'
        | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='
        | b':' | b'@')
}

/// Returns true if a segment is `.` or `..`, also for programs that read `;` and the rest as a parameter.
fn is_dots(segment: &str) -> bool {
    matches!(segment.split(';').next(), Some("." | ".."))
}

struct Segment<'a> {
    raw: &'a str,
    text: Cow<'a, str>,
}

fn segments(raw_path: &str) -> Result<Vec<Segment<'_>>, TargetError> {
    let rest = raw_path.strip_prefix('/').ok_or(TargetError::NotAPath)?;
    rest.split('/').map(|raw| Ok(Segment { raw, text: decoded_segment(raw)? })).collect()
}

fn decoded_segment(raw: &str) -> Result<Cow<'_, str>, TargetError> {
    let mut text = percent_decoded(raw)?;
    if !is_nfc(&text) {
        text = Cow::Owned(text.nfc().collect());
    }
    if raw.contains(['?', '#']) {
        return Err(TargetError::NotAPath);
    }
    if text.contains('\\') {
        return Err(TargetError::Backslash);
    }
    if text.chars().any(char::is_control) {
        return Err(TargetError::Control);
    }
    let plain_dots = matches!(text.as_ref(), "." | "..");
    if !plain_dots && text.split('/').any(is_dots) {
        return Err(TargetError::DotSegment);
    }
    Ok(text)
}

fn percent_decoded(raw: &str) -> Result<Cow<'_, str>, TargetError> {
    if !raw.contains('%') {
        return Ok(Cow::Borrowed(raw));
    }
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let [first, after @ ..] = rest {
        rest = if *first == b'%' {
            let [high, low, after @ ..] = after else { return Err(TargetError::Encoding) };
            bytes.push(hex_value(*high)? * 16 + hex_value(*low)?);
            after
        } else {
            bytes.push(*first);
            after
        };
    }
    String::from_utf8(bytes).ok().map(Cow::Owned).ok_or(TargetError::Utf8)
}

fn hex_value(digit: u8) -> Result<u8, TargetError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(TargetError::Encoding),
    }
}

/// Removes dot segments (RFC 3986 §5.2.4) and empty segments; of each pair the first text decides and the second is
/// written.
fn without_dots<'t>(parts: impl Iterator<Item = (&'t str, &'t str)>) -> String {
    let mut path = String::new();
    let mut is_folder = false;
    for (text, shown) in parts {
        is_folder = matches!(text, "" | "." | "..");
        match text {
            "" | "." => {}
            ".." => path.truncate(path.rfind('/').unwrap_or(0)),
            _ => {
                path.push('/');
                path.push_str(shown);
            }
        }
    }
    if is_folder || path.is_empty() {
        path.push('/');
    }
    path
}

/// Encodes the characters on which clients disagree, and leaves all others.
fn with_tolerated_bytes_encoded(raw_path: &str) -> String {
    encoded(raw_path, |byte| !matches!(byte, b'[' | b']' | b'|' | b'^' | b'{' | b'}'))
}

/// Encodes the characters that are invalid in a path, and leaves encodings.
fn with_bad_bytes_encoded(raw: &str) -> String {
    encoded(raw, |byte| is_pchar(byte) || byte == b'/' || byte == b'%')
}

fn encoded(text: &str, is_kept: impl Fn(u8) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if is_kept(byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a `String` cannot fail.
            write!(out, "%{byte:02X}").unwrap_or_default();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::hint::black_box;

    fn normal(text: &str) -> Target<'_> {
        Target::Normal(Cow::Borrowed(text))
    }

    fn redirect<'a>(text: &str) -> Target<'a> {
        Target::Redirect(text.to_owned())
    }

    #[test]
    fn a_path_for_a_file_has_one_normal_form() {
        use TargetError as E;
        #[rustfmt::skip]
        let cases = [
            // Already normal.
            ("",                    normal("/")),                     // RFC 9110 §4.2.3
            ("/",                   normal("/")),
            ("/a/b.js",             normal("/a/b.js")),
            ("/a/b/",               normal("/a/b/")),
            ("/a;v=1/b,c:d@e&f=g",  normal("/a;v=1/b,c:d@e&f=g")),    // RFC 3986 §3.3: pchar
            ("/.well-known/x",      normal("/.well-known/x")),
            ("/..a/.b/c..",         normal("/..a/.b/c..")),
            ("/%C3%BC.txt",         normal("/ü.txt")),
            ("/a%20b",              normal("/a b")),
            ("/100%25",             normal("/100%")),
            ("/%252e%252e/a",       normal("/%2e%2e/a")),             // decoded once only
            ("/%3F%23",             normal("/?#")),
            ("/[slug].js",          normal("/[slug].js")),            // WHATWG URL §1.3: browsers leave it
            ("/%5Bslug%5D.js",      normal("/[slug].js")),
            ("/[slug%5D|^{x}",      normal("/[slug]|^{x}")),
            // Other spellings.
            ("/[%61]",              redirect("/%5Ba%5D")),
            ("/%5bslug]",           redirect("/%5Bslug%5D")),
            ("/%61.js",             redirect("/a.js")),               // RFC 3986 §6.2.2.2
            ("/%c3%bc.txt",         redirect("/%C3%BC.txt")),         // RFC 3986 §6.2.2.1
            ("/%40scope/%7Eme",     redirect("/@scope/~me")),
            ("/ü.txt",              redirect("/%C3%BC.txt")),
            ("/u%CC%88.txt",        redirect("/%C3%BC.txt")),         // NFC
            ("/a b",                redirect("/a%20b")),
            ("//",                  redirect("/")),
            ("//a",                 redirect("/a")),
            ("/a//b",               redirect("/a/b")),
            ("/a/b//",              redirect("/a/b/")),
            ("/./a",                redirect("/a")),                  // RFC 3986 §5.2.4
            ("/a/.",                redirect("/a/")),
            ("/a/..",               redirect("/")),
            ("/a/b/..",             redirect("/a/")),
            ("/a/../b",             redirect("/b")),
            ("/../../etc/passwd",   redirect("/etc/passwd")),
            ("/%2e%2E/a",           redirect("/a")),
            ("/a/%2e",              redirect("/a/")),
            ("/a%2fb",              redirect("/a/b")),
            ("/a%2F",               redirect("/a/")),
            ("/%2f%2fevil.test",    redirect("/evil.test")),
            ("//evil.test/..",      redirect("/")),
            // Refused.
            ("a",                   Target::Refuse(E::NotAPath)),
            ("*",                   Target::Refuse(E::NotAPath)),
            ("/a?b",                Target::Refuse(E::NotAPath)),
            ("/a#b",                Target::Refuse(E::NotAPath)),
            ("/%",                  Target::Refuse(E::Encoding)),     // RFC 3986 §2.1
            ("/%4",                 Target::Refuse(E::Encoding)),
            ("/%zz",                Target::Refuse(E::Encoding)),
            ("/%+1",                Target::Refuse(E::Encoding)),
            ("/%00",                Target::Refuse(E::Control)),
            ("/a%0d%0ab",           Target::Refuse(E::Control)),
            ("/%7F",                Target::Refuse(E::Control)),
            ("/%C2%85",             Target::Refuse(E::Control)),
            ("/%ff",                Target::Refuse(E::Utf8)),
            ("/%c0%ae%c0%ae/",      Target::Refuse(E::Utf8)),         // overlong dots
            ("/%ed%a0%80",          Target::Refuse(E::Utf8)),         // a surrogate
            ("/\\evil.test",        Target::Refuse(E::Backslash)),
            ("/a%5c..%5cb",         Target::Refuse(E::Backslash)),
            ("/..;/a",              Target::Refuse(E::DotSegment)),
            ("/.;x",                Target::Refuse(E::DotSegment)),
            ("/..%3bx/a",           Target::Refuse(E::DotSegment)),
            ("/..%CD%BEx/a",        Target::Refuse(E::DotSegment)),   // U+037E is `;` in NFC
            ("/..%2fa",             Target::Refuse(E::DotSegment)),
            ("/a%2f..",             Target::Refuse(E::DotSegment)),
        ];
        for (raw, expected) in cases {
            assert_eq!(normalise(raw, 4096), expected, "{raw}");
        }
    }

    #[test]
    fn a_path_beyond_the_limit_is_too_long() {
        assert_eq!(normalise("/abc", 4), normal("/abc"));
        assert_eq!(normalise("/abcd", 4), Target::Refuse(TargetError::TooLong));
        assert_eq!(normalise_for_route("/abcd", 4), Target::Refuse(TargetError::TooLong));
    }

    #[test]
    fn a_path_for_a_route_keeps_its_encoding() {
        #[rustfmt::skip]
        let cases = [
            ("/api/x",              normal("/api/x")),
            ("/%61pi/x%40y",        normal("/api/x@y")),
            ("/api/a%2fb",          normal("/api/a%2Fb")),
            ("/api%2fa",            normal("/api%2Fa")),
            ("/api/a b",            normal("/api/a b")),
            ("/api/../a%2fb",       redirect("/a%2fb")),
            ("/api/%2E%2e/%61",     redirect("/%61")),
            ("/api//ü",             redirect("/api/%C3%BC")),
            ("//evil.test",         redirect("/evil.test")),
            ("/api/..%2fsecret",    Target::Refuse(TargetError::DotSegment)),
            ("/api/..;/secret",     Target::Refuse(TargetError::DotSegment)),
            ("/api/..%5csecret",    Target::Refuse(TargetError::Backslash)),
            ("/api/%00",            Target::Refuse(TargetError::Control)),
            ("/api/%ff",            Target::Refuse(TargetError::Utf8)),
        ];
        for (raw, expected) in cases {
            assert_eq!(normalise_for_route(raw, 4096), expected, "{raw}");
        }
    }

    #[test]
    fn the_usual_path_is_borrowed() {
        for raw in ["/", "/assets/index-B3xY9_aZ.js", "/.well-known/security.txt"] {
            assert!(matches!(normalise(raw, 4096), Target::Normal(Cow::Borrowed(_))), "{raw}");
        }
    }

    /// Paths of the characters that matter here.
    fn raw_paths() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            "[a-z.;/]{1,3}",
            "%[0-9a-fA-F]{2}",
            Just("%2e".to_owned()),
            Just("%2f".to_owned()),
            Just("%CC%88".to_owned()),
            Just("%CD%BE".to_owned()),
            "\\PC",
            "[\\\\ %?#]",
        ];
        proptest::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
    }

    proptest! {
        #[test]
        fn a_normal_path_is_what_its_name_is_written_as(raw in raw_paths()) {
            if let Target::Normal(decoded) = normalise(&raw, usize::MAX) {
                prop_assert_eq!(encode_path(&decoded), with_tolerated_bytes_encoded(&raw));
                prop_assert!(decoded.starts_with('/') && is_nfc(&decoded));
            }
        }

        #[test]
        fn a_redirect_leads_to_a_normal_path_on_this_host(raw in raw_paths()) {
            if let Target::Redirect(to) = normalise(&raw, usize::MAX) {
                prop_assert!(to.starts_with('/') && !to.starts_with("//") && !to.starts_with("/\\"));
                prop_assert!(to.is_ascii());
                prop_assert!(matches!(normalise(&to, usize::MAX), Target::Normal(_)), "{}", to);
            }
            if let Target::Redirect(to) = normalise_for_route(&raw, usize::MAX) {
                prop_assert!(to.starts_with('/') && !to.starts_with("//") && to.is_ascii());
                prop_assert!(matches!(normalise_for_route(&to, usize::MAX), Target::Normal(_)), "{}", to);
            }
        }

        #[test]
        fn both_ways_refuse_the_same(raw in raw_paths()) {
            let refused = |target: Target<'_>| match target {
                Target::Refuse(error) => Some(error),
                Target::Normal(_) | Target::Redirect(_) => None,
            };
            prop_assert_eq!(refused(normalise(&raw, 4096)), refused(normalise_for_route(&raw, 4096)));
        }

        /// As browsers parse the location: a path alone, and a path behind an authority that is then dropped.
        #[test]
        fn a_path_for_a_location_is_never_another_authority(raw in raw_paths()) {
            let path = for_location(&raw);
            prop_assert!(path.bytes().all(|byte| byte.is_ascii_graphic()), "{}", path);
            let base = url::Url::parse("https://here.test/").unwrap();
            let url = base.join(&path).unwrap();
            prop_assert_eq!(url.host_str(), Some("here.test"), "{}", path);
            prop_assert!(!url.path().starts_with("//"), "{}", url);
            prop_assert_eq!(for_location(&path), path);
        }

        #[test]
        fn every_path_of_a_bundle_is_reached_by_its_encoded_form(path in "\\PC{1,12}(/\\PC{1,12}){0,3}") {
            if let Ok(path) = devanture_config::path::BundlePath::normalised(&path)
                && !path.as_str().split('/').any(is_dots)
            {
                let name = format!("/{path}");
                let encoded = encode_path(&name);
                prop_assert_eq!(normalise(&encoded, usize::MAX), Target::Normal(Cow::Borrowed(&name)));
            }
        }

        #[test]
        fn no_text_makes_it_panic(raw in any::<String>()) {
            black_box(normalise(&raw, 4096));
            black_box(normalise_for_route(&raw, 4096));
        }
    }
}
