//! Paths in a bundle: UTF-8 in NFC, relative, of plain segments.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use unicode_normalization::{UnicodeNormalization, is_nfc};

use crate::site_toml::{FILE_NAME, overlay_of};

/// Path in a bundle: segments joined by `/`, in NFC, without `.`, `..`, empty segments, `\` or control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BundlePath(String);

/// Error for an invalid path of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// A `\`, read as `/` by some systems.
    #[error("`{0}` holds a backslash")]
    Backslash(String),
    /// A control character, including NUL.
    #[error("`{0}` holds a control character")]
    Control(String),
    /// The empty text.
    #[error("the path is empty")]
    Empty,
    /// An empty segment: a leading, doubled or final `/`.
    #[error("`{0}` has an empty segment: it begins or ends with / or holds //")]
    EmptySegment(String),
    /// A segment `.` or `..`.
    #[error("`{0}` holds the segment . or .., which would leave its place")]
    Dots(String),
    /// Not in NFC; only in a manifest, since [`BundlePath::normalised`] converts to NFC.
    #[error("`{0}` is not in Unicode's form NFC")]
    NotNfc(String),
}

impl BundlePath {
    /// Converts `text` to NFC and parses the path.
    ///
    /// # Errors
    /// [`BadPath`], except [`BadPath::NotNfc`].
    pub fn normalised(text: &str) -> Result<Self, BadPath> {
        if is_nfc(text) { text.parse() } else { text.nfc().collect::<String>().parse() }
    }

    /// Returns the path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the last segment.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// Returns true for paths never served to visitors: rule files, `devanture.toml` and its overlays, and dotfiles
    /// with their content, except `.well-known`. A segment with two leading dots is not a dotfile.
    #[must_use]
    pub fn is_private(&self) -> bool {
        if matches!(self.0.as_str(), "_redirects" | "_headers" | FILE_NAME) || overlay_of(FILE_NAME, &self.0).is_some()
        {
            return true;
        }
        self.is_in_dotfile()
    }

    /// Returns true for a dotfile, or a path in a dotfile's folder, except `.well-known`.
    #[must_use]
    pub fn is_in_dotfile(&self) -> bool {
        let mut segments = self.0.split('/');
        let dot = |s: &str| s.starts_with('.') && !s.starts_with("..");
        let first = segments.next().unwrap_or_default();
        (dot(first) && first != ".well-known") || segments.any(dot)
    }
}

/// Paths compare as their texts, so lookups in ordered maps work with texts.
impl Borrow<str> for BundlePath {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BundlePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for BundlePath {
    type Err = BadPath;

    fn from_str(text: &str) -> Result<Self, BadPath> {
        let shown = || text.chars().take(200).flat_map(char::escape_default).collect::<String>();
        if text.is_empty() {
            return Err(BadPath::Empty);
        }
        if text.contains('\\') {
            return Err(BadPath::Backslash(shown()));
        }
        if text.chars().any(char::is_control) {
            return Err(BadPath::Control(shown()));
        }
        for segment in text.split('/') {
            match segment {
                "" => return Err(BadPath::EmptySegment(shown())),
                "." | ".." => return Err(BadPath::Dots(shown())),
                _ => {}
            }
        }
        if !is_nfc(text) {
            return Err(BadPath::NotNfc(shown()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for BundlePath {
    type Error = BadPath;

    fn try_from(text: String) -> Result<Self, BadPath> {
        text.parse()
    }
}

impl From<BundlePath> for String {
    fn from(path: BundlePath) -> Self {
        path.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_inside_its_bundle() {
        for bad in ["", "/", "/a", "a/", "a//b", "../a", "a/../b", "./a", "a\\b", "a\0b", "a\nb"] {
            assert!(bad.parse::<BundlePath>().is_err(), "{bad:?}");
        }
        for good in ["index.html", "a/b/c.js", "..a/b", "a b/ü.txt", ".well-known/x"] {
            assert!(good.parse::<BundlePath>().is_ok(), "{good:?}");
        }
    }

    #[test]
    fn decomposed_names_are_brought_to_nfc() {
        assert!("u\u{308}.txt".parse::<BundlePath>().is_err());
        assert_eq!(BundlePath::normalised("u\u{308}.txt"), "ü.txt".parse());
    }

    #[test]
    fn dotfiles_and_rule_files_are_private() {
        let private = |p: &str| p.parse::<BundlePath>().is_ok_and(|p| p.is_private());
        for p in [
            ".git/config",
            "a/.hidden",
            "_redirects",
            "_headers",
            "devanture.toml",
            "devanture.staging.toml",
            ".well-known/.x",
        ] {
            assert!(private(p), "{p}");
        }
        let dot = |p: &str| p.parse::<BundlePath>().is_ok_and(|p| p.is_in_dotfile());
        assert!(dot("a/.hidden") && !dot("_redirects") && !dot(".well-known/security.txt"));
        for p in [".well-known/security.txt", "..a", "a/_redirects", "a/devanture.staging.toml", "index.html"] {
            assert!(!private(p), "{p}");
        }
    }
}
