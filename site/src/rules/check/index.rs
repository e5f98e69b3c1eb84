//! Finds the rules that may match a path, without asking all of them.

use std::collections::HashMap;

use crate::rules::pattern::{Pattern, Segment};
use crate::rules::redirect::Redirect;

/// Most comparisons of all rules with all others: less than a second's work, for rules that nobody writes by hand.
const COMPARISONS_MAX: usize = 2_000_000;

/// The remaining budget of comparisons.
#[derive(Debug)]
pub(super) struct Budget {
    /// With rules for one path alone, which are looked up: never spent on others, since most rules are such.
    exact: usize,
    /// With all others.
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
    /// Rules for one path alone, by that path's segments.
    exact: HashMap<String, Vec<usize>>,
    /// Others whose first segment is a text.
    first: HashMap<&'r str, Vec<usize>>,
    /// All others.
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

    /// The first rule before `at` of which `is_it` holds, among those that may match what `pattern` matches.
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

    /// The first rule of which `is_it` holds, among those that may match `path`.
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

/// The key of a pattern for a single path; a final slash does not count, as some ignore it.
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
