//! A pattern that takes a path, with what it captures.

use devanture_config::rules::Pattern;
use devanture_config::rules::pattern::Captures;

/// A pattern that takes a path on a host, with what it captures. What segments it captures is looked up when it is
/// first used: thousands of rules may take one path, which takes long where a segment is long.
#[derive(Debug)]
pub(super) struct Taken<'a> {
    pattern: &'a Pattern,
    host: &'a str,
    path: &'a str,
    captures: Option<Captures<'a>>,
}

impl<'a> Taken<'a> {
    /// That of a pattern which the index found for `path`, if it takes it; it captures nothing unless that `is_used`.
    pub(super) fn of(pattern: &'a Pattern, is_used: bool, host: &'a str, path: &'a str) -> Option<Self> {
        let captures = match (pattern.takes_parts(), is_used) {
            // Whole segments were compared by the index.
            (false, _) if !pattern.is_for_host(host) => return None,
            (false, true) => None,
            // One pass is for both questions.
            (true, true) => Some(pattern.matches(host, path)?),
            (true, false) if !pattern.is_for(host, path) => return None,
            (_, false) => Some(Captures::new()),
        };
        Some(Self { pattern, host, path, captures })
    }

    /// What it captures.
    pub(super) fn captures(&mut self) -> &mut Captures<'a> {
        let (pattern, host, path) = (self.pattern, self.host, self.path);
        self.captures.get_or_insert_with(|| pattern.matches(host, path).unwrap_or_default())
    }
}

/// Whether a pattern that the index found for `path` takes it on some host.
pub(super) fn takes_somewhere(pattern: &Pattern, path: &str) -> bool {
    !pattern.takes_parts() || pattern.takes(path)
}
