//! Patterns with `*` or `:name` as part of a segment or host: a row of places, with transitions between them.
//!
//! All places reached by a text so far are stored as bits, and each character moves all places at once: the time grows
//! with the length of the text times the places divided by 64, independent of the content. Captures take one further
//! pass, backwards, for any number of names. No state outlives a text, so threads have no caches.

mod moves;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;

use super::{
    BadPattern, Captures, Dialect, EXPRESSION_BYTES_MAX, EXPRESSION_STARS_MAX, SPLAT, decoded, is_name, next_name,
};
use crate::heap::{HeapBytes, allocated};
use moves::{TransitionTable, WORD_BITS, WORDS_MAX};

/// Cost of the lookup of the other case of a letter beyond ASCII, compared with a word of places.
const FOREIGN_COST: usize = 16;

/// Pattern; the matcher is made at its first use, since rules beyond a limit are never used.
#[derive(Debug, Clone)]
pub(super) struct Expression {
    places: Box<[Place]>,
    /// Captures, in the order of their places.
    captures: Box<[Capture]>,
    /// True if the last place, a final slash, is optional.
    has_free_end: bool,
    is_host: bool,
    folds: bool,
    moves: OnceLock<TransitionTable>,
}

/// Place of a pattern.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Characters that lead here from the previous place.
    enters: CharacterSet,
    /// Characters that stay here.
    stays: CharacterSet,
    /// Number of places skipped without a character; 0 for none.
    skips: u8,
}

/// A set of characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CharacterSet {
    Any,
    /// All characters except a slash, or in a host a dot.
    ButDivider,
    Exactly(char),
    Nothing,
}

/// Named capture: the characters that stay at a place.
#[derive(Debug, Clone)]
struct Capture {
    name: Box<str>,
    place: usize,
    /// True to include the character that leads to the place.
    has_first: bool,
}

impl Expression {
    /// Makes an expression for the rest of a path, from a slash on; `path` is the whole path.
    pub(super) fn of_path(path: &str, rest: &str, dialect: Dialect) -> Result<Self, BadPattern> {
        let mut row = Row::new(dialect == Dialect::NetlifyHeaders);
        match dialect {
            Dialect::Cloudflare => row.cloudflare(rest)?,
            Dialect::Netlify => row.netlify_redirect(rest)?,
            Dialect::NetlifyHeaders => row.netlify_headers(rest)?,
        }
        row.made(path, false)
    }

    /// Makes an expression for a host, in which a name matches one label.
    pub(super) fn of_host(host: &str) -> Result<Self, BadPattern> {
        let mut row = Row::new(true);
        row.cloudflare(host)?;
        row.made(host, true)
    }

    /// Iterates over the names of captures.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.captures.iter().map(|capture| &*capture.name)
    }

    /// Returns the cost for each character of a text: one, and one for each word of places; more if letters beyond
    /// ASCII are looked up for their other case.
    pub(super) fn cost(&self) -> usize {
        let is_foreign =
            |place: &Place| matches!(place.enters, CharacterSet::Exactly(character) if !character.is_ascii());
        let of_letters = if self.folds && self.places.iter().any(is_foreign) { FOREIGN_COST } else { 0 };
        1 + self.words() + of_letters
    }

    fn words(&self) -> usize {
        self.places.len().div_ceil(WORD_BITS)
    }

    /// Adds the captures of `text`, if requested; `None` without a match.
    pub(super) fn capture<'a>(&'a self, text: &'a str, captures: Option<&mut Captures<'a>>) -> Option<()> {
        let moves = self.moves();
        match captures.filter(|_| !self.captures.is_empty()) {
            None => moves.take(text).then_some(()),
            Some(captures) => {
                let spans = moves.spans(text, &self.captures)?;
                let values = spans.into_iter().map(|span| text.get(span).unwrap_or_default());
                captures.extend(self.names().zip(values));
                Some(())
            }
        }
    }

    fn moves(&self) -> &TransitionTable {
        self.moves.get_or_init(|| TransitionTable::new(self))
    }
}

impl HeapBytes for Expression {
    fn heap_bytes(&self) -> usize {
        let places = allocated(size_of_val::<[Place]>(&self.places));
        places + self.captures.heap_bytes() + self.moves().heap_bytes()
    }
}

impl HeapBytes for Capture {
    fn heap_bytes(&self) -> usize {
        self.name.heap_bytes()
    }
}

/// Returns the letter that represents all letters equal to `character` except for case.
fn folded(character: char) -> char {
    if character.is_ascii() {
        return character.to_ascii_lowercase();
    }
    // The capital letter is the capital of `i`, whose small letter differs.
    if character == '\u{131}' {
        return character;
    }
    let upper = only(character.to_uppercase()).unwrap_or(character);
    only(upper.to_lowercase()).unwrap_or(character)
}

fn only(mut characters: impl Iterator<Item = char>) -> Option<char> {
    let first = characters.next()?;
    characters.next().is_none().then_some(first)
}

/// Pattern during parsing.
struct Row {
    places: Vec<Place>,
    captures: Vec<Capture>,
    has_free_end: bool,
    folds: bool,
}

impl Row {
    fn new(folds: bool) -> Self {
        let start = Place { enters: CharacterSet::Nothing, stays: CharacterSet::Nothing, skips: 0 };
        Self { places: vec![start], captures: Vec::new(), has_free_end: false, folds }
    }

    /// Parses Netlify's form of a redirect: a segment `*` is optional, and so is a final slash, which is part of a
    /// star's match if a star precedes. A star is special at the end of its segment alone, and a slash right after its
    /// text is not part of the match.
    fn netlify_redirect(&mut self, path: &str) -> Result<(), BadPattern> {
        let mut ends_with_star = false;
        for segment in path.strip_prefix('/').unwrap_or(path).split('/') {
            let is_star = segment == "*";
            let name = segment.strip_prefix(':').filter(|name| !name.is_empty());
            match name {
                Some(name) => {
                    self.push('/');
                    self.name(name);
                }
                // The preceding star matches everything.
                None if is_star && ends_with_star => {}
                None if is_star => self.below(),
                None => {
                    self.push('/');
                    self.text(segment.strip_suffix('*').unwrap_or(segment))?;
                    if segment.ends_with('*') {
                        self.behind();
                    }
                }
            }
            ends_with_star = name.is_none() && segment.ends_with('*');
        }
        if !ends_with_star {
            self.push('/');
            self.has_free_end = true;
        }
        Ok(())
    }

    /// Parses Netlify's form of fields: a segment `*` is optional, and so is a final slash.
    fn netlify_headers(&mut self, path: &str) -> Result<(), BadPattern> {
        let mut was_star = false;
        for segment in path.split('/').filter(|segment| !segment.is_empty()) {
            let is_star = segment == "*";
            match segment.strip_prefix(':').filter(|name| is_name(name)) {
                Some(name) => {
                    self.push('/');
                    self.name(name);
                }
                // Two stars match the same as one.
                None if is_star && was_star => {}
                None if is_star => self.below(),
                None => {
                    self.push('/');
                    for (number, text) in segment.split('*').enumerate() {
                        if number > 0 {
                            self.star(None);
                        }
                        self.text(text)?;
                    }
                }
            }
            was_star = is_star;
        }
        self.push('/');
        self.has_free_end = true;
        Ok(())
    }

    /// Parses Cloudflare's form, for a path or a host: `*` matches anything, `:name` everything up to the next divider.
    fn cloudflare(&mut self, text: &str) -> Result<(), BadPattern> {
        let mut rest = text;
        loop {
            let (name, star) = (next_name(rest), rest.find('*'));
            let name = name.filter(|(at, _)| star.is_none_or(|star| *at < star));
            let Some(at) = name.map(|(at, _)| at).or(star) else { break };
            self.text(rest.get(..at).unwrap_or_default())?;
            let length = match name {
                Some((_, name)) => {
                    self.name(name);
                    name.len() + 1
                }
                None => {
                    self.star(Some(SPLAT));
                    1
                }
            };
            rest = rest.get(at + length..).unwrap_or_default();
        }
        self.text(rest)
    }

    fn text(&mut self, text: &str) -> Result<(), BadPattern> {
        decoded(text)?.chars().for_each(|character| self.push(character));
        Ok(())
    }

    fn push(&mut self, character: char) {
        let character = if self.folds { folded(character) } else { character };
        self.places.push(Place { enters: CharacterSet::Exactly(character), stays: CharacterSet::Nothing, skips: 0 });
    }

    fn name(&mut self, name: &str) {
        self.places.push(Place { enters: CharacterSet::ButDivider, stays: CharacterSet::ButDivider, skips: 0 });
        self.capture(name, true);
    }

    fn star(&mut self, name: Option<&str>) {
        match self.places.last_mut() {
            // The preceding star matches everything.
            Some(Place { stays: CharacterSet::Any, .. }) => return,
            Some(last) if last.stays == CharacterSet::Nothing => last.stays = CharacterSet::Any,
            last => {
                if let Some(last) = last {
                    last.skips = 1;
                }
                self.places.push(Place { enters: CharacterSet::Nothing, stays: CharacterSet::Any, skips: 0 });
            }
        }
        if let Some(name) = name {
            self.capture(name, false);
        }
    }

    /// Adds an optional slash followed by anything.
    fn below(&mut self) {
        if let Some(last) = self.places.last_mut() {
            last.skips = 2;
        }
        self.places.push(Place { enters: CharacterSet::Exactly('/'), stays: CharacterSet::Any, skips: 1 });
        self.capture(SPLAT, false);
        self.places.push(Place { enters: CharacterSet::Nothing, stays: CharacterSet::Nothing, skips: 0 });
    }

    /// Adds an optional slash, and anything.
    fn behind(&mut self) {
        if let Some(last) = self.places.last_mut() {
            last.skips = 2;
        }
        self.places.push(Place { enters: CharacterSet::Exactly('/'), stays: CharacterSet::Nothing, skips: 1 });
        self.places.push(Place { enters: CharacterSet::Nothing, stays: CharacterSet::Any, skips: 0 });
        self.capture(SPLAT, false);
    }

    /// Captures at the last place; a repeated name captures nothing further.
    fn capture(&mut self, name: &str, has_first: bool) {
        if !self.captures.iter().any(|known| *known.name == *name) {
            self.captures.push(Capture { name: name.into(), place: self.places.len() - 1, has_first });
        }
    }

    /// Makes the expression of `text`, unless too long or with too many parts.
    fn made(self, text: &str, is_host: bool) -> Result<Expression, BadPattern> {
        let stars = text.matches('*').count();
        let has_room = self.places.len() <= WORDS_MAX * WORD_BITS;
        if text.len() > EXPRESSION_BYTES_MAX || stars > EXPRESSION_STARS_MAX || !has_room {
            return Err(BadPattern::TooLong);
        }
        let Self { places, captures, has_free_end, folds } = self;
        let (places, captures) = (places.into(), captures.into());
        Ok(Expression { places, captures, has_free_end, is_host, folds, moves: OnceLock::new() })
    }
}
