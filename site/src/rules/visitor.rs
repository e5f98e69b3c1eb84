//! Visitor properties that rules depend on: the query, the preferred language, cookies.

use std::collections::HashSet;

use crate::fields::{members, trimmed};

/// The cookie that overrides the browser's language, as in Netlify.
const LANGUAGE_COOKIE: &[u8] = b"nf_lang";
/// Maximum tags of equal weight.
const TAGS_MAX: usize = 16;
/// Longest language in a tag, in bytes: twice the longest tag in use (RFC 5646 §4.4.1).
const LANGUAGE_BYTES_MAX: usize = 70;

/// A visitor, as an input of rules.
#[derive(Debug, Clone, Copy, Default)]
pub struct Visitor<'v> {
    /// The host, in lower case; `None` for an entirely unknown visitor.
    pub host: Option<&'v str>,
    /// The query as sent.
    pub query: Option<&'v str>,
    /// `Accept-Language`.
    pub accept_language: Option<&'v [u8]>,
    /// `Cookie`.
    pub cookie: Option<&'v [u8]>,
}

/// The preferences and cookies of a visitor, parsed once for all rules.
#[derive(Debug, Default)]
pub struct Tastes<'v> {
    /// The languages of the tags with the greatest weight, in lower case; several may have equal weight (RFC 9110
    /// §12.5.4). Rules name thousands of languages, and each costs one lookup here.
    languages: HashSet<Vec<u8>>,
    /// The names of cookies.
    cookies: HashSet<&'v [u8]>,
}

impl<'v> Visitor<'v> {
    /// Parses the inputs of conditions.
    #[must_use]
    pub fn tastes(&self) -> Tastes<'v> {
        let (mut cookies, mut chosen) = (HashSet::new(), None);
        for (name, value) in pairs_of(self.cookie.unwrap_or_default()) {
            if name == LANGUAGE_COOKIE && chosen.is_none() {
                chosen = Some(value);
            }
            cookies.insert(name);
        }
        let languages = match chosen {
            Some(chosen) => vec![chosen],
            None => best(self.accept_language.unwrap_or_default()),
        };
        Tastes { languages: languages.into_iter().flat_map(languages_of).collect(), cookies }
    }
}

/// The names and values of cookies, in one pass over the field, which clients may make long.
fn pairs_of(field: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    // Lines of HTTP/2 were joined with commas; a cookie's value contains no comma (RFC 6265 §4.1.1).
    let is_end = |byte: &u8| matches!(byte, b';' | b',');
    let mut rest = field;
    std::iter::from_fn(move || {
        loop {
            let at = rest.iter().position(|byte| *byte == b'=' || is_end(byte))?;
            let (name, found) = rest.split_at_checked(at)?;
            let (found, behind) = found.split_first()?;
            rest = behind;
            if *found != b'=' {
                continue;
            }
            let (value, behind) = rest.split_at_checked(rest.iter().position(is_end).unwrap_or(rest.len()))?;
            rest = behind.get(1..).unwrap_or_default();
            return Some((name.trim_ascii_start(), value.trim_ascii_end()));
        }
    })
}

/// The tags of the greatest weight; a few are enough.
fn best(accept: &[u8]) -> Vec<&[u8]> {
    let greatest = members(accept).map(|member| weighted(member).1).max().unwrap_or_default();
    let all = members(accept).map(weighted).filter(|(_, weight)| *weight == greatest && greatest > 0);
    all.map(|(tag, _)| tag).take(TAGS_MAX).collect()
}

impl Tastes<'_> {
    /// Returns true if one of `languages`, in lower case, is among the preferred, and one of `cookies` is sent; an
    /// empty list is always satisfied. A language includes its regions: `fr` matches `fr-CH`.
    #[must_use]
    pub fn suit(&self, languages: &[String], cookies: &[String]) -> bool {
        let is_liked = |language: &String| self.languages.contains(language.as_bytes());
        (languages.is_empty() || languages.iter().any(is_liked))
            && (cookies.is_empty() || cookies.iter().any(|name| self.cookies.contains(name.as_bytes())))
    }
}

/// The languages of a tag, in lower case: `fr-ch` and `fr` for `fr-CH`.
fn languages_of(tag: &[u8]) -> impl Iterator<Item = Vec<u8>> + use<> {
    let tag = tag.get(..=LANGUAGE_BYTES_MAX).unwrap_or(tag).to_ascii_lowercase();
    let ends = (1..=tag.len().min(LANGUAGE_BYTES_MAX)).filter({
        let tag = tag.clone();
        move |end| matches!(tag.get(*end), None | Some(b'-'))
    });
    ends.filter_map(move |end| tag.get(..end).map(<[u8]>::to_vec))
}

/// A tag and its weight in thousandths (RFC 9110 §12.4.2); an invalid member has weight 0.
fn weighted(member: &[u8]) -> (&[u8], u16) {
    let mut parts = member.split(|&byte| byte == b';').map(trimmed);
    let tag = parts.next().unwrap_or_default();
    let weight = parts.find_map(|part| part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q=")));
    (tag, weight.map_or(1_000, thousandths))
}

fn thousandths(text: &[u8]) -> u16 {
    let text = std::str::from_utf8(text).unwrap_or_default();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = fraction.bytes().all(|b| b.is_ascii_digit()) && fraction.len() <= 3;
    match (whole, digits) {
        ("1", true) => 1_000,
        ("0", true) => format!("{fraction:0<3}").parse().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_that_is_liked_best_counts() {
        let prefers = |accept: &str, language: &str| {
            let visitor = Visitor { accept_language: Some(accept.as_bytes()), ..Visitor::default() };
            visitor.tastes().suit(&[language.to_owned()], &[])
        };
        for (accept, language, expected) in [
            ("fr", "fr", true),
            ("fr-CH, fr;q=0.9, en;q=0.8", "fr", true),
            ("fr-CH, fr;q=0.9, en;q=0.8", "en", false),
            ("en;q=0.8, de;q=0.9", "de", true),
            ("de, en", "en", true),
            ("FR-ch", "fr", true),
            ("fra", "fr", false),
            ("fr;q=0", "fr", false),
            ("fr", "fr-ch", false),
            ("", "fr", false),
            ("fr-", "fr", true),
            ("zh-Hant-TW", "zh-hant", true),
            ("zh-Hant-TW", "zh-han", false),
        ] {
            assert_eq!(prefers(accept, language), expected, "{accept} {language}");
        }
        let visitor = Visitor { cookie: Some(b"a=1; nf_lang=de"), accept_language: Some(b"fr"), ..Visitor::default() };
        let prefers = |language: &str| visitor.tastes().suit(&[language.to_owned()], &[]);
        assert!(prefers("de") && !prefers("fr"));
    }

    #[test]
    fn a_cookie_counts_by_its_name_alone() {
        let visitor = Visitor { cookie: Some(b"beta=; other=x"), ..Visitor::default() };
        let has = |name: &str| visitor.tastes().suit(&[], &["no".to_owned(), name.to_owned()]);
        assert!(has("beta") && !has("bet") && !has("x"));
    }

    #[test]
    fn cookies_are_found_between_all_that_stands_in_their_field() {
        let found: Vec<(&[u8], &[u8])> = pairs_of(b" a=1;b ;=x;; c=d=e ,f=\t;g").collect();
        let expected: [(&[u8], &[u8]); 4] = [(b"a", b"1"), (b"", b"x"), (b"c", b"d=e"), (b"f", b"")];
        assert_eq!(found, expected);
        assert_eq!([&b""[..], b";", b"a", b"a;b,"].map(|field| pairs_of(field).count()), [0; 4]);
    }
}
