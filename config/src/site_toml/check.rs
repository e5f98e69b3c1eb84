//! `[check]` of `devanture.toml`: findings ignored by `devanture check`, and the site's own size limit.

use std::fmt;
use std::str::FromStr;

use crate::parsing::reader::{Table, nearest};

/// Codes of findings of `check` in the files of a site, in the order of the documentation.
pub const CODES: [&str; 17] = [
    BROKEN_FRAGMENT,
    BROKEN_LINK,
    CASE_COLLISION,
    FINGERPRINT_COLLISION,
    FOREIGN_FILE,
    LARGE_FILE,
    LOCAL_ORIGIN,
    MISSING_ASSET,
    MIXED_CONTENT,
    NO_HASH,
    OPEN_PREVIEW,
    OVER_LIMIT,
    PREVIEW_PIN,
    SECRET,
    SERVER_CODE,
    SHADOWED_FILE,
    SOURCE_MAP,
];
/// A link leads to a missing fragment of a page.
pub const BROKEN_FRAGMENT: &str = "broken-fragment";
/// A link leads to a missing target.
pub const BROKEN_LINK: &str = "broken-link";
/// Two names differ in case alone.
pub const CASE_COLLISION: &str = "case-collision";
/// Two fingerprinted names differ in case alone.
pub const FINGERPRINT_COLLISION: &str = "fingerprint-collision";
/// A settings file for another server or provider, unused here.
pub const FOREIGN_FILE: &str = "foreign-file";
/// A file exceeds the site's own limit.
pub const LARGE_FILE: &str = "large-file";
/// Pages on visitors' own machines may use the backends of `prod`.
pub const LOCAL_ORIGIN: &str = "local-origin";
/// A page or a style uses a missing resource.
pub const MISSING_ASSET: &str = "missing-asset";
/// A page uses an unencrypted resource.
pub const MIXED_CONTENT: &str = "mixed-content";
/// A resource of a page has no hash, despite `integrity`.
pub const NO_HASH: &str = "no-hash";
/// A password of one environment, not required by previews.
pub const OPEN_PREVIEW: &str = "open-preview";
/// An edge with default limits would refuse the bundle.
pub const OVER_LIMIT: &str = "over-limit";
/// A `pin` of previews, which never pin visitors.
pub const PREVIEW_PIN: &str = "preview-pin";
/// A secret.
pub const SECRET: &str = "secret";
/// Server-side code, readable by every visitor.
pub const SERVER_CODE: &str = "server-code";
/// A file hidden by a route with the same path.
pub const SHADOWED_FILE: &str = "shadowed-file";
/// Sources of a program, readable by every visitor.
pub const SOURCE_MAP: &str = "source-map";

/// Maximum number of entries of `ignore`.
const IGNORED_MAX: usize = 10_000;

/// Table `[check]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckTable {
    /// Ignored findings.
    pub ignore: Vec<IgnoreEntry>,
    /// Maximum bytes of a file.
    pub file_bytes_max: Option<u64>,
}

/// Entry of `ignore`: a code, alone or followed by `:` and a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IgnoreEntry {
    code: String,
    /// Subject, with `*` for any text.
    about: Option<String>,
}

/// Error for an invalid entry of `ignore`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct BadIgnored(String);

impl fmt::Display for BadIgnored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no code of `devanture check`", self.0)?;
        match nearest(&self.0, CODES.into_iter()) {
            Some(code) => write!(f, "; did you mean `{code}`?"),
            None => write!(f, ": one of {}", CODES.join(", ")),
        }
    }
}

impl FromStr for IgnoreEntry {
    type Err = BadIgnored;

    fn from_str(text: &str) -> Result<Self, BadIgnored> {
        let (code, about) = text.split_once(':').map_or((text, None), |(code, about)| (code, Some(about)));
        match CODES.contains(&code) {
            true => Ok(Self { code: code.to_owned(), about: about.map(str::to_owned) }),
            false => Err(BadIgnored(code.chars().take(100).collect())),
        }
    }
}

impl IgnoreEntry {
    /// Returns true if the entry covers a finding of `code` in the file at `path` of the bundle, about `target`, an
    /// address or name.
    #[must_use]
    pub fn covers(&self, code: &str, path: &str, target: Option<&str>) -> bool {
        let Some(about) = &self.about else { return self.code == code };
        self.code == code && (is_like(about, path) || target.is_some_and(|target| is_like(about, target)))
    }
}

/// Returns true if `text` matches `pattern`, with `*` for any characters.
fn is_like(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut left) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    // The earliest position of each part leaves the most for the following parts.
    for part in parts {
        let Some((_, after)) = left.split_once(part) else { return false };
        left = after;
    }
    left.ends_with(last)
}

impl CheckTable {
    /// Returns true if a finding is ignored.
    #[must_use]
    pub fn ignores(&self, code: &str, path: &str, target: Option<&str>) -> bool {
        self.ignore.iter().any(|ignored| ignored.covers(code, path, target))
    }

    pub(super) fn read(root: &Table<'_, '_>) -> Self {
        let Some(table) = root.table("check") else { return Self::default() };
        let ignore: Vec<IgnoreEntry> = table.list("ignore").unwrap_or_default();
        if ignore.len() > IGNORED_MAX {
            table.mistake("ignore", format!("`check.ignore` has more than {IGNORED_MAX} entries"), None);
        }
        let file_bytes_max = table.integer("file_bytes_max", 1..=1_099_511_627_776);
        table.finish();
        Self { ignore, file_bytes_max }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_entry_is_a_code_and_what_it_is_about() {
        let covers = |entry: &str, code: &str, path: &str, target: Option<&str>| {
            entry.parse::<IgnoreEntry>().unwrap().covers(code, path, target)
        };
        for (entry, code, path, target, expected) in [
            ("broken-link", BROKEN_LINK, "a.html", Some("/x"), true),
            ("broken-link", MISSING_ASSET, "a.html", Some("/x"), false),
            ("broken-link:/legacy/*", BROKEN_LINK, "a.html", Some("/legacy/x/y"), true),
            ("broken-link:/legacy/*", BROKEN_LINK, "a.html", Some("/other"), false),
            ("secret:keys/test.pem", SECRET, "keys/test.pem", None, true),
            ("secret:keys/test.pem", SECRET, "keys/test.pem2", None, false),
            ("mixed-content:http://*.example/*", MIXED_CONTENT, "a.html", Some("http://a.example/x"), true),
            ("missing-asset:*.map", MISSING_ASSET, "a.css", Some("/a.js.map"), true),
        ] {
            assert_eq!(covers(entry, code, path, target), expected, "{entry} {path}");
        }
        let bad = "brokenlink:/x".parse::<IgnoreEntry>().unwrap_err().to_string();
        assert_eq!(bad, "`brokenlink` is no code of `devanture check`; did you mean `broken-link`?");
    }

    proptest! {
        #[test]
        fn a_star_is_as_an_expression_has_it(pattern in "[ab*]{0,8}", text in "[ab]{0,10}") {
            let expression = format!("^{}$", pattern.replace('*', ".*"));
            prop_assert_eq!(is_like(&pattern, &text), regex::Regex::new(&expression).unwrap().is_match(&text));
        }
    }
}
