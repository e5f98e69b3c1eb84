//! TOML reader that reports every mistake of a file at once, with line and hint, independent of the file's keys.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::Lines;
use super::{Mistake, Mistakes, Weight};

/// Collector of the mistakes of one file.
pub(crate) struct Reader<'t> {
    file: &'t str,
    text: &'t str,
    lines: Lines,
    mistakes: RefCell<Vec<Mistake>>,
    broken: Cell<bool>,
}

impl<'t> Reader<'t> {
    pub(crate) fn new(file: &'t str, text: &'t str) -> Self {
        Self { file, text, lines: Lines::of(text.as_bytes()), mistakes: RefCell::default(), broken: Cell::new(false) }
    }

    /// Parses the text as TOML, with recovery from mistakes.
    pub(crate) fn document(&self) -> Spanned<DeTable<'t>> {
        let (document, errors) = DeTable::parse_recoverable(self.text);
        self.broken.set(!errors.is_empty());
        for error in errors {
            let line = error.span().map_or(0, |span| self.line(span.start));
            self.report(line, format!("this is not TOML: {}", error.message().trim()), None);
        }
        document
    }

    pub(crate) fn table<'r>(&'r self, table: &'r DeTable<'t>, span: Range<usize>, name: &str) -> Table<'r, 't> {
        Table { reader: self, table, span, name: name.to_owned(), known: RefCell::default() }
    }

    /// Returns the line, from 1, of a byte offset.
    fn line(&self, offset: usize) -> usize {
        self.lines.line(offset)
    }

    fn report(&self, line: usize, message: String, hint: Option<String>) {
        let mistake = Mistake { file: self.file.to_owned(), line, weight: Weight::Mistake, message, hint };
        self.mistakes.borrow_mut().push(mistake);
    }

    /// Returns `value` if there were no mistakes.
    pub(crate) fn finish<T>(self, value: Option<T>) -> Result<T, Mistakes> {
        let mut mistakes = self.mistakes.into_inner();
        mistakes.sort_by_key(|m| m.line);
        match value {
            Some(value) if mistakes.is_empty() => Ok(value),
            _ => Err(Mistakes(mistakes)),
        }
    }
}

/// Lines of a value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ValueLines {
    /// Line of the key.
    pub(crate) line: usize,
    /// Lines of the items, for a list.
    pub(crate) items: Vec<usize>,
    /// Lines of the keys, for a table.
    pub(crate) entries: BTreeMap<String, usize>,
}

/// Table of the file. Keys are read by name; unread keys are mistakes.
pub(crate) struct Table<'r, 't> {
    reader: &'r Reader<'t>,
    table: &'r DeTable<'t>,
    span: Range<usize>,
    name: String,
    known: RefCell<Vec<&'static str>>,
}

impl<'r, 't> Table<'r, 't> {
    fn value(&self, key: &'static str) -> Option<&'r Spanned<DeValue<'t>>> {
        self.known.borrow_mut().push(key);
        self.table.iter().find(|(k, _)| k.get_ref().as_ref() == key).map(|(_, v)| v)
    }

    /// Returns the full name of a key, for messages.
    pub(crate) fn full(&self, key: &str) -> String {
        let is_bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        let key = if is_bare { key.to_owned() } else { format!("\"{key}\"") };
        if self.name.is_empty() { key } else { format!("{}.{key}", self.name) }
    }

    /// Reports a mistake at `key`, or at the table if the key is absent.
    pub(crate) fn mistake(&self, key: &str, message: impl Into<String>, hint: Option<&str>) {
        let at = self.table.iter().find(|(k, _)| k.get_ref().as_ref() == key);
        let offset = at.map_or(self.span.start, |(k, _)| k.span().start);
        self.reader.report(self.reader.line(offset), message.into(), hint.map(str::to_owned));
    }

    /// Reports a mistake of the table itself, for example in its name.
    pub(crate) fn mistaken(&self, message: impl Into<String>) {
        self.reader.report(self.reader.line(self.span.start), message.into(), None);
    }

    fn wrong_type(&self, key: &str, wanted: &str, found: &DeValue<'_>) {
        self.mistake(key, format!("`{}` must be {wanted}, not {}", self.full(key), described(found)), None);
    }

    pub(crate) fn string(&self, key: &'static str) -> Option<String> {
        match self.value(key)?.get_ref() {
            DeValue::String(text) => Some(text.to_string()),
            other => {
                self.wrong_type(key, "a text in quotes", other);
                None
            }
        }
    }

    /// Reads a text as a `T`; an error of `T` becomes the mistake.
    pub(crate) fn parsed<T>(&self, key: &'static str) -> Option<T>
    where
        T: FromStr,
        T::Err: std::fmt::Display,
    {
        let text = self.string(key)?;
        self.parse_text(key, &text)
    }

    fn parse_text<T>(&self, key: &str, text: &str) -> Option<T>
    where
        T: FromStr,
        T::Err: std::fmt::Display,
    {
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.mistake(key, format!("`{}`: {error}", self.full(key)), None);
                None
            }
        }
    }

    /// Reads a list of texts, each as a `T`.
    pub(crate) fn list<T>(&self, key: &'static str) -> Option<Vec<T>>
    where
        T: FromStr,
        T::Err: std::fmt::Display,
    {
        let DeValue::Array(items) = self.value(key)?.get_ref() else {
            self.mistake(key, format!("`{}` must be a list of texts", self.full(key)), Some("[\"…\", \"…\"]"));
            return None;
        };
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            match item.get_ref() {
                DeValue::String(text) => values.extend(self.parse_text(key, text)),
                other => self.wrong_type(key, "a list of texts", other),
            }
        }
        Some(values)
    }

    /// Reads a text or a list of texts, each as a `T`.
    pub(crate) fn text_or_list<T>(&self, key: &'static str) -> Option<Vec<T>>
    where
        T: FromStr,
        T::Err: std::fmt::Display,
    {
        match self.value(key)?.get_ref() {
            DeValue::String(text) => Some(self.parse_text(key, text).into_iter().collect()),
            _ => self.list(key),
        }
    }

    pub(crate) fn boolean(&self, key: &'static str) -> Option<bool> {
        match self.value(key)?.get_ref() {
            DeValue::Boolean(value) => Some(*value),
            other => {
                self.wrong_type(key, "true or false", other);
                None
            }
        }
    }

    pub(crate) fn integer(&self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.value(key)?.get_ref();
        let DeValue::Integer(integer) = value else {
            self.wrong_type(key, "a whole number", value);
            return None;
        };
        match u64::from_str_radix(&integer.as_str().replace('_', ""), integer.radix()) {
            Ok(number) if range.contains(&number) => Some(number),
            _ => {
                let message = format!("`{}` must lie between {} and {}", self.full(key), range.start(), range.end());
                self.mistake(key, message, None);
                None
            }
        }
    }

    /// Reads a number of bytes: a whole number, or a text with a unit, for example `"50GiB"`.
    pub(crate) fn bytes(&self, key: &'static str) -> Option<u64> {
        let value = self.value(key)?.get_ref();
        let DeValue::String(text) = value else { return self.integer(key, 0..=u64::MAX) };
        let bytes = bytes_of(text);
        if bytes.is_none() {
            let message = format!("`{}`: `{text}` is not a number of bytes", self.full(key));
            self.mistake(key, message, Some("such as \"50GiB\", with KiB, MiB, GiB or TiB"));
        }
        bytes
    }

    /// Reads a word out of `words`.
    pub(crate) fn word<T: Copy>(&self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let text = self.string(key)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let all: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            let message = format!("`{}` cannot be \"{text}\"", self.full(key));
            let hint = match nearest(&text, words.iter().map(|(word, _)| *word)) {
                Some(word) => format!("did you mean \"{word}\"? One of {}", all.join(", ")),
                None => format!("one of {}", all.join(", ")),
            };
            self.mistake(key, message, Some(&hint));
        }
        found
    }

    pub(crate) fn table(&self, key: &'static str) -> Option<Self> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Table(table) => Some(self.reader.table(table, value.span(), &self.full(key))),
            other => {
                self.wrong_type(key, "a table", other);
                None
            }
        }
    }

    /// Reads a list of tables, `[[key]]`.
    pub(crate) fn tables(&self, key: &'static str) -> Option<Vec<Self>> {
        let DeValue::Array(items) = self.value(key)?.get_ref() else {
            self.mistake(key, format!("`{}` must be a list of tables", self.full(key)), Some("write [[…]] above it"));
            return None;
        };
        let mut tables = Vec::with_capacity(items.len());
        for item in items {
            match item.get_ref() {
                DeValue::Table(table) => tables.push(self.reader.table(table, item.span(), &self.full(key))),
                other => self.wrong_type(key, "a list of tables", other),
            }
        }
        Some(tables)
    }

    /// Reads every text below `key`, with its name: `[key]` and then `NAME = "…"`, or `"NAME" = "…"`.
    pub(crate) fn named_strings(&self, key: &'static str) -> Vec<(String, String)> {
        let Some(outer) = self.table(key) else { return Vec::new() };
        let mut texts = Vec::new();
        for (name, value) in outer.table {
            match value.get_ref() {
                DeValue::String(text) => texts.push((name.get_ref().to_string(), text.to_string())),
                other => outer.wrong_type(name.get_ref(), "a text in quotes", other),
            }
        }
        texts
    }

    /// Returns the lines of every value of the table, by key.
    pub(crate) fn lines(&self) -> BTreeMap<String, ValueLines> {
        let line = |span: Range<usize>| self.reader.line(span.start);
        let mut all = BTreeMap::new();
        for (name, value) in self.table {
            let mut lines = ValueLines { line: line(name.span()), ..ValueLines::default() };
            match value.get_ref() {
                DeValue::Array(items) => lines.items = items.iter().map(|item| line(item.span())).collect(),
                DeValue::Table(table) => {
                    let entries = table.iter().map(|(name, _)| (name.get_ref().to_string(), line(name.span())));
                    lines.entries = entries.collect();
                }
                _ => {}
            }
            all.insert(name.get_ref().to_string(), lines);
        }
        all
    }

    /// Reports `key`, if present, as misplaced.
    pub(crate) fn misplaced(&self, key: &'static str, message: impl Into<String>, hint: &str) {
        if self.value(key).is_some() {
            self.mistake(key, message, Some(hint));
        }
    }

    /// Reads every value of the table, each a text or a list of texts.
    pub(crate) fn all_texts(&self) -> BTreeMap<String, Vec<String>> {
        let mut all = BTreeMap::new();
        for (name, value) in self.table {
            let texts = match value.get_ref() {
                DeValue::String(text) => vec![text.to_string()],
                DeValue::Array(items) => {
                    let mut texts = Vec::with_capacity(items.len());
                    for item in items {
                        match item.get_ref() {
                            DeValue::String(text) => texts.push(text.to_string()),
                            other => self.wrong_type(name.get_ref(), "a text or a list of texts", other),
                        }
                    }
                    texts
                }
                other => {
                    self.wrong_type(name.get_ref(), "a text or a list of texts", other);
                    continue;
                }
            };
            all.insert(name.get_ref().to_string(), texts);
        }
        all
    }

    /// Reads every value of the table with its name, each a text or a table.
    pub(crate) fn texts_or_tables(&self) -> Vec<(String, Result<String, Self>)> {
        let mut all = Vec::new();
        for (name, value) in self.table {
            let value = match value.get_ref() {
                DeValue::String(text) => Ok(text.to_string()),
                DeValue::Table(table) => Err(self.reader.table(table, value.span(), &self.full(name.get_ref()))),
                other => {
                    self.wrong_type(name.get_ref(), "a text or a table", other);
                    continue;
                }
            };
            all.push((name.get_ref().to_string(), value));
        }
        all
    }

    /// Reads every table below `key`, with its name: `[key.NAME]`.
    pub(crate) fn named_tables(&self, key: &'static str) -> Vec<(String, Self)> {
        let Some(outer) = self.table(key) else { return Vec::new() };
        let mut tables = Vec::new();
        for (name, value) in outer.table {
            match value.get_ref() {
                DeValue::Table(table) => {
                    let full = outer.full(name.get_ref());
                    tables.push((name.get_ref().to_string(), self.reader.table(table, value.span(), &full)));
                }
                other => outer.wrong_type(name.get_ref(), "a table", other),
            }
        }
        tables
    }

    /// Returns true if the value of `key` is a text.
    pub(crate) fn is_text(&self, key: &str) -> bool {
        let found = self.table.iter().find(|(k, _)| k.get_ref().as_ref() == key);
        found.is_some_and(|(_, value)| matches!(value.get_ref(), DeValue::String(_)))
    }

    /// Returns true if the file has syntax errors, so a seemingly missing key may be present.
    pub(crate) fn is_broken(&self) -> bool {
        self.reader.broken.get()
    }

    /// Returns true if the table has `key`.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.iter().any(|(k, _)| k.get_ref().as_ref() == key)
    }

    /// Marks keys as known without reading the values, whose meaning depends on another key.
    pub(crate) fn know(&self, keys: &[&'static str]) {
        self.known.borrow_mut().extend(keys);
    }

    /// Reports every unread key. Call last.
    pub(crate) fn finish(&self) {
        let known = self.known.borrow();
        for (key, _) in self.table {
            let name: &DeString<'_> = key.get_ref();
            if known.iter().any(|k| *k == name.as_ref()) {
                continue;
            }
            let hint = nearest(name, known.iter().copied()).map(|k| format!("did you mean `{k}`?"));
            self.mistake(name, format!("`{}` is not a key that is known here", self.full(name)), hint.as_deref());
        }
    }
}

/// Parses `50GiB`; the units are those of IEC 80000-13.
fn bytes_of(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let power = ["", "KiB", "MiB", "GiB", "TiB"].iter().position(|known| *known == unit.trim())?;
    number.parse::<u64>().ok()?.checked_mul(1_024_u64.checked_pow(u32::try_from(power).ok()?)?)
}

fn described(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Maximum length of a text for a spelling suggestion, in bytes: the comparison takes the product of both lengths.
const NEAREST_BYTES_MAX: usize = 64;

/// Returns the word of `words` most likely intended by `text`.
pub fn nearest<'w>(text: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    if text.len() > NEAREST_BYTES_MAX {
        return None;
    }
    let words = words.filter(|word| word.len() <= NEAREST_BYTES_MAX);
    let scored = words.map(|word| (strsim::damerau_levenshtein(text, word), word));
    scored
        .filter(|(distance, word)| *distance <= 1 + word.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, w)| w)
}
