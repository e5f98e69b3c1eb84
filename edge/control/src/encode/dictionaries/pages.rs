//! Dictionary shared by the pages of a site: pieces common to several pages. Pure.
//!
//! Every run of [`WINDOW`] bytes is searched in every page; consecutive runs found in two or more pages form a piece.
//! The most common pieces come last, where encoders reach them by the shortest distances.

use std::collections::{HashMap, HashSet};

/// Largest shared dictionary, in bytes.
pub(super) const SHARED_BYTES_MAX: usize = 64 * 1024;
/// Smallest shared dictionary worth its own request.
const SHARED_BYTES_MIN: usize = 1_024;
/// Pages examined, and …
pub(super) const PAGES_MAX: usize = 32;
/// … bytes of each: most common content is at the beginning.
const PAGE_BYTES_MAX: usize = 32 * 1024;
/// Bytes per compared run: shorter runs save little more than their reference costs.
const WINDOW: usize = 24;
/// Repeated bytes that do not end a piece.
const REPEATED_MAX: usize = 128;
/// Factor of the rolling hash: odd, without a pattern.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
/// Assumed page views while the dictionary is cached.
const PAGES_VISITED: u64 = 4;

/// Piece common to several pages.
struct Piece<'p> {
    bytes: &'p [u8],
    /// Sum over all its runs of their numbers of pages.
    seen: u64,
    runs: u64,
}

impl Piece<'_> {
    /// Returns the average number of pages, in hundredths: the value of each byte.
    fn worth(&self) -> u64 {
        self.seen.saturating_mul(100) / self.runs.max(1)
    }
}

/// Returns the dictionary of the pages; `None` with too little in common. Deterministic for equal pages in equal order.
pub(super) fn shared(pages: &[impl AsRef<[u8]>]) -> Option<Vec<u8>> {
    let pages: Vec<&[u8]> = pages.iter().take(PAGES_MAX).map(|page| beginning(page.as_ref())).collect();
    let mut seen: HashMap<u64, (u32, usize)> = HashMap::new();
    for (number, page) in pages.iter().enumerate() {
        for (_, run) in runs(page) {
            let (count, last) = seen.entry(run).or_insert((0, usize::MAX));
            if *last != number {
                (*count, *last) = (count.saturating_add(1), number);
            }
        }
    }
    let mut taken: HashSet<u64> = HashSet::new();
    let mut pieces = Vec::new();
    for page in &pages {
        let mut open: Option<(usize, usize, u64, u64)> = None;
        for (start, run) in runs(page) {
            let count = seen.get(&run).map_or(0, |(count, _)| *count);
            let is_new = count > 1 && taken.insert(run);
            // Short repetitions, for example a frequent tag, are skipped within a piece.
            let goes_on = |last: usize| count > 1 && start.saturating_sub(last) <= REPEATED_MAX;
            open = match (open, is_new) {
                (Some((from, _, sum, runs)), true) => Some((from, start, sum + u64::from(count), runs + 1)),
                (None, true) => Some((start, start, u64::from(count), 1)),
                (Some(piece), false) if goes_on(piece.1) => Some(piece),
                (Some(piece), false) => {
                    pieces.extend(closed(page, piece));
                    None
                }
                (None, false) => None,
            };
        }
        pieces.extend(open.and_then(|piece| closed(page, piece)));
    }
    // Stable: pieces of equal worth stay in the order of the pages.
    pieces.sort_by_key(|piece| std::cmp::Reverse(piece.worth()));
    let mut left = SHARED_BYTES_MAX;
    pieces.retain(|piece| match left.checked_sub(piece.bytes.len()) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    });
    let dictionary: Vec<u8> = pieces.iter().rev().flat_map(|piece| piece.bytes).copied().collect();
    (dictionary.len() >= SHARED_BYTES_MIN).then_some(dictionary)
}

/// Returns true if a dictionary pays: fetched once, with savings on each viewed page.
pub(super) const fn pays(saved: u64, pages: u64, dictionary: u64) -> bool {
    pages > 0 && (saved / pages).saturating_mul(PAGES_VISITED) > dictionary
}

/// Returns the examined bytes of a page.
pub(super) fn beginning(page: &[u8]) -> &[u8] {
    page.get(..PAGE_BYTES_MAX).unwrap_or(page)
}

fn closed<'p>(page: &'p [u8], (from, last, seen, runs): (usize, usize, u64, u64)) -> Option<Piece<'p>> {
    Some(Piece { bytes: page.get(from..last + WINDOW)?, seen, runs })
}

/// Returns the start and hash of each run of a page.
fn runs(page: &[u8]) -> impl Iterator<Item = (usize, u64)> {
    let leaving = (1..WINDOW).fold(1_u64, |power, _| power.wrapping_mul(FACTOR));
    let add = |hash: u64, byte: u8| hash.wrapping_mul(FACTOR).wrapping_add(u64::from(byte) + 1);
    let first = page.get(..WINDOW).map(|window| window.iter().fold(0, |hash, byte| add(hash, *byte)));
    let rest = page.iter().zip(page.get(WINDOW..).unwrap_or_default());
    let rolled = rest.scan(first, move |hash, (out, into)| {
        let without = (*hash)?.wrapping_sub((u64::from(*out) + 1).wrapping_mul(leaving));
        *hash = Some(add(without, *into));
        *hash
    });
    first.into_iter().chain(rolled).enumerate()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn contains(text: &[u8], part: &[u8]) -> bool {
        text.windows(part.len()).any(|window| window == part)
    }

    /// Text without repetitions.
    fn unlike(seed: u64, length: usize) -> String {
        let mut state = seed.wrapping_mul(FACTOR) | 1;
        let mut text = String::new();
        while text.len() < length {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            text.push_str(&format!("{state:x}"));
        }
        text
    }

    #[test]
    fn what_pages_have_in_common_is_in_it_once_and_nothing_else() {
        let (head, foot) = (unlike(1, 3_000), unlike(2, 1_000));
        let page = |number: u64| format!("{head}{}{foot}", unlike(number, 2_000));
        let dictionary = shared(&[page(11), page(12), page(13)]).unwrap();
        assert!(contains(&dictionary, head.as_bytes()) && contains(&dictionary, foot.as_bytes()));
        assert!(dictionary.len() < 4_000 + 4 * WINDOW, "{}", dictionary.len());
        assert_eq!(shared(&[page(11)]), None);
        assert_eq!(shared(&[unlike(1, 5_000), unlike(2, 5_000)]), None);
        assert_eq!(shared(&[""; 0]), None);
        assert_eq!(shared(&["short", "short"]), None);
    }

    #[test]
    fn what_most_pages_have_comes_last_and_first_has_room() {
        let (all, two) = (unlike(1, 20_000), unlike(2, 3_000));
        let pages = [format!("{two}{all}"), format!("{two}{all}"), all.clone()];
        let dictionary = shared(&pages).unwrap();
        assert!(dictionary.ends_with(all.as_bytes()));
        assert!(contains(&dictionary, &two.as_bytes()[..2_000]));
    }

    #[test]
    fn it_pays_where_four_pages_save_more_than_it_costs() {
        assert!(pays(40_000, 10, 15_999) && !pays(40_000, 10, 16_000) && !pays(0, 0, 0));
    }

    proptest! {
        /// For any pages: bounded, deterministic, and made of bytes common to two pages.
        #[test]
        fn it_is_of_what_two_pages_have(
            common in "[a-f]{600,1500}",
            others in proptest::collection::vec("[a-z ]{0,200}", 2..6),
        ) {
            let pages: Vec<String> = others.iter().map(|own| format!("{own}{common}{own}")).collect();
            let dictionary = shared(&pages);
            prop_assert_eq!(&dictionary, &shared(&pages));
            prop_assert!(dictionary.as_ref().is_none_or(|all| (SHARED_BYTES_MIN..=SHARED_BYTES_MAX).contains(&all.len())));
            // Every byte of a piece occurs in two pages.
            let letters: HashSet<u8> = pages.iter().flat_map(|page| page.bytes()).collect();
            prop_assert!(dictionary.iter().flatten().all(|byte| letters.contains(byte)));
        }
    }
}
