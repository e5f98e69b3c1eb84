//! Templates with captures of a pattern: targets of redirects and values of fields.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::pattern::Captures;
use crate::heap::HeapBytes;

/// All characters except `pchar` (RFC 3986 §3.3) and the slash.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@')
    .remove(b'/');
/// Same set for already encoded captures.
const ENCODED_PATH: &AsciiSet = &PATH.remove(b'%');
/// Characters kept in a query value: captures must not produce `&`, `=`, `+` or `#`.
const QUERY: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/').remove(b':');
/// Same set for already encoded captures.
const ENCODED_QUERY: &AsciiSet = &QUERY.remove(b'%');

/// Characters kept in a field value: captures must not produce a separator of a list, a parameter or an attribute.
const FIELD: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/').remove(b':');
/// Maximum length of a filled template, in bytes: a target may repeat a capture many times.
pub const FILLED_BYTES_MAX: usize = 8_192;
/// Maximum number of captures of a rule, and of placeholders in one template: a bound on the cost of filling.
pub const CAPTURES_MAX: usize = 64;

/// Text with placeholders for captures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: Box<str>,
    /// Empty without placeholders, as is usual.
    parts: Box<[Part]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Capture(Box<str>),
    Text(Box<str>),
}

/// Destination of a filled template, which determines the encoding of captures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    /// The value of a field.
    Field,
    /// A path of a URL.
    Path,
    /// The query or the fragment of a URL.
    Query,
}

impl Template {
    /// Parses a text, with `:name` as the placeholder of a capture, for `names` alone; other names stay literal, and so
    /// do names beyond [`CAPTURES_MAX`], a number that no accepted rule has. Text after a name is literal, as with all
    /// providers: `:splat.html`, `:splat_old`.
    #[must_use]
    pub fn parse(text: &str, names: &[&str]) -> Self {
        let names = names.get(..CAPTURES_MAX).unwrap_or(names);
        let mut parts = Vec::new();
        let mut pending = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once(':') {
            pending.push_str(before);
            let name = known_name(after, names);
            match name {
                Some(name) => {
                    if !pending.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut pending).into()));
                    }
                    parts.push(Part::Capture(name.into()));
                }
                None => pending.push(':'),
            }
            rest = after.get(name.map_or(0, str::len)..).unwrap_or_default();
        }
        pending.push_str(rest);
        if !pending.is_empty() && !parts.is_empty() {
            parts.push(Part::Text(pending.into()));
        }
        Self { text: text.into(), parts: parts.into() }
    }

    /// Returns the text as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns true if there are no placeholders, so the text is the same for every request.
    #[must_use]
    pub const fn is_constant(&self) -> bool {
        self.parts.is_empty()
    }

    /// Returns the number of placeholders.
    #[must_use]
    pub fn places(&self) -> usize {
        self.parts.iter().filter(|part| matches!(part, Part::Capture(_))).count()
    }

    /// Returns true if there is a placeholder for the capture of this name.
    #[must_use]
    pub fn uses(&self, name: &str) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Capture(used) if **used == *name))
    }

    /// Fills in the decoded captures, encoded for `context`; `None` beyond [`FILLED_BYTES_MAX`] bytes.
    #[must_use]
    pub fn fill(&self, captures: &Captures<'_>, context: Context) -> Option<String> {
        let set = match context {
            Context::Field => FIELD,
            Context::Path => PATH,
            Context::Query => QUERY,
        };
        self.filled(captures, set)
    }

    /// Fills in captures from a URL: encoded characters stay unchanged, and characters forbidden in `context` are
    /// encoded too.
    #[must_use]
    pub fn fill_encoded(&self, captures: &Captures<'_>, context: Context) -> Option<String> {
        let set = match context {
            Context::Field => FIELD,
            Context::Path => ENCODED_PATH,
            Context::Query => ENCODED_QUERY,
        };
        self.filled(captures, set)
    }

    fn filled(&self, captures: &Captures<'_>, kept: &'static AsciiSet) -> Option<String> {
        if self.is_constant() {
            return (self.text.len() <= FILLED_BYTES_MAX).then(|| self.text.to_string());
        }
        let mut filled = String::with_capacity(self.text.len() + 16);
        for part in &self.parts {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Capture(name) => {
                    let value = captures.iter().find(|(known, _)| **known == **name).map_or("", |(_, value)| value);
                    if value.len() > FILLED_BYTES_MAX {
                        return None;
                    }
                    filled.extend(utf8_percent_encode(value, kept));
                }
            }
            if filled.len() > FILLED_BYTES_MAX {
                return None;
            }
        }
        Some(filled)
    }
}

/// Returns the longest of `names` at the start of a text.
#[must_use]
pub fn known_name<'n>(text: &str, names: &[&'n str]) -> Option<&'n str> {
    let begins = |name: &&str| !name.is_empty() && text.starts_with(name);
    names.iter().copied().filter(begins).max_by_key(|name| name.len())
}

impl HeapBytes for Template {
    fn heap_bytes(&self) -> usize {
        self.text.heap_bytes() + self.parts.heap_bytes()
    }
}

impl HeapBytes for Part {
    fn heap_bytes(&self) -> usize {
        match self {
            Self::Capture(text) | Self::Text(text) => text.heap_bytes(),
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captures_are_encoded_for_their_place() {
        let template = Template::parse("/new/:splat?q=:id#:other", &["splat", "id"]);
        let captures = vec![("splat", "a b/ü"), ("id", "1&x=2")];
        assert_eq!(template.fill(&captures, Context::Path).unwrap(), "/new/a%20b/%C3%BC?q=1&x=2#:other");
        assert_eq!(Template::parse(":id", &["id"]).fill(&captures, Context::Query).unwrap(), "1%26x%3D2");
        assert!(!template.is_constant());
        assert!(Template::parse("https://example.org:80/:x", &[]).is_constant());
        assert_eq!(Template::parse("", &[]).fill(&captures, Context::Path).unwrap(), "");
        assert_eq!(
            Template::parse(":id; x", &["id"]).fill(&vec![("id", "a;b,c")], Context::Field).unwrap(),
            "a%3Bb%2Cc; x"
        );
    }

    #[test]
    fn a_name_is_the_longest_known_one_and_what_follows_it_is_text() {
        let captures = vec![("a", "1"), ("ab", "2"), ("post-slug", "3"), ("x.html", "4")];
        let names = ["a", "ab", "post-slug", "x.html"];
        for (text, filled) in [
            ("/:a/:ab/:abc/:a_b", "/1/2/2c/1_b"),
            ("/:post-slug/:post/x:a", "/3/:post/x1"),
            ("/:x.html.gz/:x/::a/:", "/4.gz/:x/:1/:"),
            ("/:A/:b:a:b", "/:A/:b1:b"),
        ] {
            assert_eq!(Template::parse(text, &names).fill(&captures, Context::Path).unwrap(), filled, "{text}");
        }
    }

    #[test]
    fn what_is_encoded_in_a_capture_stays_as_it_is() {
        let template = Template::parse("/:x", &["x"]);
        for (value, path, query) in [
            ("a%2Fb%26%2b%25", "/a%2Fb%26%2b%25", "/a%2Fb%26%2b%25"),
            ("a&b=c+d", "/a&b=c+d", "/a%26b%3Dc%2Bd"),
            ("\u{fc} \"[", "/%C3%BC%20%22%5B", "/%C3%BC%20%22%5B"),
        ] {
            let captures = vec![("x", value)];
            assert_eq!(template.fill_encoded(&captures, Context::Path).unwrap(), path, "{value}");
            assert_eq!(template.fill_encoded(&captures, Context::Query).unwrap(), query, "{value}");
        }
        assert_eq!(template.fill(&vec![("x", "%2F")], Context::Path).unwrap(), "/%252F");
    }

    #[test]
    fn a_template_does_not_grow_without_end() {
        let many = Template::parse(&"/:splat".repeat(100), &["splat"]);
        let value = "x".repeat(1_000);
        assert_eq!(many.fill(&vec![("splat", value.as_str())], Context::Path), None);
        assert!(many.fill(&vec![("splat", "x")], Context::Path).is_some());
    }
}
