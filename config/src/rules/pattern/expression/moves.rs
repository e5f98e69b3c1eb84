//! Transitions of an expression as rows of bits, with a bit for each place.

use std::ops::Range;

use super::{Capture, CharacterSet, Expression, Place, folded};
use crate::heap::{HeapBytes, allocated};

/// Number of places in a word.
pub(super) const WORD_BITS: usize = 64;
/// Maximum number of words: for the longest expression, with a place for each byte and a few more.
pub(super) const WORDS_MAX: usize = 9;

/// Set of places.
type Places = [u64; WORDS_MAX];

/// Transitions of an expression.
#[derive(Debug, Clone)]
pub(super) struct TransitionTable {
    /// Number of words of a set.
    words: usize,
    /// Class of each ASCII character.
    ascii: Box<[u16]>,
    /// Classes of other characters, in order. Unnamed characters are in class 0.
    others: Box<[(char, u16)]>,
    /// For each class, the places entered by its characters, then the places kept by its characters.
    by_class: Box<[u64]>,
    /// Places that skip one place, then places that skip two.
    skips: Box<[u64]>,
    /// Places at which a text may end.
    ends: Box<[u64]>,
    /// True if letters beyond ASCII are looked up by the letter that represents all cases.
    folds: bool,
}

impl TransitionTable {
    pub(super) fn new(expression: &Expression) -> Self {
        let (places, folds) = (&*expression.places, expression.folds);
        let words = expression.words();
        let named = places.iter().filter_map(|place| match place.enters {
            CharacterSet::Exactly(character) => Some(character),
            CharacterSet::Any | CharacterSet::ButDivider | CharacterSet::Nothing => None,
        });
        let dividers: &[char] = if expression.is_host { &['/', '.'] } else { &['/'] };
        let mut alphabet: Vec<char> = named.chain(dividers.iter().copied()).collect();
        alphabet.sort_unstable();
        alphabet.dedup();
        let class = |character: char| {
            let character = if folds { folded(character) } else { character };
            alphabet.binary_search(&character).map_or(0, |at| u16::try_from(at + 1).unwrap_or(0))
        };
        let by_class = std::iter::once(None).chain(alphabet.iter().copied().map(Some)).flat_map(|character| {
            let takes = |takes: CharacterSet| match (takes, character) {
                (CharacterSet::Any, _) | (CharacterSet::ButDivider, None) => true,
                (CharacterSet::ButDivider, Some(character)) => !dividers.contains(&character),
                (CharacterSet::Exactly(wanted), Some(character)) => wanted == character,
                (CharacterSet::Exactly(_), None) | (CharacterSet::Nothing, _) => false,
            };
            [set(words, places, |place| takes(place.enters)), set(words, places, |place| takes(place.stays))].concat()
        });
        let by_class = by_class.collect();
        let mut skips =
            [set(words, places, |place| place.skips == 1), set(words, places, |place| place.skips == 2)].concat();
        if skips.iter().all(|word| *word == 0) {
            skips.clear();
        }
        let others = alphabet.iter().filter(|character| !character.is_ascii());
        let mut moves = Self {
            words,
            ascii: (0..128_u8).map(|byte| class(char::from(byte))).collect(),
            others: others.map(|character| (*character, class(*character))).collect(),
            by_class,
            skips: skips.into(),
            ends: Box::default(),
            folds,
        };
        let mut ends = [0; WORDS_MAX];
        let last = places.len() - 1;
        for end in last.saturating_sub(usize::from(expression.has_free_end))..=last {
            put(&mut ends, end);
        }
        moves.skip_back(&mut ends);
        moves.ends = ends.into_iter().take(words).collect();
        moves
    }

    /// Returns true if the expression matches `text`.
    pub(super) fn take(&self, text: &str) -> bool {
        let mut reached = [0; WORDS_MAX];
        put(&mut reached, 0);
        self.skip(&mut reached);
        for character in text.chars() {
            let (enters, stays) = self.of(character);
            let (mut carried, mut any) = (0, 0);
            for ((word, enter), stay) in reached.iter_mut().zip(enters).zip(stays) {
                let shifted = (*word << 1) | carried;
                carried = *word >> (WORD_BITS - 1);
                *word = (shifted & enter) | (*word & stay);
                any |= *word;
            }
            if any == 0 {
                return false;
            }
            self.skip(&mut reached);
        }
        reached.iter().zip(&self.ends).any(|(word, ends)| word & ends != 0)
    }

    /// Returns the range of `text` for each of `captures`, if the expression matches. Of all possible matches, the
    /// first part is longest, then the second, and so on.
    pub(super) fn spans(&self, text: &str, captures: &[Capture]) -> Option<Vec<Range<usize>>> {
        let open = self.open(text);
        let mut walk = MatchPath { place: 0, spans: vec![0..0; captures.len()], captures, end: text.len() };
        let mut open = open.chunks_exact(self.words);
        if !has(open.next()?, 0) {
            return None;
        }
        walk.arrive(0, 0, 0);
        for ((at, character), open) in text.char_indices().zip(open) {
            let (enters, stays) = self.of(character);
            loop {
                if has(stays, walk.place) && has(open, walk.place) {
                    break;
                }
                let next = walk.place + 1;
                if has(enters, next) && has(open, next) {
                    walk.arrive(next, at, at + character.len_utf8());
                    break;
                }
                walk.arrive(walk.place + self.skipped(walk.place)?, at, at);
            }
        }
        Some(walk.spans)
    }

    /// Returns the places from which the rest of `text` matches, for the start and for the end of each character.
    fn open(&self, text: &str) -> Vec<u64> {
        let count = text.chars().count() + 1;
        let mut all = vec![0; count * self.words];
        let mut open = [0; WORDS_MAX];
        open.iter_mut().zip(&self.ends).for_each(|(word, ends)| *word = *ends);
        let mut sets = all.chunks_exact_mut(self.words).rev();
        if let Some(last) = sets.next() {
            last.copy_from_slice(&self.ends);
        }
        for (set, character) in sets.zip(text.chars().rev()) {
            let (enters, stays) = self.of(character);
            let mut carried = 0;
            for ((word, enter), stay) in open.iter_mut().zip(enters).zip(stays).rev() {
                let entered = *word & enter;
                *word = (entered >> 1) | carried | (*word & stay);
                carried = entered << (WORD_BITS - 1);
            }
            self.skip_back(&mut open);
            set.iter_mut().zip(&open).for_each(|(set, word)| *set = *word);
        }
        all
    }

    /// Returns the places entered by a character, and the places kept by a character.
    fn of(&self, character: char) -> (&[u64], &[u64]) {
        let character = match character {
            _ if !self.folds || character.is_ascii() => character,
            // The only letters whose other case is in ASCII (Unicode's CaseFolding.txt).
            '\u{17F}' => 's',
            '\u{212A}' => 'k',
            _ if self.others.is_empty() => character,
            _ => folded(character),
        };
        let class = match usize::try_from(u32::from(character)).ok().and_then(|code| self.ascii.get(code)) {
            Some(class) => *class,
            None => {
                let found = self.others.binary_search_by_key(&character, |(other, _)| *other);
                found.ok().and_then(|at| self.others.get(at)).map_or(0, |(_, class)| *class)
            }
        };
        let from = usize::from(class) * 2 * self.words;
        self.by_class
            .get(from..from + 2 * self.words)
            .and_then(|sets| sets.split_at_checked(self.words))
            .unwrap_or_default()
    }

    /// Returns the number of places skipped from a place; `None` if a character is required.
    fn skipped(&self, place: usize) -> Option<usize> {
        let (one, two) = self.skips.split_at_checked(self.words)?;
        if has(one, place) { Some(1) } else { has(two, place).then_some(2) }
    }

    /// Adds the places reached without a character. Skips are never chained.
    fn skip(&self, reached: &mut Places) {
        let Some((one, two)) = self.skips.split_at_checked(self.words) else { return };
        let (mut carried_one, mut carried_two) = (0, 0);
        for ((word, one), two) in reached.iter_mut().zip(one).zip(two) {
            let (from_one, from_two) = (*word & one, *word & two);
            *word |= (from_one << 1) | carried_one | (from_two << 2) | carried_two;
            carried_one = from_one >> (WORD_BITS - 1);
            carried_two = from_two >> (WORD_BITS - 2);
        }
    }

    /// Adds the places from which these places are reached without a character.
    fn skip_back(&self, reached: &mut Places) {
        let Some((one, two)) = self.skips.split_at_checked(self.words) else { return };
        let mut after = 0;
        for ((word, one), two) in reached.iter_mut().zip(one).zip(two).rev() {
            let own = *word;
            let by_one = (own >> 1) | (after << (WORD_BITS - 1));
            let by_two = (own >> 2) | (after << (WORD_BITS - 2));
            *word |= (by_one & one) | (by_two & two);
            after = own;
        }
    }
}

impl HeapBytes for TransitionTable {
    fn heap_bytes(&self) -> usize {
        let classes =
            allocated(size_of_val::<[u16]>(&self.ascii)) + allocated(size_of_val::<[(char, u16)]>(&self.others));
        let sets =
            [&self.by_class, &self.skips, &self.ends].into_iter().map(|set| allocated(size_of_val::<[u64]>(set)));
        classes + sets.sum::<usize>()
    }
}

/// Path of a text through the places.
struct MatchPath<'c> {
    place: usize,
    spans: Vec<Range<usize>>,
    captures: &'c [Capture],
    /// Length of the text.
    end: usize,
}

impl MatchPath<'_> {
    /// Moves to a place by the character from `before` to `after`.
    fn arrive(&mut self, place: usize, before: usize, after: usize) {
        if let Some((_, span)) = self.span_of(self.place) {
            span.end = before;
        }
        self.place = place;
        let end = self.end;
        if let Some((has_first, span)) = self.span_of(place) {
            *span = if has_first { before } else { after }..end;
        }
    }

    fn span_of(&mut self, place: usize) -> Option<(bool, &mut Range<usize>)> {
        let at = self.captures.binary_search_by_key(&place, |capture| capture.place).ok()?;
        Some((self.captures.get(at)?.has_first, self.spans.get_mut(at)?))
    }
}

/// Returns the set of places that satisfy `is_in`.
fn set(words: usize, places: &[Place], is_in: impl Fn(&Place) -> bool) -> Vec<u64> {
    let mut set = [0; WORDS_MAX];
    for (at, _) in places.iter().enumerate().filter(|(_, place)| is_in(place)) {
        put(&mut set, at);
    }
    set.into_iter().take(words).collect()
}

fn put(set: &mut Places, place: usize) {
    if let Some(word) = set.get_mut(place / WORD_BITS) {
        *word |= 1 << (place % WORD_BITS);
    }
}

fn has(set: &[u64], place: usize) -> bool {
    set.get(place / WORD_BITS).is_some_and(|word| word >> (place % WORD_BITS) & 1 == 1)
}
