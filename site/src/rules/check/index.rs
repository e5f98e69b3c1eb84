//! Finds the rules that may match a path, without a comparison with every rule.

use std::collections::HashMap;

use crate::rules::pattern::{Pattern, Segment};
use crate::rules::redirect::Redirect;

/// Maximum comparisons of all rules with each other: less than a second's work, and only generated rules need more.
const COMPARISONS_MAX: usize = 2_000_000;

/// The remaining budget of comparisons.
#[derive(Debug)]
pub(super) struct Budget {
    /// For rules of a single path, which are looked up: separate, since most rules are of the kind.
    exact: usize,
    /// For all other rules.
    others: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { exact: COMPARISONS_MAX, others: COMPARISONS_MAX }
    }
}

/// The rules by the first segments of their paths.
#[derive(Debug)]
pub(super) struct Index<'r> {
    rules: &'r [Redirect],
    /// Rules of a single path, by the path's segments.
    exact: HashMap<String, Vec<usize>>,
    /// Other rules with a text as first segment.
    first: HashMap<&'r str, Vec<usize>>,
    /// All other rules.
    rest: Vec<usize>,
}

impl<'r> Index<'r> {
    pub(super) fn new(rules: &'r [Redirect]) -> Self {
        let mut index = Self { rules, exact: HashMap::new(), first: HashMap::new(), rest: Vec::new() };
        for (at, rule) in rules.iter().enumerate() {
            if let Some(key) = static_key(&rule.from) {
                index.exact.entry(key).or_default().push(at);
            } else if let Some(text) = first_text(&rule.from) {
                index.first.entry(text).or_default().push(at);
            } else {
                index.rest.push(at);
            }
        }
        index
    }

    /// The first rule before `at` that satisfies `is_it`, among the rules that may match a path of `pattern`.
    pub(super) fn first_before(
        &self,
        at: usize,
        pattern: &Pattern,
        budget: &mut Budget,
        is_it: impl Fn(&Redirect) -> bool,
    ) -> Option<&'r Redirect> {
        let exact = static_key(pattern).and_then(|key| self.exact.get(&key));
        let first = first_text(pattern).and_then(|text| self.first.get(text));
        self.earliest([exact, first, Some(&self.rest)], at, budget, is_it).map(|(_, rule)| rule)
    }

    /// The first rule that satisfies `is_it`, among the rules that may match `path`.
    pub(super) fn first_of(
        &self,
        path: &str,
        budget: &mut Budget,
        is_it: impl Fn(&Redirect) -> bool,
    ) -> Option<(usize, &'r Redirect)> {
        let rest = path.strip_prefix('/').unwrap_or(path);
        let exact = self.exact.get(rest.trim_end_matches('/'));
        let first = self.first.get(rest.split('/').next().unwrap_or_default());
        self.earliest([exact, first, Some(&self.rest)], self.rules.len(), budget, is_it)
    }

    fn earliest(
        &self,
        lists: [Option<&Vec<usize>>; 3],
        before: usize,
        budget: &mut Budget,
        is_it: impl Fn(&Redirect) -> bool,
    ) -> Option<(usize, &'r Redirect)> {
        let mut found: Option<(usize, &'r Redirect)> = None;
        for (list, is_exact) in lists.into_iter().zip([true, false, false]) {
            let left = if is_exact { &mut budget.exact } else { &mut budget.others };
            let before = found.map_or(before, |(at, _)| at);
            for at in list.into_iter().flatten().copied().take_while(|at| *at < before) {
                if *left == 0 {
                    break;
                }
                *left -= 1;
                if let Some(rule) = self.rules.get(at).filter(|rule| is_it(rule)) {
                    found = Some((at, rule));
                    break;
                }
            }
        }
        found
    }
}

/// The key of a pattern for a single path; without a final slash, which some patterns ignore.
fn static_key(pattern: &Pattern) -> Option<String> {
    if !pattern.is_static() {
        return None;
    }
    let texts = pattern.steps().0.iter().filter_map(|segment| match segment {
        Segment::Text(text) => Some(&**text),
        Segment::Name(_) => None,
    });
    Some(texts.collect::<Vec<_>>().join("/").trim_end_matches('/').to_owned())
}

fn first_text(pattern: &Pattern) -> Option<&str> {
    match pattern.steps().0.first() {
        Some(Segment::Text(text)) => Some(text),
        Some(Segment::Name(_)) | None => None,
    }
}
