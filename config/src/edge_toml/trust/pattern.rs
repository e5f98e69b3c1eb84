//! Patterns of claims: a text, or a text with `*` at the end of segments.

use std::fmt;
use std::str::FromStr;

/// Maximum length of a pattern, in bytes.
const BYTES_MAX: usize = 512;

/// Pattern for the value of a claim. A `*` stands for one or more characters within a segment; segments end at `/` and
/// `:`, so neither another folder nor another part of a subject matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimPattern(String);

impl ClaimPattern {
    /// Returns true if `value` matches.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        let mut patterns = self.0.split_inclusive(is_separator);
        let mut values = value.split_inclusive(is_separator);
        loop {
            match (patterns.next(), values.next()) {
                (None, None) => return true,
                (Some(pattern), Some(value)) if segment_matches(pattern, value) => {}
                _ => return false,
            }
        }
    }

    /// Returns the text before the first `*`, or the whole text.
    #[must_use]
    pub fn fixed_part(&self) -> &str {
        self.0.split('*').next().unwrap_or_default()
    }

    /// Returns true if the pattern has a `*`.
    #[must_use]
    pub fn has_star(&self) -> bool {
        self.0.contains('*')
    }

    /// Returns true if the pattern has no fixed text.
    pub(super) fn is_open(&self) -> bool {
        self.0.chars().all(|c| c == '*' || is_separator(c))
    }
}

fn is_separator(c: char) -> bool {
    matches!(c, '/' | ':')
}

/// Matches a single segment, each side including the separator at its end.
fn segment_matches(pattern: &str, value: &str) -> bool {
    let (text, ends) = parted(pattern);
    let (value, value_ends) = parted(value);
    ends == value_ends
        && match text.strip_suffix('*') {
            Some(start) => value.len() > start.len() && value.starts_with(start),
            None => text == value,
        }
}

fn parted(segment: &str) -> (&str, Option<char>) {
    match segment.chars().next_back().filter(|c| is_separator(*c)) {
        Some(end) => (segment.strip_suffix(end).unwrap_or(segment), Some(end)),
        None => (segment, None),
    }
}

/// Error for an invalid pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// The pattern is empty, too long, or contains control characters.
    #[error("the text of a claim has 1 to {BYTES_MAX} bytes, and no control characters")]
    Text,
    /// A `*` stands in another place.
    #[error("a `*` stands at the end of a segment, in front of `/`, `:` or the end: `{0}`")]
    Star(String),
}

impl FromStr for ClaimPattern {
    type Err = BadPattern;

    fn from_str(text: &str) -> Result<Self, BadPattern> {
        if !(1..=BYTES_MAX).contains(&text.len()) || text.chars().any(char::is_control) {
            return Err(BadPattern::Text);
        }
        let stars_end = |segment: &str| {
            let text = parted(segment).0;
            !text.strip_suffix('*').unwrap_or(text).contains('*')
        };
        if text.split_inclusive(is_separator).all(stars_end) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadPattern::Star(text.to_owned()))
        }
    }
}

impl fmt::Display for ClaimPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stays_within_its_segment() {
        for (pattern, good, bad) in [
            (
                "refs/heads/main",
                &["refs/heads/main"][..],
                &["refs/heads/main2", "refs/heads/mai", "", "refs/heads/main/"][..],
            ),
            (
                "refs/heads/*",
                &["refs/heads/a", "refs/heads/*"],
                &["refs/heads/", "refs/heads", "refs/heads/a/b", "refs/heads/a:b"],
            ),
            ("refs/tags/v*", &["refs/tags/v1"], &["refs/tags/v", "refs/tags/w1", "refs/tags/v/1", "Refs/tags/v1"]),
            (
                "repo:acme/*:ref:refs/heads/main",
                &["repo:acme/shop:ref:refs/heads/main"],
                &[
                    "repo:acme/shop:pull_request",
                    "repo:acme/a:b:ref:refs/heads/main",
                    "repo:acme/:ref:refs/heads/main",
                    "repo:acme:shop/ref:refs/heads/main",
                ],
            ),
            ("*", &["a"], &["", "a/b", "a:b", "/"]),
        ] {
            let parsed: ClaimPattern = pattern.parse().unwrap();
            for value in good {
                assert!(parsed.matches(value), "{pattern} {value}");
            }
            for value in bad {
                assert!(!parsed.matches(value), "{pattern} {value}");
            }
        }
        for bad in ["", "a*b", "**", "a/*b/c", "a\n", &"a".repeat(BYTES_MAX + 1)] {
            assert!(bad.parse::<ClaimPattern>().is_err(), "{bad}");
        }
    }
}
