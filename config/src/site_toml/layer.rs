//! Table about serving, with the positions of its values.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::serving::Serving;
use crate::names::PlaceName;
use crate::parsing::reader::{Table, ValueLines};
use crate::rules::{At, RuleTable};

/// Member of a rule with passwords.
const GUARDED: &str = "basic_auth";

/// Table about serving: of every environment, of an `[env.*]`, or of an overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Environment of the table; every environment if absent.
    pub place: Option<PlaceName>,
    /// Content.
    pub serving: Serving,
    file: Arc<str>,
    lines: BTreeMap<String, ValueLines>,
}

impl Layer {
    pub(super) fn new(file: &str, place: Option<PlaceName>, serving: Serving, table: &Table<'_, '_>) -> Self {
        Self { place, serving, file: file.into(), lines: table.lines() }
    }

    pub(super) fn applies_in(&self, place: Option<&PlaceName>) -> bool {
        self.place.is_none() || self.place.as_ref() == place
    }

    fn at(&self, line: Option<usize>) -> At {
        At { file: Arc::clone(&self.file), line: line.unwrap_or(0) }
    }

    /// Makes the layer of a whole file for every environment, without line numbers.
    pub(super) fn of_whole(file: &str, serving: Serving) -> Self {
        Self { place: None, serving, file: file.into(), lines: Default::default() }
    }

    /// Returns the file, and the line of a key.
    pub(super) fn place_of(&self, key: &str) -> (String, usize) {
        let at = self.key(key);
        (at.file.to_string(), at.line)
    }

    pub(super) fn key(&self, key: &str) -> At {
        self.at(self.lines.get(key).map(|lines| lines.line))
    }

    pub(super) fn item(&self, key: &str, index: usize) -> At {
        self.at(self.lines.get(key).and_then(|lines| lines.items.get(index)).copied())
    }

    pub(super) fn entry(&self, key: &str, name: &str) -> At {
        let entries = self.lines.get(key).map(|lines| &lines.entries);
        // The ending of a name is case-insensitive.
        let line = entries.and_then(|entries| {
            entries
                .get(name)
                .or_else(|| entries.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, line)| line))
        });
        self.at(line.copied())
    }
}

/// Positions of the rules of one environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlaceLines(pub(super) BTreeMap<RuleTable, Vec<At>>);

impl PlaceLines {
    /// Returns the position of the rule number `index`, from 0, of `table`; without a line if unknown.
    #[must_use]
    pub fn at(&self, table: RuleTable, index: usize) -> At {
        self.0.get(&table).and_then(|lines| lines.get(index)).cloned().unwrap_or_default()
    }
}

/// Origin of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The default.
    Default,
    /// The rule files beside the pages.
    Guessed,
    /// A file.
    File(At),
}

/// Effective value of an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// Key, for example `not_found`, `routes[0]` or `cache."/fonts/*"`.
    pub key: String,
    /// Value, as in a manifest.
    pub value: Value,
    /// Origin.
    pub origin: Origin,
}

impl Explained {
    /// Returns the value for display, without the passwords of `basic_auth`.
    #[must_use]
    pub fn shown(&self) -> Value {
        let mut value = self.value.clone();
        for user in value.get_mut(GUARDED).and_then(Value::as_array_mut).into_iter().flatten() {
            let name = user.as_str().and_then(|text| text.split_once(':')).map_or("", |(name, _)| name);
            *user = Value::String(format!("{name}:(not shown)"));
        }
        value
    }
}
