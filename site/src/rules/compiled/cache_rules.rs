//! For how long the rules of a site have browsers keep what is answered at a path, and nothing else that they say.

use devanture_config::rules::{HeaderRule, Pattern};
use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::at;
use super::fields::{Changes, FieldChanges, FieldNumbers, Removed};
use super::index::PatternIndex;
use crate::dictionary::kept_seconds;

/// Fields that a rule controls alone: the edge then neither sets them nor relies on them.
const USE_AS_DICTIONARY: HeaderName = HeaderName::from_static("use-as-dictionary");

/// The rules that say something of `Cache-Control`, or of what is a dictionary. That an answer leaves out what would
/// make its head too long is not foreseen: then it is no dictionary after all.
#[derive(Debug, Default)]
pub struct Keeping {
    rules: Vec<Rule>,
    index: PatternIndex,
}

#[derive(Debug)]
struct Rule {
    path: Pattern,
    /// Of `Cache-Control` alone.
    changes: Changes,
    /// Whether it says itself what is a dictionary.
    says_dictionary: bool,
}

impl Keeping {
    /// Makes them ready.
    #[must_use]
    pub fn new(rules: &[HeaderRule]) -> Self {
        let mut numbers = FieldNumbers::default();
        let rule = |rule: &HeaderRule| {
            let changes = Changes::new(rule, &mut numbers);
            let says_dictionary = changes.name(&USE_AS_DICTIONARY);
            let changes = changes.of(&CACHE_CONTROL);
            (says_dictionary || !changes.is_empty()).then(|| Rule { path: rule.path.clone(), changes, says_dictionary })
        };
        let rules: Vec<Rule> = rules.iter().filter_map(rule).collect();
        Self { index: PatternIndex::new(rules.iter().map(|rule| &rule.path)), rules }
    }

    /// For how many seconds what is answered at `path` may serve as a dictionary, on any host, where it says
    /// `cache_control` without rules. Adds to `compared` what was looked at for it.
    #[must_use]
    pub fn seconds(&self, path: &str, cache_control: &HeaderValue, compared: &mut usize) -> u64 {
        let mut numbers = Vec::new();
        self.index.visit(path, &mut |number| numbers.push(number));
        if numbers.is_empty() {
            return kept_seconds(cache_control.as_bytes());
        }
        numbers.sort_unstable();
        let (mut changes, mut removed, mut is_ours) = (FieldChanges::default(), Removed::default(), true);
        for rule in numbers.into_iter().filter_map(|number| at(&self.rules, number)) {
            *compared = compared.saturating_add(rule.changes.len().max(1));
            match rule.path.matches("", path) {
                Some(captures) if !rule.says_dictionary => changes.add(&rule.changes, &captures, &mut removed),
                Some(_) => is_ours = false,
                // What one host alone says is in doubt said by all.
                None => is_ours &= !rule.path.takes(path),
            }
        }
        let mut headers = HeaderMap::from_iter([(CACHE_CONTROL, cache_control.clone())]);
        changes.apply(&mut headers);
        headers.get(CACHE_CONTROL).filter(|_| is_ours).map_or(0, |value| kept_seconds(value.as_bytes()))
    }
}
