//! The path of a request as sent, for rules that forward a part of the path to another server.
//!
//! Encoded characters may have a meaning of their own there: by RFC 3986 §2.2 only unreserved characters are equal in
//! both spellings, and `group%2Fproject` is one segment of two names. Patterns are compared with the decoded text of
//! such a path, and captures are taken from the path as sent.

use std::borrow::Cow;

use crate::target::{self, Target};

/// A path as sent, but without dot segments and doubled slashes, whose meaning differs between servers.
#[derive(Debug)]
pub struct SentPath<'a> {
    sent: Cow<'a, str>,
    /// Decoded, except for encoded slashes, which do not separate segments.
    text: String,
    /// The position in `sent` of each byte of the text, and of its end.
    places: Vec<usize>,
}

impl<'a> SentPath<'a> {
    /// Parses a path; `None` if the path cannot be forwarded.
    #[must_use]
    pub fn of(raw_path: &'a str, bytes_max: usize) -> Option<Self> {
        let sent = match target::normalise_for_route(raw_path, bytes_max) {
            Target::Normal(_) => Cow::Borrowed(raw_path),
            Target::Redirect(to) => Cow::Owned(to),
            Target::Refuse(_) => return None,
        };
        let mut text = Vec::with_capacity(sent.len());
        let mut places = Vec::with_capacity(sent.len() + 1);
        let mut rest = sent.as_bytes();
        while let [first, after @ ..] = rest {
            let place = sent.len() - rest.len();
            let encoded = after.first_chunk().filter(|_| *first == b'%').and_then(|digits| byte_of(*digits));
            match encoded {
                Some(byte) if byte != b'/' => {
                    text.push(byte);
                    places.push(place);
                    rest = after.get(2..).unwrap_or_default();
                }
                // An encoded slash keeps all of its three bytes.
                _ => {
                    text.push(*first);
                    places.push(place);
                    rest = after;
                }
            }
        }
        places.push(sent.len());
        let text = String::from_utf8(text).ok()?;
        Some(Self { sent, text, places })
    }

    /// The path for comparison with patterns: decoded, except for encoded slashes.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The path to forward.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.sent
    }

    /// Returns true if the path equals the path as sent.
    #[must_use]
    pub const fn is_as_sent(&self) -> bool {
        matches!(self.sent, Cow::Borrowed(_))
    }

    /// The sent spelling of `captured`, if a slice of the [text](Self::text) and not merely an equal string.
    #[must_use]
    pub fn sent_for(&self, captured: &str) -> Option<&str> {
        let from = captured.as_ptr().addr().checked_sub(self.text.as_ptr().addr())?;
        let to = from.checked_add(captured.len())?;
        self.sent.get(*self.places.get(from)?..*self.places.get(to)?)
    }
}

/// The byte of two hex digits.
fn byte_of(digits: [u8; 2]) -> Option<u8> {
    u8::from_str_radix(str::from_utf8(&digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_text_is_what_was_sent_for_it() {
        for (raw, text, part, expected) in [
            ("/a/b", "/a/b", "b", "b"),
            ("/gl/group%2fproject/x", "/gl/group%2fproject/x", "group%2fproject/x", "group%2fproject/x"),
            ("/gl/a%26b%2B%40/", "/gl/a&b+@/", "a&b+@/", "a%26b%2B%40/"),
            ("/%61/%C3%BC%7e", "/a/ü~", "ü~", "%C3%BC%7e"),
            ("/u%CC%88x", "/u\u{308}x", "\u{308}", "%CC%88"),
            ("/100%25/%252F", "/100%/%2F", "%2F", "%252F"),
            ("/a b/\"", "/a b/\"", " b/\"", " b/\""),
            // Dot segments and doubled slashes differ in meaning between servers.
            ("/x/..//a%2Fb", "/a%2Fb", "a%2Fb", "a%2Fb"),
        ] {
            let path = SentPath::of(raw, 4_096).unwrap();
            assert_eq!(path.text(), text, "{raw}");
            assert_eq!(path.is_as_sent(), path.as_str() == raw, "{raw}");
            let at = path.text().rfind(part).unwrap();
            assert_eq!(path.sent_for(&path.text()[at..][..part.len()]), Some(expected), "{raw}");
            assert_eq!(path.sent_for(path.text()), Some(path.as_str()), "{raw}");
        }
        let path = SentPath::of("/a%26b", 4_096).unwrap();
        let equal = String::from("a&b");
        assert_eq!(path.sent_for(&equal), None, "it is no part of this text");
    }

    #[test]
    fn what_no_server_is_sent_is_no_path() {
        for raw in ["a", "/%", "/%zz", "/%ff", "/%00", "/a%5Cb", "/a%2F..", "/..;/a", "/a?b"] {
            assert!(SentPath::of(raw, 4_096).is_none(), "{raw}");
        }
        assert!(SentPath::of("/abcd", 4).is_none());
    }
}
