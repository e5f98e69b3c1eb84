//! A pattern that matches a path, with its captures.

use devanture_config::rules::Pattern;
use devanture_config::rules::pattern::Captures;

/// A pattern that matches a path on a host, with its captures. Captured segments are located at the first use:
/// thousands of rules may match one path, and locating a long segment takes long.
#[derive(Debug)]
pub(super) struct PatternMatch<'a> {
    pattern: &'a Pattern,
    host: &'a str,
    path: &'a str,
    captures: Option<Captures<'a>>,
}

impl<'a> PatternMatch<'a> {
    /// The match of a pattern that the index found for `path`; without captures unless `is_used`.
    pub(super) fn of(pattern: &'a Pattern, is_used: bool, host: &'a str, path: &'a str) -> Option<Self> {
        let captures = match (pattern.takes_parts(), is_used) {
            // The index compared whole segments.
            (false, _) if !pattern.is_for_host(host) => return None,
            (false, true) => None,
            // One pass answers both questions.
            (true, true) => Some(pattern.matches(host, path)?),
            (true, false) if !pattern.is_for(host, path) => return None,
            (_, false) => Some(Captures::new()),
        };
        Some(Self { pattern, host, path, captures })
    }

    /// The captures.
    pub(super) fn captures(&mut self) -> &mut Captures<'a> {
        let (pattern, host, path) = (self.pattern, self.host, self.path);
        self.captures.get_or_insert_with(|| pattern.matches(host, path).unwrap_or_default())
    }
}

/// Returns true if a pattern that the index found for `path` matches on some host.
pub(super) fn takes_somewhere(pattern: &Pattern, path: &str) -> bool {
    !pattern.takes_parts() || pattern.takes(path)
}
