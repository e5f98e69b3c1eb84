//! Browser cache lifetimes by the rules of a site, for a path, without the rules' other effects.

use devanture_config::rules::{HeaderRule, Pattern};
use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::at;
use super::fields::{Changes, FieldChanges, FieldNumbers, Removed};
use super::index::PatternIndex;
use super::taken::{PatternMatch, takes_somewhere};
use crate::dictionary::kept_seconds;

/// Fields that only a rule controls: the edge then neither sets nor relies on the field.
const USE_AS_DICTIONARY: HeaderName = HeaderName::from_static("use-as-dictionary");
/// Bytes of a path compared or copied in about the time of one lookup.
const BYTES_OF_A_LOOK: usize = 16;

/// The rules about `Cache-Control` or dictionaries. The omission of fields that make a head too long is not predicted:
/// the response then turns out not to be a dictionary.
#[derive(Debug, Default)]
pub struct Keeping {
    rules: Vec<Rule>,
    index: PatternIndex,
}

#[derive(Debug)]
struct Rule {
    path: Pattern,
    /// Changes of `Cache-Control` alone.
    changes: Changes,
    /// True if the rule itself controls dictionaries.
    says_dictionary: bool,
    /// Number of passes that compare or copy each byte of a path.
    passes: usize,
}

impl Keeping {
    /// Prepares the rules.
    #[must_use]
    pub fn new(rules: &[HeaderRule]) -> Self {
        let mut numbers = FieldNumbers::default();
        let rule = |rule: &HeaderRule| {
            let changes = Changes::new(rule, &mut numbers);
            let says_dictionary = changes.name(&USE_AS_DICTIONARY);
            let changes = changes.of(&CACHE_CONTROL);
            let passes = rule.path.cost().saturating_add(changes.places());
            let says_any = says_dictionary || !changes.is_empty();
            says_any.then(|| Rule { path: rule.path.clone(), changes, says_dictionary, passes })
        };
        let rules: Vec<Rule> = rules.iter().filter_map(rule).collect();
        Self { index: PatternIndex::new(rules.iter().map(|rule| &rule.path)), rules }
    }

    /// Seconds for which the response at `path` may serve as a dictionary, on any host, given its `cache_control`
    /// without rules. Adds the cost to `compared`: one for each node of the index, each change, and each 16 bytes
    /// compared or copied.
    #[must_use]
    pub fn seconds(&self, path: &str, cache_control: &HeaderValue, compared: &mut usize) -> u64 {
        let mut numbers = Vec::new();
        let visited = self.index.visit(path, &mut |number| numbers.push(number));
        *compared = compared.saturating_add(visited);
        if numbers.is_empty() {
            return kept_seconds(cache_control.as_bytes());
        }
        numbers.sort_unstable();
        let (mut changes, mut removed, mut is_ours) = (FieldChanges::default(), Removed::default(), true);
        for rule in numbers.into_iter().filter_map(|number| at(&self.rules, number)) {
            *compared = compared.saturating_add(rule.looks(path));
            match PatternMatch::of(&rule.path, rule.changes.have_places(), "", path) {
                Some(mut taken) if !rule.says_dictionary => changes.add(&rule.changes, &mut taken, &mut removed),
                Some(_) => is_ours = false,
                // A rule for one host alone might apply to every host.
                None => is_ours &= !takes_somewhere(&rule.path, path),
            }
        }
        let mut headers = HeaderMap::from_iter([(CACHE_CONTROL, cache_control.clone())]);
        changes.apply(&mut headers);
        headers.get(CACHE_CONTROL).filter(|_| is_ours).map_or(0, |value| kept_seconds(value.as_bytes()))
    }
}

impl Rule {
    /// Maximum cost of the rule for `path`.
    fn looks(&self, path: &str) -> usize {
        let bytes = self.passes.saturating_mul(path.len());
        self.changes.len().max(1).saturating_add(bytes / BYTES_OF_A_LOOK)
    }
}
