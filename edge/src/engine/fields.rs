//! The fields of a request's head, wherever it came from: lines of the engine, or the map of the library.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Fields as they came, in their order, in one buffer that is used again and again. Names are in lower case.
#[derive(Debug, Default)]
pub struct Lines {
    text: Vec<u8>,
    lines: Vec<Line>,
    /// One bit for each name that may be there, so that most of those that are not are told at once.
    present: u64,
}

/// Where a line lies in the text: its name begins at `start`, its value ends at `end`.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    start: usize,
    name_end: usize,
    end: usize,
}

/// The bit of a name among those that are present. Of a name that is known it is worked out while this is compiled.
#[inline]
const fn bit(name: &[u8]) -> u64 {
    let (first, last) = match name {
        [] => (0, 0),
        [one] => (*one, *one),
        [first, .., last] => (*first, *last),
    };
    let mixed = name.len() ^ (first as usize).wrapping_mul(5) ^ (last as usize).wrapping_mul(17);
    1 << (mixed & 63)
}

/// Some names, for one look whether a line of any of them may be there.
#[derive(Debug, Clone, Copy)]
pub struct Names(u64);

impl Names {
    /// These names, in lower case.
    #[must_use]
    pub const fn of(mut names: &[&str]) -> Self {
        let mut bits = 0;
        while let [name, rest @ ..] = names {
            bits |= bit(name.as_bytes());
            names = rest;
        }
        Self(bits)
    }
}

impl Lines {
    /// Forgets all lines, and keeps their memory, unless they took more than `bytes_max`.
    pub fn clear(&mut self, bytes_max: usize) {
        self.lines.clear();
        self.text.clear();
        self.present = 0;
        if self.text.capacity() > bytes_max {
            self.text = Vec::new();
        }
    }

    /// Adds a line; `name` is in lower case.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        let start = self.text.len();
        self.text.extend_from_slice(name);
        let name_end = self.text.len();
        self.text.extend_from_slice(value);
        self.lines.push(Line { start, name_end, end: self.text.len() });
        self.present |= bit(name);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// All names with their values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.lines.iter().map(|line| (self.name(line), self.value(line)))
    }

    fn name(&self, line: &Line) -> &[u8] {
        self.text.get(line.start..line.name_end).unwrap_or_default()
    }

    fn value(&self, line: &Line) -> &[u8] {
        self.text.get(line.name_end..line.end).unwrap_or_default()
    }
}

/// The fields of a request.
#[derive(Debug, Clone, Copy)]
pub enum Fields<'r> {
    /// As the engine read them.
    Lines(&'r Lines),
    /// As the library did.
    Map(&'r HeaderMap),
}

/// The values of one name, in their order.
#[derive(Debug)]
pub enum Values<'r, 'n> {
    /// Of lines that are yet to be looked at.
    Lines(&'r Lines, std::slice::Iter<'r, Line>, &'n [u8]),
    /// Of a map.
    Map(http::header::ValueIter<'r, HeaderValue>),
}

impl<'r> Iterator for Values<'r, '_> {
    type Item = &'r [u8];

    fn next(&mut self) -> Option<&'r [u8]> {
        match self {
            Self::Lines(lines, left, name) => {
                let line = left.find(|line| lines.name(line) == *name)?;
                Some(lines.value(line))
            }
            Self::Map(values) => values.next().map(HeaderValue::as_bytes),
        }
    }
}

impl DoubleEndedIterator for Values<'_, '_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        match self {
            Self::Lines(lines, left, name) => {
                let line = left.rfind(|line| lines.name(line) == *name)?;
                Some(lines.value(line))
            }
            Self::Map(values) => values.next_back().map(HeaderValue::as_bytes),
        }
    }
}

impl<'r> From<&'r HeaderMap> for Fields<'r> {
    fn from(map: &'r HeaderMap) -> Self {
        Self::Map(map)
    }
}

impl<'r> From<&'r Lines> for Fields<'r> {
    fn from(lines: &'r Lines) -> Self {
        Self::Lines(lines)
    }
}

impl<'r> Fields<'r> {
    /// Whether a line of one of these names may be there; where not, none is.
    #[inline]
    #[must_use]
    pub const fn may_have(self, names: Names) -> bool {
        match self {
            Self::Lines(lines) => lines.present & names.0 != 0,
            Self::Map(_) => true,
        }
    }

    /// The values of `name`, one for each line.
    #[inline]
    pub fn get_all<'n>(self, name: &'n HeaderName) -> Values<'r, 'n> {
        match self {
            Self::Lines(lines) => {
                let name = name.as_str().as_bytes();
                let left = if lines.present & bit(name) == 0 { Default::default() } else { lines.lines.iter() };
                Values::Lines(lines, left, name)
            }
            Self::Map(map) => Values::Map(map.get_all(name).into_iter()),
        }
    }

    /// The first value of `name`.
    #[inline]
    #[must_use]
    pub fn get(self, name: &HeaderName) -> Option<&'r [u8]> {
        self.get_all(name).next()
    }

    /// Whether there is a line of that name.
    #[inline]
    #[must_use]
    pub fn contains(self, name: &HeaderName) -> bool {
        self.get(name).is_some()
    }
}
