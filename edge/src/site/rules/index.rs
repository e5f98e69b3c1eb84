//! Finds the rules whose patterns may match a path: a tree of segments, so that a thousand rules cost what ten do.

use std::collections::HashMap;

use devanture_config::rules::Pattern;
use devanture_config::rules::pattern::{Ending, Segment};

/// Rules by the segments of their patterns. Each pattern has its place in the list it was made of as its number.
#[derive(Debug, Default)]
pub(super) struct PatternIndex {
    /// Patterns that ignore a final slash.
    tolerant: Tree,
    /// Patterns for which it matters: their last segment is then empty.
    exact: Tree,
    /// Patterns that ignore a final slash and the case of letters.
    folded: Tree,
}

/// Nodes by number; the first is the root.
#[derive(Debug, Default)]
struct Tree(Vec<Node>);

/// What is known after the segments that lead here.
#[derive(Debug, Default)]
struct Node {
    texts: HashMap<Box<str>, usize>,
    name: Option<usize>,
    /// Patterns that end here.
    ends: Vec<u32>,
    /// Patterns that take what follows, if only a slash does.
    below: Vec<u32>,
    /// Patterns that take what follows, if anything does, and expressions that begin so.
    any: Vec<u32>,
}

impl PatternIndex {
    /// Makes an index.
    pub(super) fn new<'p>(patterns: impl IntoIterator<Item = &'p Pattern>) -> Self {
        let mut index = Self::default();
        for (number, pattern) in (0..).zip(patterns) {
            let (segments, ending) = pattern.steps();
            let tree = match (pattern.folds(), pattern.is_tolerant()) {
                (true, _) => &mut index.folded,
                (false, true) => &mut index.tolerant,
                (false, false) => &mut index.exact,
            };
            tree.insert(segments, ending, number);
        }
        index
    }

    /// Calls `found` with the number of every pattern that may match `path`, in no order; the pattern itself has the
    /// last word.
    pub(super) fn visit(&self, path: &str, found: &mut dyn FnMut(u32)) {
        let Some(rest) = path.strip_prefix('/') else { return };
        self.exact.visit(0, Some(rest), found);
        let rest = match rest.strip_suffix('/') {
            Some(short) if !short.is_empty() => short,
            _ => rest,
        };
        self.tolerant.visit(0, Some(rest), found);
        if self.folded.0.is_empty() {
            return;
        }
        match rest.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => self.folded.visit(0, Some(&rest.to_ascii_lowercase()), found),
            false => self.folded.visit(0, Some(rest), found),
        }
    }
}

impl Tree {
    fn insert(&mut self, segments: &[Segment], ending: Ending, number: u32) {
        let mut at = self.add_node_if_empty();
        for segment in segments {
            let next = self.0.len();
            let Some(node) = self.0.get_mut(at) else { return };
            let child = match segment {
                Segment::Text(text) => *node.texts.entry(text.as_str().into()).or_insert(next),
                Segment::Name(_) => *node.name.get_or_insert(next),
            };
            if child == next {
                self.0.push(Node::default());
            }
            at = child;
        }
        let Some(node) = self.0.get_mut(at) else { return };
        match ending {
            Ending::Below => node.below.push(number),
            Ending::BelowOrSelf | Ending::Expression => node.any.push(number),
            Ending::Exact => node.ends.push(number),
        }
    }

    fn add_node_if_empty(&mut self) -> usize {
        if self.0.is_empty() {
            self.0.push(Node::default());
        }
        0
    }

    /// `rest` is what follows the segments that led to the node, without the slash before it; nothing where the path
    /// ended.
    fn visit(&self, at: usize, rest: Option<&str>, found: &mut dyn FnMut(u32)) {
        let Some(node) = self.0.get(at) else { return };
        node.any.iter().copied().for_each(&mut *found);
        let Some(rest) = rest else {
            node.ends.iter().copied().for_each(found);
            return;
        };
        node.below.iter().copied().for_each(&mut *found);
        let (segment, rest) = match rest.split_once('/') {
            Some((segment, rest)) => (segment, Some(rest)),
            None => (rest, None),
        };
        if let Some(child) = node.texts.get(segment) {
            self.visit(*child, rest, found);
        }
        if let (Some(child), false) = (node.name, segment.is_empty()) {
            self.visit(child, rest, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use devanture_config::rules::pattern::Dialect;
    use proptest::prelude::*;

    fn pattern(text: &str, dialect: Dialect) -> Pattern {
        Pattern::parse(text, dialect).unwrap()
    }

    fn candidates(patterns: &[Pattern], path: &str) -> Vec<u32> {
        let mut found = Vec::new();
        PatternIndex::new(patterns).visit(path, &mut |number| found.push(number));
        found.sort_unstable();
        found
    }

    #[test]
    fn only_patterns_that_share_the_segments_are_looked_at() {
        let patterns: Vec<Pattern> = ["/a", "/a/*", "/:x/b", "/*", "/c/d"].map(|t| pattern(t, Dialect::Netlify)).into();
        assert_eq!(candidates(&patterns, "/a"), [0, 1, 3]);
        assert_eq!(candidates(&patterns, "/a/b/"), [1, 2, 3]);
        assert_eq!(candidates(&patterns, "/c/d"), [3, 4]);
        assert_eq!(candidates(&patterns, "/"), [3]);
    }

    proptest! {
        #[test]
        fn whatever_matches_is_found(
            texts in proptest::collection::vec(("(/(a|b|:x|c\\*|\\*|a:y)){0,4}/?", 0..3_usize), 1..12),
            path in "(/(a|b|ca|c)){0,4}/?",
        ) {
            let dialects = [Dialect::Cloudflare, Dialect::Netlify, Dialect::NetlifyHeaders];
            let patterns: Vec<Pattern> =
                texts.iter().map(|(t, d)| pattern(&format!("/{}", t.trim_start_matches('/')), dialects[*d])).collect();
            let path = format!("/{}", path.trim_start_matches('/'));
            let found = candidates(&patterns, &path);
            for (number, pattern) in patterns.iter().enumerate() {
                let matches = pattern.matches("h", &path).is_some();
                prop_assert!(!matches || found.contains(&u32::try_from(number).unwrap()), "{pattern} {path}");
            }
        }
    }
}
