//! A file of a provider as a tree of values with their lines: TOML, and JSON with comments.
//!
//! `serde_json` drops the lines of values and refuses comments and final commas, which `wrangler.jsonc` and
//! `firebase.json` may have; so JSON is parsed by `jsonc-parser`.

use devanture_config::parsing::{Lines, Mistake, Mistakes, Weight};
use jsonc_parser::{CollectOptions, ParseOptions, ast, common::Ranged, parse_to_ast};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value and the line of its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    /// The line, from 1.
    pub(crate) line: usize,
    /// The value.
    pub(crate) value: Value,
}

/// A value in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Bool(bool),
    List(Vec<Node>),
    Map(Vec<Entry>),
    Null,
    /// A number or a date, as written.
    Other(String),
    Text(String),
}

/// A key, its line, and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) line: usize,
    pub(crate) node: Node,
}

impl Node {
    /// The entries, in the order of the file; empty for values other than maps.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            Value::Bool(_) | Value::List(_) | Value::Null | Value::Other(_) | Value::Text(_) => &[],
        }
    }

    /// The items; empty for values other than lists.
    pub(crate) fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            Value::Bool(_) | Value::Map(_) | Value::Null | Value::Other(_) | Value::Text(_) => &[],
        }
    }

    /// The value of `key`.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }

    /// Returns the value of the first existing key of `keys`.
    pub(crate) fn first(&self, keys: &[&str]) -> Option<&Self> {
        keys.iter().find_map(|key| self.get(key))
    }

    /// The text.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::Bool(_) | Value::List(_) | Value::Map(_) | Value::Null | Value::Other(_) => None,
        }
    }

    /// Returns the text, or the number or word as written.
    pub(crate) fn written(&self) -> Option<String> {
        match &self.value {
            Value::Text(text) | Value::Other(text) => Some(text.clone()),
            Value::Bool(value) => Some(value.to_string()),
            Value::List(_) | Value::Map(_) | Value::Null => None,
        }
    }

    /// Returns the number of a status, in any notation.
    pub(crate) fn status(&self) -> Option<u16> {
        status_of(&self.written()?)
    }

    /// The text of `key`.
    pub(crate) fn text_of(&self, key: &str) -> Option<&str> {
        self.get(key)?.text()
    }

    /// `true` or `false` of `key`.
    pub(crate) fn bool_of(&self, key: &str) -> Option<bool> {
        match self.get(key)?.value {
            Value::Bool(value) => Some(value),
            Value::List(_) | Value::Map(_) | Value::Null | Value::Other(_) | Value::Text(_) => None,
        }
    }

    /// Returns a single text, or a list of texts.
    pub(crate) fn texts(&self) -> Vec<String> {
        match &self.value {
            Value::List(items) => items.iter().filter_map(Self::written).collect(),
            Value::Bool(_) | Value::Map(_) | Value::Null | Value::Other(_) | Value::Text(_) => {
                self.written().into_iter().collect()
            }
        }
    }
}

/// Returns the status number in `text`: `200.0` and `2e2` are 200, like the numbers.
pub(crate) fn status_of(text: &str) -> Option<u16> {
    let text = text.trim().replace('_', "");
    let of_float = || {
        let number = text.parse::<f64>().ok().filter(|number| number.fract() == 0.0)?;
        format!("{number:.0}").parse().ok()
    };
    text.parse().ok().or_else(of_float)
}

fn mistake(file: &str, line: usize, message: String) -> Mistake {
    Mistake { file: file.to_owned(), line, weight: Weight::Mistake, message, hint: None }
}

/// Parses TOML.
///
/// # Errors
/// All places at which the text is not TOML.
pub(crate) fn read_toml(file: &str, text: &str) -> Result<Node, Mistakes> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = Lines::of(text.as_bytes());
    let (document, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Ok(Node { line: 1, value: of_table(document.get_ref(), &lines) });
    }
    let mistakes = errors.iter().map(|error| {
        let line = error.span().map_or(0, |span| lines.line(span.start));
        mistake(file, line, format!("this is not TOML: {}", error.message().trim()))
    });
    Err(Mistakes(mistakes.collect()))
}

fn of_table(table: &DeTable<'_>, lines: &Lines) -> Value {
    let mut entries: Vec<Entry> = table
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            line: lines.line(key.span().start),
            node: of_toml(value, lines),
        })
        .collect();
    entries.sort_by_key(|entry| entry.line);
    Value::Map(entries)
}

fn of_toml(node: &Spanned<DeValue<'_>>, lines: &Lines) -> Node {
    let value = match node.get_ref() {
        DeValue::Array(items) => Value::List(items.iter().map(|item| of_toml(item, lines)).collect()),
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Datetime(date) => Value::Other(date.to_string()),
        DeValue::Float(float) => Value::Other(float.as_str().to_owned()),
        DeValue::Integer(integer) => Value::Other(integer.as_str().to_owned()),
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Table(table) => of_table(table, lines),
    };
    Node { line: lines.line(node.span().start), value }
}

/// Parses JSON, with comments and final commas.
///
/// # Errors
/// The place at which the text is not JSON.
pub(crate) fn read_json(file: &str, text: &str) -> Result<Node, Mistakes> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let options = ParseOptions {
        allow_comments: true,
        allow_loose_object_property_names: false,
        allow_trailing_commas: true,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    match parse_to_ast(text, &CollectOptions::default(), &options) {
        Ok(parsed) => match parsed.value {
            Some(value) => Ok(of_json(&value, &Lines::of(text.as_bytes()))),
            None => Err(Mistakes(vec![mistake(file, 0, "the file is empty".to_owned())])),
        },
        Err(error) => {
            let message = format!("this is not JSON: {}", error.kind());
            Err(Mistakes(vec![mistake(file, error.line_display(), message)]))
        }
    }
}

fn of_json(value: &ast::Value<'_>, lines: &Lines) -> Node {
    let line = lines.line(value.range().start);
    let value = match value {
        ast::Value::Array(array) => Value::List(array.elements.iter().map(|item| of_json(item, lines)).collect()),
        ast::Value::BooleanLit(literal) => Value::Bool(literal.value),
        ast::Value::NullKeyword(_) => Value::Null,
        ast::Value::NumberLit(literal) => Value::Other(literal.value.to_owned()),
        ast::Value::Object(object) => {
            let entries = object.properties.iter().map(|property| Entry {
                key: property.name.as_str().to_owned(),
                line: lines.line(property.range.start),
                node: of_json(&property.value, lines),
            });
            Value::Map(entries.collect())
        }
        ast::Value::StringLit(literal) => Value::Text(literal.value.to_string()),
    };
    Node { line, value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn json_may_have_comments_and_final_commas_and_keeps_its_lines() {
        let text = "\u{feff}{\n  // a word\n  \"a\": [1, \"x\",],\n  /* and\n another */ \"b\": {\"c\": true,},\n}\n";
        let node = read_json("x.json", text).unwrap();
        assert_eq!(node.entries().iter().map(|e| (e.key.as_str(), e.line)).collect::<Vec<_>>(), [("a", 3), ("b", 5)]);
        assert_eq!(node.get("a").unwrap().texts(), ["1", "x"]);
        assert_eq!(node.get("b").unwrap().bool_of("c"), Some(true));
    }

    #[test]
    fn a_status_is_a_number_however_it_is_written() {
        let text = "a = [200, 200.0, 2e2, 2_00, +200, '200', ' 200 ', '200.0']";
        let node = read_toml("x.toml", text).unwrap();
        let all: Vec<Option<u16>> = node.get("a").unwrap().items().iter().map(Node::status).collect();
        assert_eq!(all, [Some(200); 8]);
        for bad in ["200.5", "", "-200", "70000", "inf", "nan", "two", "[]"] {
            assert_eq!(status_of(bad), None, "{bad}");
        }
        assert_eq!(read_json("x.json", "[301.0]").unwrap().items()[0].status(), Some(301));
    }

    #[test]
    fn toml_keeps_the_order_and_the_lines_of_the_file() {
        let text = "b = 1\n[[z]]\nx = 'y'\n[[z]]\nx = \"\"\"\nlong\"\"\"\n[a]\n";
        let node = read_toml("x.toml", text).unwrap();
        assert_eq!(
            node.entries().iter().map(|e| (e.key.as_str(), e.line)).collect::<Vec<_>>(),
            [("b", 1), ("z", 2), ("a", 7)]
        );
        let lines: Vec<usize> = node.get("z").unwrap().items().iter().map(|item| item.line).collect();
        assert_eq!(lines, [2, 4]);
    }

    #[test]
    fn what_cannot_be_read_is_reported_with_its_line() {
        let line = |read: Result<Node, Mistakes>| read.unwrap_err().0.first().map(|m| (m.line, m.message.clone()));
        let (at, message) = line(read_json("x.json", "{\n  \"a\": tru\n}")).unwrap();
        assert!(at == 2 && message.starts_with("this is not JSON"), "{at} {message}");
        assert_eq!(line(read_json("x.json", " ")).unwrap().1, "the file is empty");
        let (at, message) = line(read_toml("x.toml", "a = 1\nb = \n")).unwrap();
        assert!(at == 2 && message.starts_with("this is not TOML"), "{at} {message}");
        assert!(read_json("x.json", &"[".repeat(100_000)).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_a_reader_panic(text in r#"[\[\]{}",:/*a-c0-9=.\n'\\ é-]{0,60}"#) {
            let read = [read_json("x", &text), read_toml("x", &text)];
            prop_assert!(read.iter().all(|read| read.as_ref().is_ok_and(|n| n.line > 0) || read.is_err()));
        }
    }
}
