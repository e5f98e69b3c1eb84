//! Changes of rules to the head of a response.

use std::collections::HashMap;

use devanture_config::heap::{HeapBytes, allocated};
use devanture_config::rules::headers::{Change, HeaderRule};
use devanture_config::rules::template::{Context, FILLED_BYTES_MAX, Template};
use http::header::{CACHE_CONTROL, SET_COOKIE, VARY};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::taken::PatternMatch;

/// Maximum bytes of fields set by rules in one response: clients refuse longer heads, and a value may grow with the
/// path. A field counts like an entry of a field table (RFC 7541 §4.1), and an overlong one as the longest.
const FIELDS_BYTES_MAX: usize = 32 * 1024;
/// The charge for a field besides its name and value.
const FIELD_BYTES: usize = 32;

/// Maximum removed fields tracked per response: more than the rules of a version may name.
const REMOVED_MAX: usize = 256;

/// The numbers of the fields that rules name.
#[derive(Debug, Default)]
pub(super) struct FieldNumbers(HashMap<Box<str>, usize>);

impl FieldNumbers {
    fn of(&mut self, name: &HeaderName) -> usize {
        if let Some(number) = self.0.get(name.as_str()) {
            return *number;
        }
        let next = self.0.len();
        // A clone of the name itself would make the name a shared one, which is larger, for the lifetime of the rules.
        self.0.insert(name.as_str().into(), next);
        next
    }
}

/// The fields, by number, removed so far and not set again: a repeated removal costs no work, however many rules repeat
/// the removal.
#[derive(Debug)]
pub(super) struct Removed([bool; REMOVED_MAX]);

impl Default for Removed {
    fn default() -> Self {
        Self([false; REMOVED_MAX])
    }
}

impl Removed {
    /// Sets whether a field is removed, and returns the previous state.
    fn replace(&mut self, number: usize, is_removed: bool) -> bool {
        self.0.get_mut(number).is_some_and(|known| std::mem::replace(known, is_removed))
    }
}

/// The compiled action of one rule.
#[derive(Debug)]
pub(super) struct Changes {
    changes: Box<[Prepared]>,
    force: bool,
    joins: bool,
}

#[derive(Debug)]
struct Prepared {
    name: HeaderName,
    number: usize,
    action: Action,
}

#[derive(Debug)]
enum Action {
    Remove,
    Set(HeaderValue),
    /// A value that depends on captures of the path.
    Fill(Template),
}

/// The change of one field of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
enum FieldChange {
    /// Adds a line, or a member of a list.
    Append(HeaderName, HeaderValue),
    /// Removes the field.
    Remove(HeaderName),
    /// Sets the only value.
    Set(HeaderName, HeaderValue),
}

/// All changes of rules to the head of one response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldChanges {
    changes: Vec<FieldChange>,
    /// True if the last `Cache-Control` applies to every kind of response.
    cache_is_forced: bool,
    /// Bytes of all fields set.
    bytes: usize,
}

impl Changes {
    pub(super) fn new(rule: &HeaderRule, numbers: &mut FieldNumbers) -> Self {
        let field = |name: &str| HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes()).ok();
        let changes = rule.changes.iter().filter_map(|change| {
            let (name, action) = match change {
                // No rule may remove `Vary`.
                Change::Remove(name) => (field(name).filter(|name| *name != VARY)?, Action::Remove),
                Change::Set { name, value } if value.is_constant() => {
                    (field(name)?, Action::Set(HeaderValue::from_bytes(value.as_str().as_bytes()).ok()?))
                }
                Change::Set { name, value } => (field(name)?, Action::Fill(value.clone())),
            };
            Some(Prepared { number: numbers.of(&name), name, action })
        });
        Self { changes: changes.collect(), force: rule.force, joins: rule.joins }
    }

    /// Returns true if the changes name the field.
    pub(super) fn name(&self, wanted: &HeaderName) -> bool {
        self.changes.iter().any(|change| change.name == wanted)
    }

    /// The changes of the field alone.
    pub(super) fn of(mut self, wanted: &HeaderName) -> Self {
        self.changes = self.changes.into_iter().filter(|change| change.name == wanted).collect();
        self
    }

    /// Returns true if a value depends on captures of the path.
    pub(super) fn have_places(&self) -> bool {
        self.changes.iter().any(|change| matches!(change.action, Action::Fill(_)))
    }

    /// The number of capture placeholders in all values.
    pub(super) fn places(&self) -> usize {
        let places = self.changes.iter().map(|change| match &change.action {
            Action::Fill(value) => value.places(),
            Action::Remove | Action::Set(_) => 0,
        });
        places.sum()
    }

    /// The number of changes.
    pub(super) const fn len(&self) -> usize {
        self.changes.len()
    }

    /// Returns true without any change.
    pub(super) const fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

impl HeapBytes for Changes {
    fn heap_bytes(&self) -> usize {
        self.changes.heap_bytes()
    }
}

impl HeapBytes for Prepared {
    fn heap_bytes(&self) -> usize {
        // A nonstandard name is on the heap; standard names are not distinguished.
        let value = match &self.action {
            Action::Remove => 0,
            Action::Set(value) => allocated(value.len()),
            Action::Fill(value) => value.heap_bytes(),
        };
        allocated(self.name.as_str().len()) + value
    }
}

impl FieldChanges {
    /// Returns true without any change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Returns true if a rule's `Cache-Control` applies to pages too.
    #[must_use]
    pub const fn cache_is_forced(&self) -> bool {
        self.cache_is_forced
    }

    /// Adds the changes of a rule, after those of earlier rules. A change that would make the head too long is left
    /// out.
    pub(super) fn add(&mut self, rule: &Changes, taken: &mut PatternMatch<'_>, removed: &mut Removed) {
        for Prepared { name, number, action } in &rule.changes {
            let value = match action {
                Action::Remove => {
                    if !removed.replace(*number, true) {
                        self.changes.retain(|change| change.name() != name);
                        self.changes.push(FieldChange::Remove(name.clone()));
                    }
                    continue;
                }
                Action::Set(_) | Action::Fill(_) if self.bytes > FIELDS_BYTES_MAX => continue,
                Action::Set(value) => value.clone(),
                Action::Fill(template) => {
                    let filled = template.fill(taken.captures(), Context::Field);
                    let Some(value) = filled.and_then(|filled| HeaderValue::from_str(&filled).ok()) else {
                        self.bytes = self.bytes.saturating_add(FILLED_BYTES_MAX);
                        continue;
                    };
                    value
                }
            };
            self.bytes = self.bytes.saturating_add(FIELD_BYTES + name.as_str().len() + value.len());
            if self.bytes > FIELDS_BYTES_MAX {
                continue;
            }
            removed.replace(*number, false);
            self.put(name, value, rule.joins);
            if *name == CACHE_CONTROL {
                self.cache_is_forced = rule.force;
            }
        }
    }

    fn put(&mut self, name: &HeaderName, value: HeaderValue, joins: bool) {
        let was_set = self.changes.iter().any(|change| match change {
            FieldChange::Append(known, _) | FieldChange::Set(known, _) => known == name,
            FieldChange::Remove(_) => false,
        });
        // A further cookie is a further line; `Vary` only grows.
        if *name == VARY || *name == SET_COOKIE || (joins && was_set) {
            self.changes.push(FieldChange::Append(name.clone(), value));
        } else {
            self.changes.retain(|change| change.name() != name);
            self.changes.push(FieldChange::Set(name.clone(), value));
        }
    }

    /// The value that a field is set to; `None` if several values are joined.
    #[must_use]
    pub fn set(&self, name: &HeaderName) -> Option<&HeaderValue> {
        let mut changes = self.changes.iter().filter(|change| change.name() == name);
        match (changes.next_back(), changes.next()) {
            (Some(FieldChange::Set(_, value)), _) => Some(value),
            _ => None,
        }
    }

    /// Applies the changes.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for change in &self.changes {
            match change {
                FieldChange::Remove(name) => {
                    headers.remove(name);
                }
                FieldChange::Set(name, value) => {
                    headers.insert(name, value.clone());
                }
                FieldChange::Append(name, value) if *name == SET_COOKIE => {
                    headers.append(name, value.clone());
                }
                FieldChange::Append(name, value) => append_member(headers, name, value),
            }
        }
    }
}

impl FieldChange {
    const fn name(&self) -> &HeaderName {
        match self {
            Self::Append(name, _) | Self::Remove(name) | Self::Set(name, _) => name,
        }
    }
}

/// Adds members to the single line of a list (RFC 9110 §5.3).
pub fn append_member(headers: &mut HeaderMap, name: &HeaderName, value: &HeaderValue) {
    let joined = headers.get(name).map(|known| [known.as_bytes(), b", ", value.as_bytes()].concat());
    let value = joined.and_then(|joined| HeaderValue::from_bytes(&joined).ok()).unwrap_or_else(|| value.clone());
    headers.insert(name, value);
}
