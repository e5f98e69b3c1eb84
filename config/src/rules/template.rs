//! Templates with captures of a pattern: targets of redirects and values of fields.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::pattern::{Captures, next_name};
use crate::heap::HeapBytes;

/// Everything that is not a `pchar` (RFC 3986 §3.3), or a slash.
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
/// Characters kept in a value of a query: no `&`, `=`, `+` or `#` may come out of a capture.
const QUERY: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/').remove(b':');

/// Characters kept in a value of a field: no separator of a list, a parameter or an attribute may come out of a
/// capture.
const FIELD: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/').remove(b':');
/// Longest that a template may become when it is filled, in bytes: a target may name a capture many times.
pub const FILLED_BYTES_MAX: usize = 8_192;
/// Most captures of a rule, and most places for them in one template: what filling it costs.
pub const CAPTURES_MAX: usize = 64;

/// A text with places for captures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: Box<str>,
    /// Empty without placeholders, as usual.
    parts: Box<[Part]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Capture(Box<str>),
    Text(Box<str>),
}

/// Where a filled template goes, and so how captures are written in it.
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
    /// Reads a text in which `:name` stands for a capture, for those of `names` alone; any other stays as it is, and so
    /// do names beyond [`CAPTURES_MAX`], with which no rule is taken.
    #[must_use]
    pub fn parse(text: &str, names: &[&str]) -> Self {
        let names = names.get(..CAPTURES_MAX).unwrap_or(names);
        let mut parts = Vec::new();
        let mut pending = String::new();
        let mut rest = text;
        while let Some((at, name)) = next_name(rest) {
            let end = at + 1 + name.len();
            match names.contains(&name) {
                true => {
                    pending.push_str(rest.get(..at).unwrap_or_default());
                    if !pending.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut pending).into()));
                    }
                    parts.push(Part::Capture(name.into()));
                }
                false => pending.push_str(rest.get(..end).unwrap_or_default()),
            }
            rest = rest.get(end..).unwrap_or_default();
        }
        pending.push_str(rest);
        if !pending.is_empty() && !parts.is_empty() {
            parts.push(Part::Text(pending.into()));
        }
        Self { text: text.into(), parts: parts.into() }
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it has no place for a capture, so that it is the same for every request.
    #[must_use]
    pub const fn is_constant(&self) -> bool {
        self.parts.is_empty()
    }

    /// The number of its places for captures.
    #[must_use]
    pub fn places(&self) -> usize {
        self.parts.iter().filter(|part| matches!(part, Part::Capture(_))).count()
    }

    /// Whether it has a place for the capture of that name.
    #[must_use]
    pub fn uses(&self, name: &str) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Capture(used) if **used == *name))
    }

    /// Puts the captures in their places, encoded for `context`; `None` if that has more than [`FILLED_BYTES_MAX`]
    /// bytes.
    #[must_use]
    pub fn fill(&self, captures: &Captures<'_>, context: Context) -> Option<String> {
        if self.is_constant() {
            return (self.text.len() <= FILLED_BYTES_MAX).then(|| self.text.to_string());
        }
        let mut filled = String::with_capacity(self.text.len() + 16);
        for part in &self.parts {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Capture(name) => {
                    let value = captures.iter().find(|(known, _)| **known == **name).map_or("", |(_, value)| value);
                    let set = match context {
                        Context::Field => FIELD,
                        Context::Path => PATH,
                        Context::Query => QUERY,
                    };
                    if value.len() > FILLED_BYTES_MAX {
                        return None;
                    }
                    filled.extend(utf8_percent_encode(value, set));
                }
            }
            if filled.len() > FILLED_BYTES_MAX {
                return None;
            }
        }
        Some(filled)
    }
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
    fn a_template_does_not_grow_without_end() {
        let many = Template::parse(&"/:splat".repeat(100), &["splat"]);
        let value = "x".repeat(1_000);
        assert_eq!(many.fill(&vec![("splat", value.as_str())], Context::Path), None);
        assert!(many.fill(&vec![("splat", "x")], Context::Path).is_some());
    }
}
