//! Finds the rules whose patterns may match a path: a tree of segments, so that a thousand rules cost as much as ten.

use std::collections::{BTreeMap, VecDeque};

use devanture_config::heap::{HeapBytes, allocated};
use devanture_config::rules::Pattern;
use devanture_config::rules::pattern::{Ending, Segment};

/// Rules by the segments of their patterns. The number of a pattern is its position in the input list.
#[derive(Debug, Default)]
pub(super) struct PatternIndex {
    /// Patterns that ignore a final slash.
    tolerant: Tree,
    /// Patterns with a significant final slash, whose last segment is then empty.
    exact: Tree,
    /// Patterns that ignore a final slash and the case of letters.
    folded: Tree,
}

/// A tree of segments, stored in four arrays: with a hash table in each node, the index of ten thousand rules took more
/// memory than the rules. The first node is the root.
#[derive(Debug, Default)]
struct Tree {
    nodes: Box<[Node]>,
    /// The edges of all nodes, grouped by node and sorted by text within each.
    edges: Box<[Edge]>,
    /// The texts of all edges.
    texts: Box<str>,
    /// The numbers of patterns, grouped by node.
    numbers: Box<[u32]>,
}

/// The patterns that share the segments up to the node. Each list of numbers starts at the end of the previous list.
#[derive(Debug, Clone, Copy)]
struct Node {
    edges: (u32, u32),
    /// The node after a placeholder.
    name: Option<u32>,
    /// Start of the numbers of patterns that end here.
    ends: u32,
    /// Start of the numbers of patterns that match every path below, at least a slash.
    below: u32,
    /// Start of the numbers of patterns that match the node and every path below, and of expressions with the prefix.
    any: u32,
    end: u32,
}

#[derive(Debug, Clone, Copy)]
struct Edge {
    /// The range of the text.
    text: (u32, u32),
    node: u32,
}

/// A pattern to insert into a tree.
type Item<'p> = (&'p [Segment], Ending, u32);

impl PatternIndex {
    /// Makes an index.
    pub(super) fn new<'p>(patterns: impl IntoIterator<Item = &'p Pattern>) -> Self {
        let [mut tolerant, mut exact, mut folded] = [const { Vec::new() }; 3];
        for (number, pattern) in (0..).zip(patterns) {
            let (segments, ending) = pattern.steps();
            let items = match (pattern.folds(), pattern.is_tolerant()) {
                (true, _) => &mut folded,
                (false, true) => &mut tolerant,
                (false, false) => &mut exact,
            };
            items.push((segments, ending, number));
        }
        Self { tolerant: Tree::new(tolerant), exact: Tree::new(exact), folded: Tree::new(folded) }
    }

    /// Calls `found` with the number of every pattern that may match `path`, in no order, and returns the number of
    /// visited nodes. Patterns of whole segments do match, on their hosts; patterns of partial segments must still be
    /// compared.
    pub(super) fn visit(&self, path: &str, found: &mut dyn FnMut(u32)) -> usize {
        let Some(rest) = path.strip_prefix('/') else { return 0 };
        let exact = self.exact.visit(rest, found);
        let rest = match rest.strip_suffix('/') {
            Some(short) if !short.is_empty() => short,
            _ => rest,
        };
        let tolerant = self.tolerant.visit(rest, found);
        let has_capitals = || rest.bytes().any(|byte| byte.is_ascii_uppercase());
        let folded = match self.folded.nodes.is_empty() {
            true => 0,
            false if has_capitals() => self.folded.visit(&rest.to_ascii_lowercase(), found),
            false => self.folded.visit(rest, found),
        };
        exact.saturating_add(tolerant).saturating_add(folded)
    }
}

impl Tree {
    fn new(items: Vec<Item<'_>>) -> Self {
        if items.is_empty() {
            return Self::default();
        }
        let (mut nodes, mut edges, mut texts, mut numbers) = (Vec::new(), Vec::new(), String::new(), Vec::new());
        // Breadth first: the nodes of a level get consecutive numbers, and long patterns need no recursion.
        let mut waiting = VecDeque::from([(items, 0_usize)]);
        while let Some((items, depth)) = waiting.pop_front() {
            let [mut ends, mut below, mut any] = [const { Vec::new() }; 3];
            let (mut by_text, mut named): (BTreeMap<&str, Vec<Item<'_>>>, Vec<Item<'_>>) = Default::default();
            for item @ (segments, ending, number) in items {
                match (segments.get(depth), ending) {
                    (Some(Segment::Text(text)), _) => by_text.entry(text).or_default().push(item),
                    (Some(Segment::Name(_)), _) => named.push(item),
                    (None, Ending::Below) => below.push(number),
                    (None, Ending::BelowOrSelf | Ending::Expression) => any.push(number),
                    (None, Ending::Exact) => ends.push(number),
                }
            }
            // After the present node and all queued nodes.
            let mut child = count(nodes.len() + 1 + waiting.len());
            let first_edge = count(edges.len());
            for (text, items) in by_text {
                let from = count(texts.len());
                texts.push_str(text);
                edges.push(Edge { text: (from, count(texts.len())), node: child });
                waiting.push_back((items, depth + 1));
                child = child.saturating_add(1);
            }
            let name = (!named.is_empty()).then_some(child);
            if name.is_some() {
                waiting.push_back((named, depth + 1));
            }
            let first = numbers.len();
            let (ends_at, below_at) = (first + ends.len(), first + ends.len() + below.len());
            numbers.extend(ends.into_iter().chain(below).chain(any));
            nodes.push(Node {
                edges: (first_edge, count(edges.len())),
                name,
                ends: count(first),
                below: count(ends_at),
                any: count(below_at),
                end: count(numbers.len()),
            });
        }
        Self { nodes: nodes.into(), edges: edges.into(), texts: texts.into(), numbers: numbers.into() }
    }

    /// Visits the nodes that the segments of a path, without its first slash, lead to, and returns their number. The
    /// end of a segment is found once for all nodes of its level: nodes may be thousands, and segments long.
    fn visit(&self, path: &str, found: &mut dyn FnMut(u32)) -> usize {
        if self.nodes.is_empty() {
            return 0;
        }
        let (mut level, mut next, mut visited) = (vec![0], Vec::new(), 0_usize);
        // `None` behind the last segment.
        let mut rest = Some(path);
        while !level.is_empty() {
            let segment = rest.map(|path| path.split_once('/').map_or(path, |(segment, _)| segment));
            rest = rest.and_then(|path| path.split_once('/')).map(|(_, rest)| rest);
            for at in level.drain(..) {
                visited = visited.saturating_add(1);
                self.look(at, segment, &mut next, found);
            }
            std::mem::swap(&mut level, &mut next);
        }
        visited
    }

    /// Visits one node, and adds the nodes that `segment` leads to, `None` at the end, to `next`.
    fn look(&self, at: u32, segment: Option<&str>, next: &mut Vec<u32>, found: &mut dyn FnMut(u32)) {
        let Some(node) = super::at(&self.nodes, at) else { return };
        self.numbers(node.any, node.end).iter().copied().for_each(&mut *found);
        let Some(segment) = segment else {
            self.numbers(node.ends, node.below).iter().copied().for_each(found);
            return;
        };
        self.numbers(node.below, node.any).iter().copied().for_each(&mut *found);
        let edges = part(&self.edges, node.edges);
        if let Ok(found_at) = edges.binary_search_by(|edge| self.text(edge).cmp(segment))
            && let Some(edge) = edges.get(found_at)
        {
            next.push(edge.node);
        }
        next.extend(node.name.filter(|_| !segment.is_empty()));
    }

    fn numbers(&self, from: u32, to: u32) -> &[u32] {
        part(&self.numbers, (from, to))
    }

    fn text(&self, edge: &Edge) -> &str {
        let at = |place: u32| usize::try_from(place).unwrap_or(usize::MAX);
        self.texts.get(at(edge.text.0)..at(edge.text.1)).unwrap_or_default()
    }
}

impl HeapBytes for PatternIndex {
    fn heap_bytes(&self) -> usize {
        [&self.tolerant, &self.exact, &self.folded].into_iter().map(HeapBytes::heap_bytes).sum()
    }
}

impl HeapBytes for Tree {
    fn heap_bytes(&self) -> usize {
        let (nodes, edges) = (size_of_val::<[Node]>(&self.nodes), size_of_val::<[Edge]>(&self.edges));
        allocated(nodes) + allocated(edges) + self.texts.heap_bytes() + self.numbers.heap_bytes()
    }
}

/// An index into an array. `rules_max` and the longest pattern keep every index within 32 bits.
fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn part<T>(list: &[T], (from, to): (u32, u32)) -> &[T] {
    let at = |place: u32| usize::try_from(place).unwrap_or(usize::MAX);
    list.get(at(from)..at(to)).unwrap_or_default()
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

    #[test]
    fn each_node_is_looked_at_once() {
        // Both ways lead to each of the last nodes.
        let texts = (0..64_u8).map(|number| {
            let segment = |bit: u8| if number >> bit & 1 == 1 { "/a" } else { "/:x" };
            (0..6).map(segment).collect::<String>()
        });
        let patterns: Vec<Pattern> = texts.map(|text| pattern(&text, Dialect::Netlify)).collect();
        let mut found = Vec::new();
        let visited = PatternIndex::new(&patterns).visit(&"/a".repeat(6), &mut |number| found.push(number));
        assert_eq!((visited, found.len()), (127, 64));
    }

    proptest! {
        #[test]
        fn whatever_matches_is_found_and_of_whole_segments_nothing_else(
            texts in proptest::collection::vec(("(/(a|b|:x|c\\*|\\*|a:y)){0,4}/?", 0..3_usize), 1..12),
            path in "(/(a|A|b|ca|c)){0,4}/?",
        ) {
            let dialects = [Dialect::Cloudflare, Dialect::Netlify, Dialect::NetlifyHeaders];
            let patterns =
                texts.iter().map(|(t, d)| pattern(&format!("/{}", t.trim_start_matches('/')), dialects[*d]));
            let patterns: Vec<Pattern> = patterns.flat_map(|pattern| [pattern.widened(), pattern]).collect();
            let path = format!("/{}", path.trim_start_matches('/'));
            let found = candidates(&patterns, &path);
            for (number, pattern) in patterns.iter().enumerate() {
                let matches = pattern.matches("h", &path).is_some();
                let is_found = found.contains(&u32::try_from(number).unwrap());
                prop_assert!(is_found || !matches, "{pattern} {path}");
                prop_assert!(matches || !is_found || pattern.takes_parts(), "{pattern} {path}");
            }
        }
    }
}
