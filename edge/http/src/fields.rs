//! The fields of a request's head, wherever it came from: lines of the engine, or the map of the library.

use std::borrow::Cow;

use devanture_site::fields;
use http::{HeaderMap, HeaderName, HeaderValue};

/// Fields as they came, in their order, in one buffer that is used again and again. Names are in lower case.
#[derive(Debug, Default)]
pub struct Lines {
    text: Vec<u8>,
    lines: Vec<Line>,
    /// One bit for each name that may be present, so that most absent names are recognised at once.
    present: u64,
    /// The bits that more than one line has.
    repeated: u64,
    /// By the places of bits that are present: the first line that has it.
    places: Places,
    /// Those of the lines that a next head may have as well.
    run: Run,
    progress: Progress,
    /// Number of heads begun here: the content is of the last.
    heads: u64,
}

/// Where a line lies in the text: its name begins at `start`, its value ends at `end`. Short, since three bytes on the
/// wire are enough for a line.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    start: u32,
    name_end: u32,
    end: u32,
    /// The place of its name's bit: lines of other names mostly have another.
    mark: u32,
}

/// The numbers of lines, for each bit one.
#[derive(Debug)]
struct Places([u8; 64]);

impl Default for Places {
    fn default() -> Self {
        Self([0; 64])
    }
}

/// The first lines of a head of HTTP/2, as far as they came as numbers of a table of fields. Where a later head has the
/// same numbers of the same table, it has the same lines, and they are still there.
#[derive(Debug, Default)]
struct Run {
    /// Of which table, and when; see [`Lines::repeat`].
    state: u64,
    /// A number in each byte.
    numbers: Vec<u8>,
    lines: usize,
    text: usize,
    present: u64,
    repeated: u64,
}

/// The state of the lines of a head.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Progress {
    /// Nothing of it came: what is there is of a head before.
    Begun,
    /// All that came is the run.
    Run,
    /// More came.
    #[default]
    Further,
}

/// The meaning of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Repeated {
    /// Bytes of its numbers.
    pub(super) bytes: usize,
    /// Its lines.
    pub(super) lines: usize,
    /// Bytes of their names and values.
    pub(super) text: usize,
}

/// The number of a Content-Length (RFC 9110 §8.6): digits alone.
pub(super) fn content_length(value: &[u8]) -> Option<u64> {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    str::from_utf8(value).ok().filter(|_| is_number)?.parse().ok()
}

/// The bit of a name among those that are present. Of a name that is known it is worked out while this is compiled.
#[inline]
const fn bit(name: &[u8]) -> u64 {
    1 << mark(name)
}

/// The place of that bit.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the lowest bits of a length are all that counts")]
const fn mark(name: &[u8]) -> u32 {
    let (first, last) = match name {
        [] => (0, 0),
        [one] => (*one, *one),
        [first, .., last] => (*first, *last),
    };
    let mixed = name.len() as u32 ^ (first as u32).wrapping_mul(5) ^ (last as u32).wrapping_mul(17);
    mixed & 63
}

/// A name that is looked for in most heads, with what is worked out of it while this is compiled.
#[derive(Debug)]
pub struct Name {
    text: &'static str,
    header: HeaderName,
    mark: u32,
}

impl Name {
    /// This name, in lower case.
    #[must_use]
    pub const fn of(text: &'static str) -> Self {
        Self { text, header: HeaderName::from_static(text), mark: mark(text.as_bytes()) }
    }
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
        self.heads += 1;
        self.empty();
        if self.text.capacity() > bytes_max {
            self.text = Vec::new();
        }
    }

    /// Adds a line; `name` is in lower case.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        if self.progress == Progress::Begun {
            self.empty();
        }
        self.progress = Progress::Further;
        self.add(name, value);
    }

    /// The number of the head that the lines are of.
    pub(super) const fn head(&self) -> u64 {
        self.heads
    }

    fn empty(&mut self) {
        self.lines.clear();
        self.text.clear();
        (self.present, self.repeated) = (0, 0);
        self.run.numbers.clear();
        self.progress = Progress::Further;
    }

    fn add(&mut self, name: &[u8], value: &[u8]) {
        let start = at(&self.text);
        self.text.extend_from_slice(name);
        let name_end = at(&self.text);
        self.text.extend_from_slice(value);
        let mark = mark(name);
        if self.present & 1 << mark == 0 {
            self.places.put(mark, self.lines.len());
        }
        self.lines.push(Line { start, name_end, end: at(&self.text), mark });
        self.repeated |= self.present & 1 << mark;
        self.present |= 1 << mark;
    }

    /// Begins a head of HTTP/2: of the lines that are there, those of the run stay until it is known whether the head
    /// has them too. To be followed by [`Lines::end`].
    #[inline]
    pub(super) fn begin(&mut self, bytes_max: usize) {
        if self.text.capacity() > bytes_max {
            self.clear(bytes_max);
        }
        self.heads += 1;
        self.progress = Progress::Begun;
    }

    /// Has the lines of the run again, if the head has none yet and `rest` begins with the run's numbers: of a table of
    /// fields whose content is known by `state`, a number that no other content of any table ever has.
    #[inline]
    pub(super) fn repeat(&mut self, state: u64, rest: &[u8]) -> Option<Repeated> {
        let run = &self.run;
        let is_same = self.progress == Progress::Begun
            && run.state == state
            && run.numbers.first() == rest.first()
            && rest.starts_with(&run.numbers);
        if !is_same {
            return None;
        }
        self.lines.truncate(run.lines);
        self.text.truncate(run.text);
        (self.present, self.repeated) = (run.present, run.repeated);
        self.progress = Progress::Run;
        Some(Repeated { bytes: run.numbers.len(), lines: run.lines, text: run.text })
    }

    /// Adds a line that came as a number, in the byte `number`, of the table whose content is known by `state`.
    pub(super) fn push_number(&mut self, state: u64, number: u8, name: &[u8], value: &[u8]) {
        if self.progress == Progress::Begun {
            self.empty();
            self.run.state = state;
            self.progress = Progress::Run;
        }
        self.add(name, value);
        if self.progress == Progress::Run && self.run.state == state {
            self.run.numbers.push(number);
            (self.run.lines, self.run.text) = (self.lines.len(), self.text.len());
            (self.run.present, self.run.repeated) = (self.present, self.repeated);
        }
    }

    /// Says that the head has all its lines.
    pub(super) fn end(&mut self) {
        if self.progress == Progress::Begun {
            self.empty();
        }
    }

    /// The number of lines.
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

    /// The line that has the bit at a place, where one has it and no other.
    #[inline]
    fn only(&self, mark: u32) -> Option<&Line> {
        match self.places.get(mark) {
            Some(number) => self.lines.get(number),
            None => self.lines.iter().find(|line| line.mark == mark),
        }
    }

    #[inline]
    fn name(&self, line: &Line) -> &[u8] {
        self.span(line.start, line.name_end)
    }

    #[inline]
    fn value(&self, line: &Line) -> &[u8] {
        self.span(line.name_end, line.end)
    }

    #[inline]
    fn span(&self, start: u32, end: u32) -> &[u8] {
        let place = |offset| usize::try_from(offset).unwrap_or(usize::MAX);
        self.text.get(place(start)..place(end)).unwrap_or_default()
    }
}

/// Where the next byte goes; a text has no more than the limit of a head.
#[inline]
fn at(text: &[u8]) -> u32 {
    u32::try_from(text.len()).unwrap_or(u32::MAX)
}

impl Places {
    /// The last number stands for all that are greater.
    fn put(&mut self, mark: u32, number: usize) {
        if let Some(place) = usize::try_from(mark).ok().and_then(|mark| self.0.get_mut(mark)) {
            *place = u8::try_from(number).unwrap_or(u8::MAX);
        }
    }

    /// The number at a place, where it is known.
    #[inline]
    fn get(&self, mark: u32) -> Option<usize> {
        let number = self.0.get(usize::try_from(mark).ok()?).copied()?;
        (number < u8::MAX).then_some(usize::from(number))
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

    #[inline]
    fn next(&mut self) -> Option<&'r [u8]> {
        match self {
            Self::Lines(lines, left, name) => {
                let mark = mark(name);
                let line = left.find(|line| line.mark == mark && lines.name(line) == *name)?;
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
                let mark = mark(name);
                let line = left.rfind(|line| line.mark == mark && lines.name(line) == *name)?;
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

    /// The lines of `name` as one value (RFC 9110 §5.3); that of one line is borrowed.
    #[must_use]
    pub fn joined(self, name: &HeaderName) -> Option<Cow<'r, [u8]>> {
        fields::joined(self.get_all(name))
    }

    /// The same of a name that is known.
    #[inline]
    #[must_use]
    pub fn named(self, name: &Name) -> Option<Cow<'r, [u8]>> {
        match self {
            Self::Lines(lines) if lines.present & 1 << name.mark == 0 => None,
            _ => self.look_for(name),
        }
    }

    #[inline]
    fn look_for(self, name: &Name) -> Option<Cow<'r, [u8]>> {
        match self {
            // There is one, and nothing to join.
            Self::Lines(lines) if lines.repeated & 1 << name.mark == 0 => {
                let line = lines.only(name.mark)?;
                (lines.name(line) == name.text.as_bytes()).then(|| Cow::Borrowed(lines.value(line)))
            }
            _ => self.joined(&name.header),
        }
    }

    /// The value of a name that is known, where it has one line and no more. Not of the library's map, whose lines are
    /// to be looked for one by one.
    #[inline]
    #[must_use]
    pub fn only(self, name: &Name) -> Option<&'r [u8]> {
        let Self::Lines(lines) = self else { return None };
        if lines.present & !lines.repeated & 1 << name.mark == 0 {
            return None;
        }
        let line = lines.only(name.mark)?;
        (lines.name(line) == name.text.as_bytes()).then(|| lines.value(line))
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
