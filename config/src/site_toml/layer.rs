//! One table that says something about serving, and where its values stand.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::serving::Serving;
use crate::names::PlaceName;
use crate::parsing::reader::{Table, ValueLines};
use crate::rules::{At, RuleTable};

/// The members of a rule that passwords stand in.
const GUARDED: &str = "basic_auth";

/// One table that says something about serving: that of every environment, an `[env.*]`, or an overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The environment that it is for; every one by default.
    pub place: Option<PlaceName>,
    /// Its content.
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

    /// The settings of a whole file in every environment, without line numbers.
    pub(super) fn of_whole(file: &str, serving: Serving) -> Self {
        Self { place: None, serving, file: file.into(), lines: Default::default() }
    }

    /// The file, and the line of a key.
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
        // The ending of a name has no case.
        let line = entries.and_then(|entries| {
            entries
                .get(name)
                .or_else(|| entries.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, line)| line))
        });
        self.at(line.copied())
    }
}

/// Where the rules that hold in one environment stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlaceLines(pub(super) BTreeMap<RuleTable, Vec<At>>);

impl PlaceLines {
    /// Where the rule number `index`, from 0, of `table` stands; no line where it is not known.
    #[must_use]
    pub fn at(&self, table: RuleTable, index: usize) -> At {
        self.0.get(&table).and_then(|lines| lines.get(index)).cloned().unwrap_or_default()
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// The files of rules beside the pages.
    Guessed,
    /// A file says it.
    File(At),
}

/// One value that holds in an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// Its key, such as `not_found`, `routes[0]` or `cache."/fonts/*"`.
    pub key: String,
    /// The value, as in a manifest.
    pub value: Value,
    /// Where it comes from.
    pub origin: Origin,
}

impl Explained {
    /// The value as it may be shown: without the passwords of `basic_auth`.
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
