//! Header fields of a request, from lines of the engine or from a `HeaderMap`.

use std::borrow::Cow;

use devanture_site::fields;
use http::{HeaderMap, HeaderName, HeaderValue};

/// Received fields in their order, in one reused buffer. Names are in lower case.
#[derive(Debug, Default)]
pub struct Lines {
    text: Vec<u8>,
    lines: Vec<Line>,
    /// One bit for each name that may be present, so that most absent names are rejected at once.
    present: u64,
    /// Bits that belong to several lines.
    repeated: u64,
    /// First line for each present bit.
    places: Places,
    /// Lines that the next head may repeat.
    run: Run,
    progress: Progress,
    /// Number of heads begun; the content belongs to the last.
    heads: u64,
}

/// Position of a line in the text: the name begins at `start`, the value ends at `end`. Compact, since three bytes on
/// the wire suffice for a line.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    start: u32,
    name_end: u32,
    end: u32,
    /// Bit number of the name; lines with different names mostly have different bits.
    mark: u32,
}

/// Line numbers by bit.
#[derive(Debug)]
struct Places([u8; 64]);

impl Default for Places {
    fn default() -> Self {
        Self([0; 64])
    }
}

/// First lines of an HTTP/2 head, as far as they arrived as indexes into a table of fields. A later head with the same
/// indexes into the same table has the same lines, which are still stored.
#[derive(Debug, Default)]
struct Run {
    /// State of the table; see [`Lines::repeat`].
    state: u64,
    /// Indexes, one byte each.
    numbers: Vec<u8>,
    lines: usize,
    text: usize,
    present: u64,
    repeated: u64,
}

/// Progress of reading a head.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Progress {
    /// Nothing arrived: the stored lines belong to an earlier head.
    Begun,
    /// Only the run arrived.
    Run,
    /// More than the run arrived.
    #[default]
    Further,
}

/// Content of a repeated run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Repeated {
    /// Bytes of the indexes.
    pub(super) bytes: usize,
    /// Number of lines.
    pub(super) lines: usize,
    /// Bytes of the names and values.
    pub(super) text: usize,
}

/// Parses a Content-Length (RFC 9110 §8.6): digits only.
pub(super) fn content_length(value: &[u8]) -> Option<u64> {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    str::from_utf8(value).ok().filter(|_| is_number)?.parse().ok()
}

/// Returns the bit of a name among the present names. Computed at compile time for known names.
#[inline]
const fn bit(name: &[u8]) -> u64 {
    1 << mark(name)
}

/// Returns the number of the name's bit.
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

/// Name looked up in most heads, with values computed at compile time.
#[derive(Debug)]
pub struct Name {
    text: &'static str,
    header: HeaderName,
    mark: u32,
}

impl Name {
    /// Returns the name for `text` in lower case.
    #[must_use]
    pub const fn of(text: &'static str) -> Self {
        Self { text, header: HeaderName::from_static(text), mark: mark(text.as_bytes()) }
    }
}

/// Set of names, for a single test whether any line may have one of them.
#[derive(Debug, Clone, Copy)]
pub struct Names(u64);

impl Names {
    /// Returns the set of `names` in lower case.
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
    /// Removes all lines and keeps their memory, unless the memory exceeds `bytes_max`.
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

    /// Returns the number of the head that the lines belong to.
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

    /// Begins an HTTP/2 head: the lines of the run stay until the head proves equal or different. Followed by
    /// [`Lines::end`].
    #[inline]
    pub(super) fn begin(&mut self, bytes_max: usize) {
        if self.text.capacity() > bytes_max {
            self.clear(bytes_max);
        }
        self.heads += 1;
        self.progress = Progress::Begun;
    }

    /// Restores the lines of the run, if the head has no lines yet and `rest` begins with the run's indexes. `state`
    /// identifies the content of the table of fields: no other content of any table has the same number.
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

    /// Adds a line that arrived as the index `number`, one byte, into the table whose content is identified by `state`.
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

    /// Marks the head as complete.
    pub(super) fn end(&mut self) {
        if self.progress == Progress::Begun {
            self.empty();
        }
    }

    /// Returns the number of lines.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Returns true if there are no lines.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Returns all names with their values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.lines.iter().map(|line| (self.name(line), self.value(line)))
    }

    /// Returns the line of a bit, if exactly one line has the bit.
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

/// Returns the position of the next byte; a text is no longer than the limit of a head.
#[inline]
fn at(text: &[u8]) -> u32 {
    u32::try_from(text.len()).unwrap_or(u32::MAX)
}

impl Places {
    /// Stores a line number; the greatest value stands for all greater numbers.
    fn put(&mut self, mark: u32, number: usize) {
        if let Some(place) = usize::try_from(mark).ok().and_then(|mark| self.0.get_mut(mark)) {
            *place = u8::try_from(number).unwrap_or(u8::MAX);
        }
    }

    /// Returns the line number of a bit, if known.
    #[inline]
    fn get(&self, mark: u32) -> Option<usize> {
        let number = self.0.get(usize::try_from(mark).ok()?).copied()?;
        (number < u8::MAX).then_some(usize::from(number))
    }
}

/// Fields of a request.
#[derive(Debug, Clone, Copy)]
pub enum Fields<'r> {
    /// Lines read by the engine.
    Lines(&'r Lines),
    /// Map of the `http` crate.
    Map(&'r HeaderMap),
}

/// Values of one name, in their order.
#[derive(Debug)]
pub enum Values<'r, 'n> {
    /// Values among the remaining lines.
    Lines(&'r Lines, std::slice::Iter<'r, Line>, &'n [u8]),
    /// Values of a map.
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
    /// Returns false if no line has any of `names`; true if a line may have one.
    #[inline]
    #[must_use]
    pub const fn may_have(self, names: Names) -> bool {
        match self {
            Self::Lines(lines) => lines.present & names.0 != 0,
            Self::Map(_) => true,
        }
    }

    /// Returns the values of `name`, one per line.
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

    /// Returns the lines of `name` as one value (RFC 9110 §5.3); a single line is borrowed.
    #[must_use]
    pub fn joined(self, name: &HeaderName) -> Option<Cow<'r, [u8]>> {
        fields::joined(self.get_all(name))
    }

    /// Returns the lines of a known name as one value; a single line is borrowed.
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
            // A single line needs no joining.
            Self::Lines(lines) if lines.repeated & 1 << name.mark == 0 => {
                let line = lines.only(name.mark)?;
                (lines.name(line) == name.text.as_bytes()).then(|| Cow::Borrowed(lines.value(line)))
            }
            _ => self.joined(&name.header),
        }
    }

    /// Returns the value of a known name with exactly one line. Always `None` for a `HeaderMap`, whose lines would have
    /// to be searched one by one.
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

    /// Returns the first value of `name`.
    #[inline]
    #[must_use]
    pub fn get(self, name: &HeaderName) -> Option<&'r [u8]> {
        self.get_all(name).next()
    }

    /// Returns true if a line of `name` exists.
    #[inline]
    #[must_use]
    pub fn contains(self, name: &HeaderName) -> bool {
        self.get(name).is_some()
    }
}
